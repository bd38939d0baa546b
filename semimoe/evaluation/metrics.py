"""Pixel and object scores of gland segmentation, without torch.

Object scores are those of the GlaS challenge (Sirinukunwattana et al., Medical Image Analysis 35,
2017), for one image or pooled over the objects of several images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.evaluation.object_distances import ObjectDistances
from semimoe.evaluation.object_matching import (
    Labels,
    MatchedObjects,
    compact_labels,
    match_objects,
)


class PixelScores(NamedTuple):
    """Foreground scores; both are 1 if truth and prediction are empty."""

    dice: float
    jaccard: float


class ObjectScores(NamedTuple):
    """Object scores.

    The partner of an object is the object of the other image that shares the most pixels with it.

    Attributes
    ----------
    object_f1 : 2 tp / (2 tp + fp + fn); 1 without any object
    object_dice : mean Dice of objects with their partners, weighted by area, and averaged over
        both directions (from truth to prediction and back)
    object_hausdorff_px, object_hausdorff_um : the same for the symmetric Hausdorff distance. None
        if it was not computed, or if it is infinite because an image has objects on one side only
    tp, fp, fn : numbers of objects
    hausdorff_missing : number of images with objects on one side only
    splits : surplus predicted objects where several lie by more than half in one true object
    merges : surplus true objects where several lie by more than half in one predicted object
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


def pixel_scores(
    truth: Sequence[NDArray[Any]],
    prediction: Sequence[NDArray[Any]],
    weight: Sequence[NDArray[Any]] | None = None,
) -> PixelScores:
    """Foreground Dice and Jaccard, pooled over the pixels of all images.

    Parameters
    ----------
    truth, prediction : per image a mask or labels (H, W); values above 0 are foreground
    weight : per image (H, W); only pixels above 0 count. None: all pixels count

    Raises
    ------
    ValueError
        Shapes or numbers of images differ.
    """
    intersection = union = 0
    for number, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        counts = np.ones(true.shape, bool) if weight is None else np.asarray(weight[number]) > 0
        _check_same_shape(number, true, predicted)
        _check_same_shape(number, true, counts)
        true_mask, predicted_mask = (true > 0) & counts, (predicted > 0) & counts
        intersection += int(np.count_nonzero(true_mask & predicted_mask))
        union += int(np.count_nonzero(true_mask | predicted_mask))
    if union == 0:
        return PixelScores(1.0, 1.0)
    return PixelScores(2 * intersection / (union + intersection), intersection / union)


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
    truth, prediction : per image int (H, W), 0 background, one number per object
    mpp_um : size of a pixel, um
    min_object_um2 : smaller objects are removed from truth and prediction, um2; 0: none are, as in
        the challenge
    distances : False: the Hausdorff distance, which takes most of the time, is not computed

    Raises
    ------
    ValueError
        Shapes or numbers of images differ, or labels are negative.
    """
    tp = fp = fn = missing = splits = merges = 0
    from_truth, from_prediction = _DirectedSums(), _DirectedSums()
    for number, labels in enumerate(zip(truth, prediction, strict=True)):
        _check_same_shape(number, *labels)
        min_area_px = min_object_um2 / mpp_um**2
        true, predicted = match_objects(*(compact_labels(one, min_area_px) for one in labels))
        hits = _count_hits(true, predicted)
        tp, fp, fn = tp + hits, fp + predicted.object_count - hits, fn + true.object_count - hits
        splits += _count_surplus(predicted)
        merges += _count_surplus(true)
        is_one_sided = (true.object_count == 0) != (predicted.object_count == 0)
        missing += is_one_sided
        if is_one_sided or not distances:
            from_truth += _directed_sums(true, predicted)
            from_prediction += _directed_sums(predicted, true)
        else:
            measured = ObjectDistances(true.labels, predicted.labels)
            from_truth += _directed_sums(true, predicted, measured.of_true_object)
            from_prediction += _directed_sums(predicted, true, measured.of_predicted_object)
    directions = [sums for sums in (from_truth, from_prediction) if sums.area]
    if not directions:
        distance = 0.0 if distances else None
        return ObjectScores(1.0, 1.0, distance, distance, 0, 0, 0, 0, 0, 0)
    hausdorff_px = None
    if distances and not missing:
        hausdorff_px = sum(sums.hausdorff / sums.area for sums in directions) / 2
    return ObjectScores(
        object_f1=2 * tp / (2 * tp + fp + fn),
        object_dice=sum(sums.dice / sums.area for sums in directions) / 2,
        object_hausdorff_px=hausdorff_px,
        object_hausdorff_um=None if hausdorff_px is None else hausdorff_px * mpp_um,
        tp=tp,
        fp=fp,
        fn=fn,
        hausdorff_missing=missing,
        splits=splits,
        merges=merges,
    )


@dataclass(frozen=True)
class _DirectedSums:
    """Sums over the objects of truth or of prediction, each weighted by its area in px."""

    area: float = 0.0
    dice: float = 0.0
    hausdorff: float = 0.0

    def __add__(self, other: "_DirectedSums") -> "_DirectedSums":
        return _DirectedSums(
            self.area + other.area, self.dice + other.dice, self.hausdorff + other.hausdorff
        )


def _directed_sums(
    objects: MatchedObjects,
    others: MatchedObjects,
    distance: Callable[[int, int], float] | None = None,
) -> _DirectedSums:
    """Sums over `objects`, whose partners are among `others`.

    Parameters
    ----------
    distance : of an object to its partner, in px; partner 0: to the nearest object. None: not
        computed
    """
    area, partner = objects.area_px[1:], objects.partner[1:]
    partner_area = np.where(partner > 0, others.area_px[partner], 0)
    dice = 2 * objects.shared_px[1:] / (area + partner_area)  # 0 without a partner
    hausdorff = 0.0
    if distance is not None:
        for number, (size, other) in enumerate(
            zip(area.tolist(), partner.tolist(), strict=True), start=1
        ):
            hausdorff += float(size) * distance(number, other)
    return _DirectedSums(float(area.sum()), float((area * dice).sum()), hausdorff)


def _count_hits(true: MatchedObjects, predicted: MatchedObjects) -> int:
    """Predicted objects that cover more than half of their partner."""
    has_partner = predicted.partner > 0
    partner_area = true.area_px[predicted.partner[has_partner]]
    return int(np.count_nonzero(2 * predicted.shared_px[has_partner] > partner_area))


def _count_surplus(objects: MatchedObjects) -> int:
    """Objects that lie by more than half in their partner, except one for each partner."""
    is_inside = (objects.partner > 0) & (2 * objects.shared_px > objects.area_px)
    objects_in_partner = np.bincount(objects.partner[is_inside])
    return int(np.maximum(objects_in_partner - 1, 0).sum())


def _check_same_shape(number: int, first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"image {number}: shapes {first.shape} and {second.shape} differ; truth, prediction "
            "and weight must cover the same pixels"
        )
