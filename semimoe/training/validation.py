"""Scores on validation images, and the threshold and split parameters with the best scores."""

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from semimoe.model_errors import DataError
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.split_choice import SplitChoice
from semimoe.training.recipe import TileSource
from semimoe.training.split_scores import (
    ValidationImage,
    boundary_weight_candidates,
    depth_candidates,
    prominence_candidates,
    seed_threshold_candidates,
    split_scores,
)
from tiling.raster.blending import PredictTiles, predict_image
from tiling.raster.progress import count_progress
from tiling.raster.quantise import quantise_maps, quantised_threshold
from tiling.raster.tile import Tile

DEFAULT_THRESHOLD = 0.5
_THRESHOLDS = [round(0.02 * i, 2) for i in range(1, 50)]
# Thresholds whose objects are compared, if their pixel Dice is less than _DICE_TOLERANCE below the
# best one. On few validation images, thresholds below 0.3 or above 0.7 can be best by chance.
_COMPARED_THRESHOLDS, _DICE_TOLERANCE = (0.3, 0.4, 0.5, 0.6, 0.7), 0.01
OVERLAP_SHARE = 4  # of neighbouring tiles: a quarter of their side
# One gland more or less, of n, changes object F1 and object Dice by about 1 / n each.
_GLAND_CHANGES = 2


class Choice(NamedTuple):
    """Threshold and split parameters that were chosen, and their scores on the validation images.

    Attributes
    ----------
    scores : dice, object_f1, object_dice; empty without validation
    """

    threshold: float
    split: SplitChoice
    scores: dict[str, float]
    warnings: list[str]


class SplitWithThreshold(NamedTuple):
    """All parameters that make glands of maps."""

    threshold: float
    split: SplitChoice


class ValidationSettings(NamedTuple):
    """Settings that the choice depends on.

    Attributes
    ----------
    start : threshold and split parameters of the model that was fine-tuned; None: there is none
    """

    network: NetworkSettings
    training: TrainingSettings
    mpp_um: float
    start: SplitWithThreshold | None = None


def choose(
    parts: Iterable[tuple[PredictTiles, TileSource]], settings: ValidationSettings
) -> Choice:
    """Threshold and split parameters with the best pooled object F1 + object Dice.

    Only thresholds with nearly the best pixel Dice are compared. Pixel Dice alone hardly changes
    over a wide range of thresholds, and touching glands often merge at its maximum.
    The values of a model that was fine-tuned stay, unless others are better by more than what one
    gland changes: few regions are held out, and those values were often chosen on more images.

    Parameters
    ----------
    parts : models, each with the images that it was not trained on; one, or those of a
        cross-validation
    """
    images = []
    for predict, source in parts:
        images += _validation_images(predict, source, settings.training)
    return choose_on_maps(images, settings)


def choose_on_maps(images: list[ValidationImage], settings: ValidationSettings) -> Choice:
    """The same for images whose maps are known."""
    dices = _dice_by_threshold(images)
    top = _best_threshold(dices)
    warnings = []
    if top in (_THRESHOLDS[0], _THRESHOLDS[-1]):
        warnings.append(
            f"the threshold {top} is the first or last one that was tried:"
            " the network may not have learnt"
        )

    best = _best_split(images, _compared_thresholds(dices, top), settings)
    choice = Choice(
        best.threshold, best.split, {"dice": dices[best.threshold], **best.scores}, warnings
    )
    if settings.start is None:
        return choice
    start = _scored(images, settings, settings.start.threshold, [settings.start.split])[0]
    if best.sum > start.sum + _GLAND_CHANGES / max(_gland_count(images), 1):
        return choice
    start_dice = _dice_at(images, start.threshold)
    return Choice(*settings.start, {"dice": start_dice, **start.scores}, warnings)


class _ScoredSplit(NamedTuple):
    """Scores of a threshold with split parameters."""

    threshold: float
    split: SplitChoice
    scores: dict[str, float]

    @property
    def sum(self) -> float:
        return self.scores["object_f1"] + self.scores["object_dice"]


def _scored(
    images: Sequence[ValidationImage],
    settings: ValidationSettings,
    threshold: float,
    splits: Sequence[SplitChoice],
) -> list[_ScoredSplit]:
    scores = split_scores(
        images,
        threshold,
        splits,
        network=settings.network,
        training=settings.training,
        mpp_um=settings.mpp_um,
    )
    return [_ScoredSplit(threshold, *pair) for pair in zip(splits, scores, strict=True)]


def _best_split(
    images: Sequence[ValidationImage], thresholds: Sequence[float], settings: ValidationSettings
) -> _ScoredSplit:
    """The best of the compared thresholds and split parameters; of equal ones the first."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:

        def best_of(groups: Sequence[tuple[float, Sequence[SplitChoice]]]) -> _ScoredSplit:
            scored = pool.map(lambda group: _scored(images, settings, *group), groups)
            return max(itertools.chain.from_iterable(scored), key=lambda one: one.sum)

        if settings.training.split_rule == "prominence":
            splits = prominence_candidates(settings.network)
            best = best_of([(value, splits) for value in thresholds])
            weighted = boundary_weight_candidates(settings.network, best.split)
            best = best_of([(best.threshold, [split]) for split in weighted])
            seeds = seed_threshold_candidates(best.split, best.threshold)
            return best_of([(best.threshold, [split]) for split in seeds])
        # First the threshold, then the split: to try all pairs would take several times as long.
        splits = depth_candidates(settings.network)
        threshold = best_of([(value, splits[:1]) for value in thresholds]).threshold
        return best_of([(threshold, [split]) for split in splits])


def scores_of(
    predict: PredictTiles, source: TileSource, settings: ValidationSettings
) -> dict[str, float]:
    """Scores with the threshold and the split parameters `settings.start`, and Dice at 0.5."""
    assert settings.start is not None
    images = _validation_images(predict, source, settings.training)
    return {
        "dice": _dice_at(images, settings.start.threshold),
        "dice_at_half": _dice_at(images, DEFAULT_THRESHOLD),
        **_scored(images, settings, settings.start.threshold, [settings.start.split])[0].scores,
    }


def _predict(
    predict: PredictTiles, source: TileSource, number: int, *, tile_px: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    """Maps, labels, and the pixels that count, of a validation image."""
    image = source[number]
    labels, counts = labels_and_counts(image, number)
    maps = predict_image(
        predict, image.image, tile_px=tile_px, overlap_px=tile_px // OVERLAP_SHARE, batch=batch
    )
    return maps, labels, counts


def labels_and_counts(image: Tile, number: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Labels of a validation image, and the pixels that count, (H, W) each.

    Parameters
    ----------
    number : of the image, for the message

    Raises
    ------
    DataError
        The image has no labels.
    """
    if image.labels is None:
        raise DataError(f"validation image {number} has no labels")
    counts = np.ones(image.labels.shape, bool) if image.weight is None else image.weight > 0
    return image.labels, counts


def _validation_images(
    predict: PredictTiles, source: TileSource, training: TrainingSettings
) -> list[ValidationImage]:
    images = []
    with count_progress("validation images", len(source)) as progress:
        for number in range(len(source)):
            images.append(_validation_image(predict, source, number, training))
            progress.advance()
    return images


def _validation_image(
    predict: PredictTiles, source: TileSource, number: int, training: TrainingSettings
) -> ValidationImage:
    maps, labels, counts = _predict(
        predict, source, number, tile_px=training.tile_px, batch=training.batch
    )
    counted_labels = np.where(counts, labels, 0).astype(np.int32)
    return ValidationImage(quantise_maps(maps[:4]), counted_labels, counts)


def _dice_by_threshold(
    images: list[ValidationImage], thresholds: Iterable[float] = _THRESHOLDS
) -> dict[float, float]:
    """Pooled pixel Dice at each threshold, from histograms: one pass over the pixels."""
    gland, background = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for image in images:
        values, true = image.maps[0][image.counts], image.labels[image.counts] > 0
        gland += np.bincount(values[true], minlength=256)
        background += np.bincount(values[~true], minlength=256)
    dices = {}
    for threshold in thresholds:
        level = quantised_threshold(threshold)
        true_positive, false_positive = int(gland[level:].sum()), int(background[level:].sum())
        size = true_positive + false_positive + int(gland.sum())
        dices[threshold] = 2 * true_positive / size if size else 1.0
    return dices


def _dice_at(images: list[ValidationImage], threshold: float) -> float:
    return _dice_by_threshold(images, [threshold])[threshold]


def _gland_count(images: list[ValidationImage]) -> int:
    return sum(len(np.unique(image.labels[image.labels > 0])) for image in images)


def _best_threshold(dices: dict[float, float]) -> float:
    """The threshold with the best Dice; if several are equal, the one nearest to 0.5."""

    def rank(threshold: float) -> tuple[float, float, float]:
        return dices[threshold], -abs(threshold - DEFAULT_THRESHOLD), threshold

    return max(dices, key=rank)


def _compared_thresholds(dices: dict[float, float], top: float) -> list[float]:
    """Thresholds that are compared, the best one first: it is chosen if several are equal."""
    least = dices[top] - _DICE_TOLERANCE
    return [top, *(v for v in _COMPARED_THRESHOLDS if v != top and dices[v] >= least)]
