"""Scores on validation images, and what is chosen there: threshold and split parameters."""

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.evaluation.metrics import object_scores
from semimoe.model_errors import DataError
from semimoe.prediction.predictor import Predict, predict_array
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batches import TileSource
from tiling.raster.quantise import quantise_maps, quantised_threshold
from tiling.raster.split_rule import SplitParameters, split_glands

DEFAULT_THRESHOLD = 0.5
DEFAULT_SPLIT = {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0}
_THRESHOLDS = [round(0.02 * i, 2) for i in range(1, 50)]
# Thresholds that compete with that of the best pixel Dice, when they lose at most so much of it. None beyond: on a few validation images
# the extremes win by luck.
_TRIED, _DICE_TO_SPARE = (0.3, 0.4, 0.5, 0.6, 0.7), 0.01
_SEED_DEPTHS_UM = (3.0, 0.0, 1.5, 6.0)
_BOUNDARY_LEVELS = (0.5, 0.25, 1.01)
_GROWTHS_UM = (10.0, 20.0)
_OVERLAP_SHARE = 4


class Choice(NamedTuple):
    """What validation decided, and how good it was there."""

    threshold: float
    split: dict[str, float]
    scores: dict[str, Any]
    warnings: list[str]


class _Image(NamedTuple):
    codes: NDArray[np.uint8]  # (4, H, W)
    labels: NDArray[np.int32]  # (H, W)
    counts: NDArray[np.bool_]  # (H, W)


def pixel_dice(
    predict: Predict, source: TileSource, *, channels: tuple[int, ...], tile_px: int, batch: int
) -> list[float]:
    """Foreground Dice at 0.5 of some channels of `predict`, pooled over the pixels that count of all images."""
    both, size = np.zeros(len(channels)), np.zeros(len(channels))
    for number in range(len(source)):
        maps, labels, counts = _predicted(predict, source, number, tile_px=tile_px, batch=batch)
        true = (labels > 0) & counts
        for i, channel in enumerate(channels):
            predicted = (maps[channel] >= DEFAULT_THRESHOLD) & counts
            both[i] += 2 * np.count_nonzero(true & predicted)
            size[i] += np.count_nonzero(true) + np.count_nonzero(predicted)
    return [float(b / s) if s else 1.0 for b, s in zip(both, size, strict=True)]


def choose(
    parts: Iterable[tuple[Predict, TileSource]],
    *,
    network: NetworkSettings,
    training: TrainingSettings,
    mpp_um: float,
) -> Choice:
    """Threshold and split parameters by pooled object F1 + object Dice, among thresholds that cost hardly any pixel Dice.

    Pixel Dice alone is flat over a wide range of thresholds, and its top often lies where glands run together.

    Parameters
    ----------
    parts : models, each with the images that it has not seen; one, or those of a cross-validation
    """
    images = [
        _image(predict, source, number, training)
        for predict, source in parts
        for number in range(len(source))
    ]
    dices = _dices(images)
    top = _best(dices)
    warnings = []
    if top in (_THRESHOLDS[0], _THRESHOLDS[-1]):
        warnings.append(
            f"the threshold {top} lies at the edge of the sweep: the network may not have learnt"
        )

    def scored(threshold: float, split: dict[str, float]) -> tuple[float, dict[str, Any]]:
        scores = _object_scores(
            images, threshold, split, network=network, training=training, mpp_um=mpp_um
        )
        return scores["object_f1"] + scores["object_dice"], scores

    splits = _candidates(network)
    # One after the other: the sweep of both together would take as many times as long as there are thresholds.
    thresholds = [
        top,
        *(
            value
            for value in _TRIED
            if value != top and dices[value] >= dices[top] - _DICE_TO_SPARE
        ),
    ]
    threshold = max(thresholds, key=lambda value: scored(value, splits[0])[0])
    results = [scored(threshold, split) for split in splits]
    best = max(range(len(splits)), key=lambda number: results[number][0])
    return Choice(threshold, splits[best], {"dice": dices[threshold], **results[best][1]}, warnings)


def _predicted(
    predict: Predict, source: TileSource, number: int, *, tile_px: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
    item = source[number]
    if item.labels is None:
        raise DataError(f"validation image {number} carries no labels")
    counts = np.ones(item.labels.shape, bool) if item.weight is None else item.weight > 0
    maps = predict_array(
        predict, item.image, tile_px=tile_px, overlap_px=tile_px // _OVERLAP_SHARE, batch=batch
    )
    return maps, item.labels, counts


def _image(predict: Predict, source: TileSource, number: int, training: TrainingSettings) -> _Image:
    maps, labels, counts = _predicted(
        predict, source, number, tile_px=training.tile_px, batch=training.batch
    )
    return _Image(quantise_maps(maps[:4]), np.where(counts, labels, 0).astype(np.int32), counts)


def _best(dices: dict[float, float]) -> float:
    """The threshold of the best Dice; of equals the one nearest to 0.5."""
    return max(
        dices,
        key=lambda threshold: (dices[threshold], -abs(threshold - DEFAULT_THRESHOLD), threshold),
    )


def _dices(images: list[_Image]) -> dict[float, float]:
    """Pooled pixel Dice at each threshold of the sweep, from histograms of codes: one pass over the pixels."""
    gland, other = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for image in images:
        code, true = image.codes[0][image.counts], image.labels[image.counts] > 0
        gland += np.bincount(code[true], minlength=256)
        other += np.bincount(code[~true], minlength=256)
    dices = {}
    for threshold in _THRESHOLDS:
        level = quantised_threshold(threshold)
        hit, false = int(gland[level:].sum()), int(other[level:].sum())
        size = hit + false + int(gland.sum())
        dices[threshold] = 2 * hit / size if size else 1.0
    return dices


def _candidates(network: NetworkSettings) -> list[dict[str, float]]:
    """Split parameters to try, the defaults first: they win ties."""
    # Of no account where no distance in um is learnt; distances end at sdf_um.
    depths = (
        [depth for depth in _SEED_DEPTHS_UM if depth < network.sdf_um]
        if network.predicts_depth
        else [_SEED_DEPTHS_UM[0]]
    )
    return [
        {"seed_depth_um": depth, "boundary_level": level, "growth_um": growth}
        for depth, level, growth in itertools.product(depths, _BOUNDARY_LEVELS, _GROWTHS_UM)
    ]


def _object_scores(
    images: list[_Image],
    threshold: float,
    split: dict[str, float],
    *,
    network: NetworkSettings,
    training: TrainingSettings,
    mpp_um: float,
) -> dict[str, Any]:
    parameters = SplitParameters(
        threshold=threshold,
        **split,
        min_area_um2=training.min_area_um2,
        sdf_um=network.sdf_um,
        use_sdf=network.predicts_depth,
    )
    truth, found = [], []
    for image in images:
        gland, sdf, boundary, _ = image.codes
        glands = split_glands(
            gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=parameters
        )
        truth.append(image.labels)
        found.append(np.where(image.counts, glands, 0).astype(np.int32))
    scores = object_scores(
        truth, found, mpp_um=mpp_um, min_object_um2=training.min_area_um2, distances=False
    )
    return {"object_f1": scores.object_f1, "object_dice": scores.object_dice}
