"""Threshold and split parameters that validation chooses, on constructed maps."""

import numpy as np
import pytest
from disc_pictures import Item

from semimoe.model_card import SplitChoice
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.validation import (
    SplitWithThreshold,
    ValidationSettings,
    _best_threshold,
    _dice_by_threshold,
    _split_candidates,
    _validation_image,
    choose,
    pixel_dice,
    scores_of,
)

TRAINING = TrainingSettings(
    epochs=20, warm_start_epochs=8, precision="fp32", tile_px=96, min_area_um2=20
)
MASK_ONLY = NetworkSettings(encoder="unet", experts="separate", width=4, tasks="seg")
SETTINGS = ValidationSettings(MASK_ONLY, TRAINING, 1.0)


class TwoGlands:
    """One image with two glands, and predicted maps of it.

    The maps have a bridge between the glands (0.45), and a rim of uncertain pixels (0.35).

    Parameters
    ----------
    rim : width of the rim, px
    """

    def __init__(self, rim: int) -> None:
        y, x = np.mgrid[:96, :96]
        self.labels = np.zeros((96, 96), np.int32)
        self.gland = np.full((96, 96), 0.05, np.float32)
        self.gland[47:49, 20:76] = 0.45
        for number, centre in enumerate((28, 68), start=1):
            distance = np.hypot(y - 48, x - centre)
            self.labels[distance < 14] = number
            self.gland[distance < 14] = 0.35
            self.gland[distance < 14 - rim] = 0.95

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Item:
        return Item(np.zeros((3, 96, 96), np.uint8), self.labels)

    def predict(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 3, 96, 96)
        return np.stack([self.gland, *np.zeros((3, 96, 96), np.float32)])[None]


def test_a_threshold_that_separates_glands_is_chosen_if_it_loses_little_pixel_dice() -> None:
    source = TwoGlands(rim=0)
    # 32 of 1200 gland pixels need a low threshold; the bridge has 26 pixels.
    source.gland[44:52, 16:20] = 0.35
    best_threshold = _best_threshold(
        _dice_by_threshold([_validation_image(source.predict, source, 0, TRAINING)])
    )
    assert best_threshold < 0.35
    choice = choose([(source.predict, source)], SETTINGS)
    assert choice.threshold >= 0.46
    assert choice.scores["object_f1"] == 1
    (half,) = pixel_dice(source.predict, source, channels=(0,), tile_px=96, batch=1)
    assert choice.scores["dice"] == half


def test_a_threshold_that_separates_glands_is_not_chosen_if_it_loses_much_pixel_dice() -> None:
    source = TwoGlands(rim=3)
    choice = choose([(source.predict, source)], SETTINGS)
    assert choice.threshold < 0.35
    assert choice.scores["object_f1"] < 1


def test_images_of_several_models_are_pooled_and_each_model_predicts_its_own() -> None:
    first, second = TwoGlands(rim=0), TwoGlands(rim=3)
    alone = choose([(first.predict, first)], SETTINGS)
    both = choose([(first.predict, first), (second.predict, second)], SETTINGS)
    assert both.threshold < 0.35
    assert both.scores["dice"] < alone.scores["dice"]


@pytest.mark.parametrize(("start_threshold", "kept"), [(0.7, True), (0.02, False)])
def test_values_of_the_start_model_stay_unless_others_are_better_by_a_gland(
    start_threshold: float, kept: bool
) -> None:
    """At 0.7 both glands are found; at 0.02 the whole image is one object."""
    source = TwoGlands(rim=0)
    split = SplitChoice(seed_depth_um=0.0, boundary_level=1.01, growth_um=20.0)
    start = SplitWithThreshold(start_threshold, split)
    settings = SETTINGS._replace(start=start)
    choice = choose([(source.predict, source)], settings)
    assert ((choice.threshold, choice.split) == start) is kept
    assert choice.scores["object_f1"] == 1
    before = scores_of(source.predict, source, settings)
    tiles = {"tile_px": SETTINGS.training.tile_px, "batch": SETTINGS.training.batch}
    (dice_at_half,) = pixel_dice(source.predict, source, channels=(0,), **tiles)
    assert before.pop("dice_at_half") == dice_at_half
    assert (before == choice.scores) is kept
    assert (before["object_f1"] == 1) is kept


@pytest.mark.parametrize("scale", ["um", "tile"])
def test_seed_depths_beyond_the_clipped_distance_are_not_compared(scale: str) -> None:
    candidates = _split_candidates(
        NetworkSettings(encoder="unet", experts="separate", width=64, sdf_um=1.0, sdf_scale=scale)
    )
    assert candidates
    assert scale == "tile" or all(split.seed_depth_um < 1 for split in candidates)
