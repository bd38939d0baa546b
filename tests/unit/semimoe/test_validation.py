"""What validation chooses, on maps made by hand."""

import numpy as np
import pytest
from disc_pictures import Item

from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.validation import (
    ValidationSettings,
    _best_threshold,
    _dice_by_threshold,
    _split_candidates,
    _validation_image,
    choose,
    pixel_dice,
)

TRAINING = TrainingSettings(
    epochs=20, warm_start_epochs=8, precision="fp32", tile_px=96, min_area_um2=20
)
MASK_ALONE = NetworkSettings(encoder="unet", experts="separate", width=4, tasks="seg")
SETTINGS = ValidationSettings(MASK_ALONE, TRAINING, 1.0)


class _Made:
    """An image and maps that a network could have made of it: two glands, a bridge between them, and a rim it is not sure of."""

    def __init__(self, rim: int) -> None:
        y, x = np.mgrid[:96, :96]
        self.labels = np.zeros((96, 96), np.int32)
        self.gland = np.full((96, 96), 0.05, np.float32)
        self.gland[47:49, 20:76] = 0.45
        for number, centre in enumerate((28, 68), start=1):
            away = np.hypot(y - 48, x - centre)
            self.labels[away < 14] = number
            self.gland[away < 14] = 0.35
            self.gland[away < 14 - rim] = 0.95

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Item:
        return Item(np.zeros((3, 96, 96), np.uint8), self.labels)

    def predict(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 3, 96, 96)
        return np.stack([self.gland, *np.zeros((3, 96, 96), np.float32)])[None]


def test_a_threshold_that_keeps_glands_apart_may_cost_a_little_pixel_dice() -> None:
    made = _Made(rim=0)
    made.gland[44:52, 16:20] = (
        0.35  # 32 true pixels of 1200 that only a low threshold finds, and the bridge has 26
    )
    top = _best_threshold(_dice_by_threshold([_validation_image(made.predict, made, 0, TRAINING)]))
    assert top < 0.35
    choice = choose([(made.predict, made)], SETTINGS)
    assert choice.threshold >= 0.46
    assert choice.scores["object_f1"] == 1
    (half,) = pixel_dice(made.predict, made, channels=(0,), tile_px=96, batch=1)
    assert choice.scores["dice"] == half


def test_but_not_more_than_a_little() -> None:
    made = _Made(rim=3)
    choice = choose([(made.predict, made)], SETTINGS)
    assert choice.threshold < 0.35
    assert choice.scores["object_f1"] < 1


def test_images_of_several_models_are_pooled() -> None:
    """Each is asked about its own images alone."""
    one, other = _Made(rim=0), _Made(rim=3)
    alone = choose([(one.predict, one)], SETTINGS)
    both = choose([(one.predict, one), (other.predict, other)], SETTINGS)
    assert both.threshold < 0.35
    assert both.scores["dice"] < alone.scores["dice"]


@pytest.mark.parametrize("scale", ["um", "tile"])
def test_there_is_a_split_to_try_whatever_the_reach_of_distances(scale: str) -> None:
    tried = _split_candidates(
        NetworkSettings(encoder="unet", experts="separate", width=64, sdf_um=1.0, sdf_scale=scale)
    )
    assert tried
    assert scale == "tile" or all(split.seed_depth_um < 1 for split in tried)
