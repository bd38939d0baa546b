"""Pixel and object scores of gland segmentation (no torch needed).

Object scores are those of the GlaS challenge (Sirinukunwattana et al., Medical Image Analysis 35, 2017), for one image or pooled over many.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

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
    splits : predicted objects too many, where several lie by more than half inside the same true object
    merges : true objects too many, where several lie by more than half inside the same predicted object
    """

    object_f1: float
    object_dice: float
    object_hausdorff_px: float | None
    object_hausdorff_um: float | None
    tp: int
    fp: int
    fn: int
    hausdorff_missing: int
    splits: int
    merges: int


class _Side(NamedTuple):
    """Sums over the objects of one side (truth or prediction), each weighted by its area in px."""

    area: float = 0.0
    dice: float = 0.0
    hausdorff: float = 0.0

    def plus(self, other: "_Side") -> "_Side":
        return _Side(*(a + b for a, b in zip(self, other, strict=True)))


def pixel_scores(
    truth: Sequence[NDArray[Any]],
    prediction: Sequence[NDArray[Any]],
    weight: Sequence[NDArray[Any]] | None = None,
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


def object_scores(
    truth: Sequence[Labels],
    prediction: Sequence[Labels],
    *,
    mpp_um: float = 1.0,
    min_object_um2: float = 0.0,
    distances: bool = True,
) -> ObjectScores:
    """Object F1, Dice and Hausdorff distance, pooled over the objects of all images.

    Parameters
    ----------
    truth, prediction : int (H, W), 0 background, one number per object; one pair per image
    mpp_um : size of a pixel, um
    min_object_um2 : smaller objects go from truth and prediction alike, um2; 0: none do (the challenge)
    distances : False leaves the Hausdorff distance out (reported as None), which is most of the work

    Raises
    ------
    ValueError
        Shapes or numbers of images differ.
    """
    tp = fp = fn = missing = splits = merges = 0
    sides = [_Side(), _Side()]
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        _same_shape(number, true, predicted)
        pair = _Pair.of(
            *(_compact(labels, min_object_um2 / mpp_um**2) for labels in (true, predicted))
        )
        hits = _hits(pair)
        tp, fp, fn = tp + hits, fp + len(pair.area_b) - 1 - hits, fn + len(pair.area_a) - 1 - hits
        splits += _too_many(pair.area_b, pair.partner_of_b, pair.shared_b)
        merges += _too_many(pair.area_a, pair.partner_of_a, pair.shared_a)
        one_sided = (len(pair.area_a) == 1) != (len(pair.area_b) == 1)
        missing += one_sided
        measure = _Distances(pair) if distances and not one_sided else None
        sides[0] = sides[0].plus(_side(pair, measure, swapped=False))
        sides[1] = sides[1].plus(_side(pair, measure, swapped=True))
    if not any(side.area for side in sides):
        nothing = 0.0 if distances else None
        return ObjectScores(1.0, 1.0, nothing, nothing, 0, 0, 0, 0, 0, 0)
    dice = sum(side.dice / side.area for side in sides if side.area) / 2
    hausdorff = (
        None if missing or not distances else sum(side.hausdorff / side.area for side in sides) / 2
    )
    hausdorff_um = None if hausdorff is None else hausdorff * mpp_um
    return ObjectScores(
        2 * tp / (2 * tp + fp + fn),
        dice,
        hausdorff,
        hausdorff_um,
        tp,
        fp,
        fn,
        missing,
        splits,
        merges,
    )


class _Pair(NamedTuple):
    """Two label arrays of one image and what their objects share; number 0 is background everywhere."""

    a: NDArray[np.int32]  # (H, W), 0..N
    b: NDArray[np.int32]  # (H, W), 0..M
    area_a: NDArray[np.int64]  # (N + 1,) px
    area_b: NDArray[np.int64]  # (M + 1,) px
    partner_of_a: NDArray[
        np.int64
    ]  # (N + 1,) the object of b that shares most pixels, of equals the smaller number; 0: none
    partner_of_b: NDArray[np.int64]  # (M + 1,)
    shared_a: NDArray[np.int64]  # (N + 1,) px shared with that partner
    shared_b: NDArray[np.int64]  # (M + 1,)

    @classmethod
    def of(cls, a: NDArray[np.int32], b: NDArray[np.int32]) -> "_Pair":
        area_a, area_b = np.bincount(a.ravel()), np.bincount(b.ravel())
        both = (a > 0) & (b > 0)
        # Sparse: two slides of many thousand glands each would make a matrix of gigabytes.
        ones = np.ones(int(np.count_nonzero(both)), np.int64)
        counts = sparse.coo_array((ones, (a[both], b[both])), shape=(len(area_a), len(area_b)))
        counts.sum_duplicates()
        rows, columns = counts.coords
        partner_a, shared_a = _largest(rows, columns, counts.data, len(area_a))
        partner_b, shared_b = _largest(columns, rows, counts.data, len(area_b))
        return cls(a, b, area_a, area_b, partner_a, partner_b, shared_a, shared_b)


def _compact(labels: Labels, least_px: float) -> NDArray[np.int32]:
    """Numbers 0 (background), 1..N in the order of the given ones, of objects of at least that many pixels."""
    if labels.size and labels.min() < 0:
        raise ValueError(
            f"labels go down to {labels.min()}; 0 is background and objects are numbered from 1"
        )
    numbers = labels
    if labels.max(initial=0) > labels.size:  # a table of that length would not fit
        numbers = np.searchsorted(np.concatenate([[0], np.unique(labels[labels > 0])]), labels)
    area = np.bincount(numbers.ravel(), minlength=1)
    present = (area > 0) & (area >= least_px)
    present[0] = False
    table: NDArray[np.int32] = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return table[numbers]


def _largest(
    rows: NDArray[np.integer[Any]],
    columns: NDArray[np.integer[Any]],
    counts: NDArray[np.int64],
    size: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per row the column of the largest count, ties to the smaller, and that count; 0 and 0 where there is none."""
    order = np.lexsort((columns, -counts, rows))
    row, first = np.unique(rows[order], return_index=True)
    partner, shared = np.zeros(size, np.int64), np.zeros(size, np.int64)
    partner[row], shared[row] = columns[order][first], counts[order][first]
    return partner, shared


def _hits(pair: _Pair) -> int:
    """Predicted objects that cover more than half of the true object they overlap most."""
    found = pair.partner_of_b > 0
    return int(np.count_nonzero(2 * pair.shared_b[found] > pair.area_a[pair.partner_of_b[found]]))


def _too_many(
    area: NDArray[np.int64], partner: NDArray[np.int64], shared: NDArray[np.int64]
) -> int:
    """Objects that lie by more than half inside a partner which holds another one already."""
    inside = (partner > 0) & (2 * shared > area)
    held = np.bincount(partner[inside])
    return int(np.maximum(held - 1, 0).sum())


def _side(pair: _Pair, measure: "_Distances | None", *, swapped: bool) -> _Side:
    """Sums over the objects of a (swapped: of b), each with its partner on the other side."""
    area, other, partner, shared = pair.area_a, pair.area_b, pair.partner_of_a, pair.shared_a
    if swapped:
        area, other, partner, shared = pair.area_b, pair.area_a, pair.partner_of_b, pair.shared_b
    area, partner, shared = area[1:], partner[1:], shared[1:]
    dice = (
        2 * shared / (area + np.where(partner > 0, other[partner], 0))
    )  # 0 without a partner: nothing is shared
    hausdorff = 0.0
    if measure is not None:
        hausdorff = sum(
            float(size)
            * (
                measure.nearest(i, swapped=swapped)
                if j == 0
                else measure.between(*((j, i) if swapped else (i, j)))
            )
            for i, (size, j) in enumerate(
                zip(area.tolist(), partner.tolist(), strict=True), start=1
            )
        )
    return _Side(float(area.sum()), float((area * dice).sum()), hausdorff)


class _Distances:
    """Symmetric Hausdorff distances between the pixels of objects of a and of b, px; each is measured once.

    A distance transform needs only the box around both objects: a nearest pixel lies nowhere else.
    """

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self._boxes = ndimage.find_objects(pair.a), ndimage.find_objects(pair.b)
        self._corners = tuple(
            np.array([[(side.start, side.stop) for side in box] for box in boxes])
            for boxes in self._boxes
        )
        self._known: dict[tuple[int, int], float] = {}

    def between(self, i: int, j: int) -> float:
        """Object i of a and object j of b."""
        if (i, j) not in self._known:
            self._known[i, j] = self._measured(i, j)
        return self._known[i, j]

    def nearest(self, number: int, *, swapped: bool) -> float:
        """Smallest distance of an object of a (swapped: of b) to any object of the other side.

        Two sets are at least as far apart as their boxes differ on any side, so few candidates are measured.
        """
        mine, theirs = self._corners[::-1] if swapped else self._corners
        bounds = np.abs(theirs - mine[number - 1]).max(axis=(1, 2))
        best = np.inf
        for other in np.argsort(bounds, kind="stable").tolist():
            if bounds[other] >= best:
                break
            best = min(
                best, self.between(*((other + 1, number) if swapped else (number, other + 1)))
            )
        return float(best)

    def _measured(self, i: int, j: int) -> float:
        box = tuple(
            slice(min(p.start, q.start), max(p.stop, q.stop))
            for p, q in zip(self._boxes[0][i - 1], self._boxes[1][j - 1], strict=True)
        )
        first, second = self._pair.a[box] == i, self._pair.b[box] == j
        return max(_farthest(first, second), _farthest(second, first))


def _farthest(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Largest distance of a pixel of the first set to the second one, px."""
    outside = first & ~second
    if not outside.any():
        return 0.0
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~second)
    return float(distance[outside].max())


def _same_shape(number: int, a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"image {number}: shapes {a.shape} and {b.shape} differ; truth, prediction and weight must cover the same pixels"
        )
