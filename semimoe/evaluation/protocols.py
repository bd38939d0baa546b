"""The two protocols of a test score, on arrays: `honest`, and `as-published` for the comparison with the paper's Table 1 alone.

honest: checkpoint, threshold and split parameters come from validation; the test images are touched once. Scores at the images' own size,
and pixel scores at 256 x 256.
as-published (the public code): 256 x 256, gate output, foreground Dice and Jaccard pooled over all pixels of all test images at the best of
the thresholds 0, .02 .. .88 *on the test images*. The public code also takes the best of every 5th epoch on them; here it is the last one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_resolution import SQUARE_PX, square_map
from semimoe.evaluation.metrics import object_scores, pixel_scores

THRESHOLDS = tuple(round(0.02 * i, 2) for i in range(45))
_SHOWN_MEAN = (
    "dice",
    "jaccard",
    "object_f1",
    "object_dice",
    "object_hausdorff_px",
    "object_hausdorff_um",
)


class Pair(NamedTuple):
    """Truth and prediction of one image, int32 (H, W), one number per gland."""

    name: str
    truth: NDArray[np.int32]
    prediction: NDArray[np.int32]


def scores_at_own_size(
    pairs: Sequence[Pair], *, mpp_um: float | None, min_object_um2: float = 0.0
) -> dict[str, Any]:
    """Pixel and object scores: pooled over all images (the challenge), per image, and the mean of the images.

    Parameters
    ----------
    mpp_um : pixel size, um; None: not known, so no distance in um
    min_object_um2 : smaller objects go from truth and prediction alike; 0 is the challenge
    """
    images = {pair.name: _scores([pair], mpp_um, min_object_um2) for pair in pairs}
    return {
        "min_object_um2": min_object_um2,
        "pooled": _scores(pairs, mpp_um, min_object_um2),
        "mean": {key: _mean([scores[key] for scores in images.values()]) for key in _SHOWN_MEAN},
        "images": images,
    }


def scores_at_square(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Pixel scores of the same masks squeezed to 256 x 256."""
    masks = [(_squeezed(pair.truth > 0), _squeezed(pair.prediction > 0)) for pair in pairs]
    images = [pixel_scores([truth], [prediction]) for truth, prediction in masks]
    pooled = pixel_scores([truth for truth, _ in masks], [prediction for _, prediction in masks])
    mean = {
        "dice": _mean([image.dice for image in images]),
        "jaccard": _mean([image.jaccard for image in images]),
    }
    return {"pooled": pooled._asdict(), "mean": mean}


def scores_as_published(
    truths: Sequence[NDArray[np.int32]], probabilities: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    """Pooled Dice and Jaccard at the threshold that is best on these very images.

    Parameters
    ----------
    truths : int32 (H, W), one number per gland, at any size
    probabilities : float32 (h, w), gland probability of the gate, at the size the network sees
    """
    gland, other = np.zeros(len(THRESHOLDS) + 1, np.int64), np.zeros(len(THRESHOLDS) + 1, np.int64)
    for truth, probability in zip(truths, probabilities, strict=True):
        # How many thresholds each pixel passes: one pass over the pixels serves all of them.
        passed = np.searchsorted(
            np.asarray(THRESHOLDS, np.float32), square_map(probability, SQUARE_PX), side="right"
        )
        true = _squeezed(truth > 0)
        gland += np.bincount(passed[true], minlength=len(gland))
        other += np.bincount(passed[~true], minlength=len(other))
    curve = []
    for number in range(len(THRESHOLDS)):
        hit, false = int(gland[number + 1 :].sum()), int(other[number + 1 :].sum())
        either = int(gland.sum()) + false
        curve.append((2 * hit / (hit + either), hit / either) if either else (1.0, 1.0))
    best = int(np.argmax([dice for dice, _ in curve]))
    at_edge = best in (0, len(THRESHOLDS) - 1)
    return {
        "pooled": {"dice": curve[best][0], "jaccard": curve[best][1]},
        "threshold": THRESHOLDS[best],
        "warnings": [
            "the best threshold lies at the edge of the sweep: the network may not have learnt"
        ]
        if at_edge
        else [],
        "dice_by_threshold": {
            str(threshold): dice for threshold, (dice, _) in zip(THRESHOLDS, curve, strict=True)
        },
    }


def _scores(pairs: Sequence[Pair], mpp_um: float | None, min_object_um2: float) -> dict[str, Any]:
    truth, prediction = [pair.truth for pair in pairs], [pair.prediction for pair in pairs]
    objects = object_scores(truth, prediction, mpp_um=mpp_um or 1.0, min_object_um2=min_object_um2)
    if mpp_um is None:
        objects = objects._replace(object_hausdorff_um=None)
    return {**pixel_scores(truth, prediction)._asdict(), **objects._asdict()}


def _squeezed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Gland where glands cover half of a pixel of the square."""
    half: NDArray[np.bool_] = square_map(mask.astype(np.float32), SQUARE_PX) >= 0.5
    return half


def _mean(values: Sequence[float | None]) -> float | None:
    """None as soon as one image has no figure: a distance to nothing is never left out."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
