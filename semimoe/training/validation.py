"""Scores on validation images, and the threshold and split parameters with the best scores."""

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from semimoe.evaluation.metrics import object_scores
from semimoe.model_card import SplitChoice
from semimoe.model_errors import DataError
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.recipe import TileSource
from tiling.raster.blending import PredictTiles, predict_image
from tiling.raster.progress import count_progress
from tiling.raster.quantise import quantise_maps, quantised_threshold
from tiling.raster.split_rule import SplitParameters, split_glands
from tiling.raster.tile import Tile

DEFAULT_THRESHOLD = 0.5
DEFAULT_SPLIT = SplitChoice(seed_depth_um=3.0, boundary_level=0.5, growth_um=10.0)
_THRESHOLDS = [round(0.02 * i, 2) for i in range(1, 50)]
# Thresholds whose objects are compared, if their pixel Dice is less than _DICE_TOLERANCE below the
# best one. On few validation images, thresholds below 0.3 or above 0.7 can be best by chance.
_COMPARED_THRESHOLDS, _DICE_TOLERANCE = (0.3, 0.4, 0.5, 0.6, 0.7), 0.01
_SEED_DEPTHS_UM = (3.0, 0.0, 1.5, 6.0)
_BOUNDARY_LEVELS = (0.5, 0.25, 1.01)
_GROWTHS_UM = (10.0, 20.0)
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


class _ValidationImage(NamedTuple):
    maps: NDArray[np.uint8]  # (4, H, W), quantised
    labels: NDArray[np.int32]  # (H, W)
    counts: NDArray[np.bool_]  # (H, W), pixels that count


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
    dices = _dice_by_threshold(images)
    top = _best_threshold(dices)
    warnings = []
    if top in (_THRESHOLDS[0], _THRESHOLDS[-1]):
        warnings.append(
            f"the threshold {top} is the first or last one that was tried:"
            " the network may not have learnt"
        )

    def sum_and_scores(threshold: float, split: SplitChoice) -> tuple[float, dict[str, float]]:
        scores = _object_scores(images, threshold, split, settings)
        return scores["object_f1"] + scores["object_dice"], scores

    splits = _split_candidates(settings.network)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # First the threshold, then the split: to try all pairs would take several times as long.
        thresholds = _compared_thresholds(dices, top)
        by_threshold = list(pool.map(lambda value: sum_and_scores(value, splits[0]), thresholds))
        threshold = thresholds[max(range(len(thresholds)), key=lambda i: by_threshold[i][0])]
        results = list(pool.map(lambda split: sum_and_scores(threshold, split), splits))
    best = max(range(len(splits)), key=lambda number: results[number][0])
    choice = Choice(
        threshold, splits[best], {"dice": dices[threshold], **results[best][1]}, warnings
    )
    if settings.start is None:
        return choice
    start_sum, start_scores = sum_and_scores(*settings.start)
    if results[best][0] > start_sum + _GLAND_CHANGES / max(_gland_count(images), 1):
        return choice
    start_dice = _dice_at(images, settings.start.threshold)
    return Choice(*settings.start, {"dice": start_dice, **start_scores}, warnings)


def scores_of(
    predict: PredictTiles, source: TileSource, settings: ValidationSettings
) -> dict[str, float]:
    """Scores with the threshold and the split parameters `settings.start`, and Dice at 0.5."""
    assert settings.start is not None
    images = _validation_images(predict, source, settings.training)
    return {
        "dice": _dice_at(images, settings.start.threshold),
        "dice_at_half": _dice_at(images, DEFAULT_THRESHOLD),
        **_object_scores(images, *settings.start, settings),
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
) -> list[_ValidationImage]:
    images = []
    with count_progress("validation images", len(source)) as progress:
        for number in range(len(source)):
            images.append(_validation_image(predict, source, number, training))
            progress.advance()
    return images


def _validation_image(
    predict: PredictTiles, source: TileSource, number: int, training: TrainingSettings
) -> _ValidationImage:
    maps, labels, counts = _predict(
        predict, source, number, tile_px=training.tile_px, batch=training.batch
    )
    counted_labels = np.where(counts, labels, 0).astype(np.int32)
    return _ValidationImage(quantise_maps(maps[:4]), counted_labels, counts)


def _dice_by_threshold(
    images: list[_ValidationImage], thresholds: Iterable[float] = _THRESHOLDS
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


def _dice_at(images: list[_ValidationImage], threshold: float) -> float:
    return _dice_by_threshold(images, [threshold])[threshold]


def _gland_count(images: list[_ValidationImage]) -> int:
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


def _split_candidates(network: NetworkSettings) -> list[SplitChoice]:
    """Split parameters that are compared, the defaults first: chosen if several are equal."""
    depths: tuple[float, ...] = _SEED_DEPTHS_UM[:1]  # no effect without distances in um
    if network.splits_by_distance:  # predicted distances are clipped at sdf_um
        depths = tuple(depth for depth in _SEED_DEPTHS_UM if depth < network.sdf_um)
    return [
        SplitChoice(seed_depth_um=depth, boundary_level=level, growth_um=growth)
        for depth, level, growth in itertools.product(depths, _BOUNDARY_LEVELS, _GROWTHS_UM)
    ]


def _object_scores(
    images: list[_ValidationImage],
    threshold: float,
    split: SplitChoice,
    settings: ValidationSettings,
) -> dict[str, float]:
    network, mpp_um = settings.network, settings.mpp_um
    min_area_um2 = settings.training.min_area_um2
    parameters = SplitParameters(
        threshold=threshold,
        seed_depth_um=split.seed_depth_um,
        boundary_level=split.boundary_level,
        growth_um=split.growth_um,
        min_area_um2=min_area_um2,
        sdf_um=network.sdf_um,
        use_sdf=network.splits_by_distance,
    )
    truth, predicted = [], []
    for image in images:
        gland, sdf, boundary, _ = image.maps
        glands = split_glands(
            gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=parameters
        )
        truth.append(image.labels)
        predicted.append(np.where(image.counts, glands, 0).astype(np.int32))
    scores = object_scores(
        truth, predicted, mpp_um=mpp_um, min_object_um2=min_area_um2, distances=False
    )
    return {"object_f1": scores.object_f1, "object_dice": scores.object_dice}
