"""Pixel and object scores of gland segmentation (no torch needed).

Object scores are those of the GlaS challenge (Sirinukunwattana et al., Medical Image Analysis 35, 2017), for one image or pooled over many.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Labels = NDArray[np.integer[Any]]


class PixelScores(NamedTuple):
    """Foreground scores over all pixels that count; 1 where truth and prediction are both empty."""

    dice: float
    jaccard: float


class ObjectScores(NamedTuple):
    """Object scores; `None`: a distance to nothing, which is infinite, so there is no figure to report.

    Attributes
    ----------
    object_f1 : 2 tp / (2 tp + fp + fn), 1 without any object
    object_dice : area-weighted Dice of partners, in both directions
    object_hausdorff_px, object_hausdorff_um : area-weighted symmetric Hausdorff distance of partners, in both directions
    tp, fp, fn : objects
    hausdorff_missing : images with objects on one side only; any of them makes the pooled distance infinite
    """

    object_f1: float
    object_dice: float
    object_hausdorff_px: float | None
    object_hausdorff_um: float | None
    tp: int
    fp: int
    fn: int
    hausdorff_missing: int


class _Side(NamedTuple):
    """Sums over the objects of one side (truth or prediction), each weighted by its area in px."""

    area: float = 0.0
    dice: float = 0.0
    hausdorff: float = 0.0

    def plus(self, other: "_Side") -> "_Side":
        return _Side(*(a + b for a, b in zip(self, other, strict=True)))


def pixel_scores(
    truth: Sequence[NDArray[Any]], prediction: Sequence[NDArray[Any]], weight: Sequence[NDArray[Any]] | None = None
) -> PixelScores:
    """Foreground Dice and Jaccard pooled over the pixels of all images.

    Parameters
    ----------
    truth, prediction : masks or labels (H, W), foreground where above 0; one pair per image
    weight : per image, (H, W), only pixels above 0 count; None: all

    Raises
    ------
    ValueError
        Shapes or numbers of images differ.
    """
    both = either = 0
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        counts = np.ones(true.shape, bool) if weight is None else np.asarray(weight[number]) > 0
        _same_shape(number, true, predicted)
        _same_shape(number, true, counts)
        a, b = (true > 0) & counts, (predicted > 0) & counts
        both += int(np.count_nonzero(a & b))
        either += int(np.count_nonzero(a | b))
    if either == 0:
        return PixelScores(1.0, 1.0)
    return PixelScores(2 * both / (either + both), both / either)


def object_scores(truth: Sequence[Labels], prediction: Sequence[Labels], *, mpp_um: float = 1.0, distances: bool = True) -> ObjectScores:
    """Object F1, Dice and Hausdorff distance, pooled over the objects of all images.

    Parameters
    ----------
    truth, prediction : int (H, W), 0 background, one number per object; one pair per image
    mpp_um : size of a pixel, um
    distances : False leaves the Hausdorff distance out (reported as None), which is most of the work

    Raises
    ------
    ValueError
        Shapes or numbers of images differ.
    """
    tp = fp = fn = missing = 0
    sides = [_Side(), _Side()]
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        _same_shape(number, true, predicted)
        a, b = _compact(true), _compact(predicted)
        overlap = _overlaps(a, b)
        hits = _hits(overlap)
        tp, fp, fn = tp + hits, fp + overlap.shape[1] - 1 - hits, fn + overlap.shape[0] - 1 - hits
        one_sided = (overlap.shape[0] == 1) != (overlap.shape[1] == 1)
        missing += one_sided
        with_distances = distances and not one_sided
        sides[0] = sides[0].plus(_side(a, b, overlap, distances=with_distances))
        sides[1] = sides[1].plus(_side(b, a, overlap.T, distances=with_distances))
    if not any(side.area for side in sides):
        nothing = 0.0 if distances else None
        return ObjectScores(1.0, 1.0, nothing, nothing, 0, 0, 0, 0)
    dice = sum(side.dice / side.area for side in sides if side.area) / 2
    hausdorff = None if missing or not distances else sum(side.hausdorff / side.area for side in sides) / 2
    return ObjectScores(
        2 * tp / (2 * tp + fp + fn), dice, hausdorff, None if hausdorff is None else hausdorff * mpp_um, tp, fp, fn, missing
    )


def relabelled(labels: Labels) -> NDArray[np.int32]:
    """8-connected components of a mask: for masks that carry one number for all glands."""
    components, _ = ndimage.label(labels > 0, np.ones((3, 3), int), output=np.int32)
    numbered: NDArray[np.int32] = components
    return numbered


def _compact(labels: Labels) -> NDArray[np.int64]:
    """Numbers 0 (background), 1..N in the order of the given ones."""
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels go down to {labels.min()}; 0 is background and objects are numbered from 1")
    present = np.zeros(int(labels.max(initial=0)) + 1, bool)
    present[labels] = True
    present[0] = False
    numbered: NDArray[np.int64] = np.where(present, np.cumsum(present), 0)[labels]
    return numbered


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels shared by object i of a and j of b; row and column 0 are background."""
    rows, columns = int(a.max(initial=0)) + 1, int(b.max(initial=0)) + 1
    counts: NDArray[np.int64] = np.bincount((a * columns + b).ravel(), minlength=rows * columns).reshape(rows, columns)
    return counts


def _hits(overlap: NDArray[np.int64]) -> int:
    """Predicted objects that cover more than half of the true object they overlap most."""
    if min(overlap.shape) == 1:
        return 0
    partner = overlap[1:, 1:].argmax(axis=0)  # per predicted object; ties to the smaller number
    shared = overlap[1:, 1:].max(axis=0)
    area = overlap.sum(axis=1)[1:][partner]
    return int(np.count_nonzero(2 * shared > area))


def _side(a: NDArray[np.int64], b: NDArray[np.int64], overlap: NDArray[np.int64], *, distances: bool) -> _Side:
    """Sums over the objects of `a`, each with its partner in `b`: the one it shares most pixels with."""
    area_a, area_b = overlap.sum(axis=1), overlap.sum(axis=0)
    boxes_a, boxes_b = ndimage.find_objects(a), ndimage.find_objects(b)
    total = _Side()
    for number in range(1, len(area_a)):
        shared = overlap[number, 1:]
        partner = int(shared.argmax()) + 1 if shared.size and shared.max() > 0 else 0
        area = float(area_a[number])
        dice = 2 * float(overlap[number, partner]) / (area + float(area_b[partner])) if partner else 0.0
        hausdorff = 0.0
        if distances:
            hausdorff = (
                _hausdorff(a, number, boxes_a[number - 1], b, partner, boxes_b[partner - 1])
                if partner
                else _to_nearest(a, number, boxes_a[number - 1], b, boxes_b)
            )
        total = total.plus(_Side(area, area * dice, area * hausdorff))
    return total


def _to_nearest(a: NDArray[np.int64], number: int, box: tuple[slice, ...], b: NDArray[np.int64], boxes: list[tuple[slice, ...]]) -> float:
    """Smallest Hausdorff distance between an object and any object of `b`.

    The distance from all of an object's pixels to `number` is a lower bound, so few candidates are computed in full.
    """
    to_object = ndimage.distance_transform_edt(a != number)
    bounds = np.asarray(ndimage.maximum(to_object, b, np.arange(1, len(boxes) + 1)))
    best = np.inf
    for candidate in np.argsort(bounds, kind="stable"):
        if bounds[candidate] >= best:
            break
        best = min(best, _hausdorff(a, number, box, b, int(candidate) + 1, boxes[candidate]))
    return float(best)


def _hausdorff(a: NDArray[np.int64], i: int, box_a: tuple[slice, ...], b: NDArray[np.int64], j: int, box_b: tuple[slice, ...]) -> float:
    """Symmetric Hausdorff distance between the pixels of two objects, px."""
    box = tuple(slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(box_a, box_b, strict=True))
    first, second = a[box] == i, b[box] == j
    there = ndimage.distance_transform_edt(~second)[first].max()
    back = ndimage.distance_transform_edt(~first)[second].max()
    return float(max(there, back))


def _same_shape(number: int, a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"image {number}: shapes {a.shape} and {b.shape} differ; truth, prediction and weight must cover the same pixels")
