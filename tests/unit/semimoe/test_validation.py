"""Threshold and split parameters that validation chooses, on constructed maps."""

import numpy as np
import pytest
import torch

from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.split_choice import SplitChoice
from semimoe.training.split_scores import (
    depth_candidates,
    prominence_candidates,
    seed_threshold_candidates,
    split_scores,
)
from semimoe.training.validation import (
    SplitWithThreshold,
    ValidationSettings,
    _best_threshold,
    _dice_by_threshold,
    _validation_image,
    choose,
    scores_of,
)
from semimoe.training.validation_dice import ValidationDice
from tiling.raster.blending import predict_image
from tiling.raster.tile import Tile

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

    def __getitem__(self, index: int) -> Tile:
        return Tile(np.zeros((3, 96, 96), np.uint8), self.labels)

    def predict(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, 3, 96, 96)
        return np.stack([self.gland, *np.zeros((3, 96, 96), np.float32)])[None]

    def dice_at_half(self) -> float:
        dice = ValidationDice(self, tile_px=96, batch=1, device=torch.device("cpu"))
        (value,) = dice(lambda images: torch.from_numpy(self.predict(images.numpy())[:, :1]))
        return value


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
    half = source.dice_at_half()
    assert choice.scores["dice"] == pytest.approx(half)


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
    assert before.pop("dice_at_half") == pytest.approx(source.dice_at_half())
    assert (before == choice.scores) is kept
    assert (before["object_f1"] == 1) is kept


@pytest.mark.parametrize("scale", ["um", "tile"])
def test_seed_depths_beyond_the_clipped_distance_are_not_compared(scale: str) -> None:
    candidates = depth_candidates(
        NetworkSettings(encoder="unet", experts="separate", width=64, sdf_um=1.0, sdf_scale=scale)
    )
    assert candidates
    assert scale == "tile" or all(split.seed_depth_um < 1 for split in candidates)


@pytest.mark.parametrize("batch", [1, 4])
def test_validation_dice_is_that_of_the_blended_maps_of_all_images(batch) -> None:
    """Images of several sizes, smaller and larger than a tile, one with pixels that do not count.

    The peer is `predict_image` with numpy.
    """
    rng = np.random.default_rng(0)
    tiles = []
    for shape in ((70, 90), (20, 32), (130, 40)):
        image = rng.integers(0, 256, (3, *shape), np.uint8)
        weight = (rng.random(shape) > 0.2).astype(np.uint8) if shape == (20, 32) else None
        tiles.append(Tile(image, (image[0] > 100).astype(np.int32), weight))

    def predict(images: np.ndarray) -> np.ndarray:
        """Depends on the place in the tile, so that blending matters."""
        position = np.linspace(0, 1, 32, dtype=np.float32)
        first = np.abs(images[:, 0] / np.float32(255) - position / 4)
        return np.stack([first, 1 - first], axis=1)

    dice = ValidationDice(tiles, tile_px=32, batch=batch, device=torch.device("cpu"))
    result = dice(lambda images: torch.from_numpy(predict(images.numpy())))
    overlap, size = np.zeros(2), np.zeros(2)
    for tile in tiles:
        maps = predict_image(predict, tile.image, tile_px=32, overlap_px=8, batch=3)
        counts = np.ones(tile.labels.shape, bool) if tile.weight is None else tile.weight > 0
        true, predicted = (tile.labels > 0) & counts, (maps >= 0.5) & counts
        overlap += 2 * (true & predicted).sum((1, 2))
        size += true.sum() + predicted.sum((1, 2))
    np.testing.assert_allclose(result, overlap / size, atol=1e-3)


class TwoTouchingGlands(TwoGlands):
    """The two glands with distances and without any gap, and a false object without confidence.

    Both glands are shallow, and the distance between them is positive.
    """

    def __init__(self) -> None:
        super().__init__(rim=0)
        y, x = np.mgrid[:96, :96]
        self.labels[:] = np.where(np.abs(y - 48) < 12, np.where(x < 48, 1, 2), 0)
        self.gland = np.where(self.labels > 0, np.float32(0.95), np.float32(0.05))
        self.gland[80:] = 0.75
        ridge = np.minimum(np.abs(x - 48), 24)
        self.sdf_um = np.where(self.labels > 0, 1 + ridge / 5, 1).astype(np.float32)

    def predict(self, images: np.ndarray) -> np.ndarray:
        maps = super().predict(images)
        maps[:, 1] = self.sdf_um / 20
        return maps


def test_prominence_and_confidence_of_seeds_are_chosen_with_the_rule_prominence() -> None:
    source = TwoTouchingGlands()
    network = NetworkSettings(encoder="unet", experts="separate", width=4)
    training = TRAINING.model_copy(update={"split_rule": "prominence"})
    choice = choose([(source.predict, source)], ValidationSettings(network, training, 1.0))
    assert choice.split.rule == "prominence"
    # The saddle lies 4.8 um below the maxima.
    assert choice.split.prominence_um <= 4
    assert choice.split.seed_threshold > max(choice.threshold, 0.75) or choice.threshold > 0.75
    assert choice.scores["object_f1"] == 1
    by_depth = choose([(source.predict, source)], ValidationSettings(network, TRAINING, 1.0))
    assert by_depth.split.rule == "depth"


def test_each_split_has_the_scores_that_it_has_alone() -> None:
    source = TwoTouchingGlands()
    network = NetworkSettings(encoder="unet", experts="separate", width=4)
    images = [_validation_image(source.predict, source, 0, TRAINING)]
    splits = [*prominence_candidates(network), *depth_candidates(network)[:3]]
    options = {"network": network, "training": TRAINING, "mpp_um": 1.0}
    together = split_scores(images, 0.5, splits, **options)
    assert together == [split_scores(images, 0.5, [one], **options)[0] for one in splits]
    assert len({tuple(scores.values()) for scores in together}) > 1


def test_seeds_are_compared_with_thresholds_above_that_of_the_mask() -> None:
    (split,) = prominence_candidates(MASK_ONLY)
    values = [one.seed_threshold for one in seed_threshold_candidates(split, 0.8)]
    assert values == [0, 0.9]
    shallow = NetworkSettings(encoder="unet", experts="separate", width=4, sdf_um=1.0)
    assert [one.prominence_um for one in prominence_candidates(shallow)] == [0.5]
