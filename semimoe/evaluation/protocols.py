"""The two protocols of test scores, on arrays.

honest: checkpoint, threshold and split parameters are chosen on validation images, and the test
images are used once. Scores are computed at the size of the images, pixel scores also at 256 x 256.

as-published (for the comparison with the paper's Table 1 only): as in the public code, gate output
at 256 x 256, foreground Dice and Jaccard pooled over the pixels of all test images, at the best of
the thresholds 0, .02 .. .88 *on the test images*. The public code also takes the best of every 5th
epoch on the test images; here it is the last epoch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_resolution import SQUARE_PX, resize_to_square
from semimoe.evaluation.metrics import object_scores, pixel_scores
from semimoe.evaluation.results import (
    DiceAndJaccard,
    GlandScores,
    LargeObjectScores,
    MeanScores,
    SquareScores,
)

SWEEP_THRESHOLDS = tuple(round(0.02 * i, 2) for i in range(45))


class ScoredImage(NamedTuple):
    """Truth and prediction of one image, int32 (H, W), one number per gland."""

    name: str
    truth: NDArray[np.int32]
    prediction: NDArray[np.int32]


class OwnSizeScores(NamedTuple):
    """Scores of all images together, their mean, and by image."""

    pooled: GlandScores
    mean: MeanScores
    images: dict[str, GlandScores]


class SweepScores(NamedTuple):
    """Scores at the best threshold on the test images.

    Attributes
    ----------
    warning : the best threshold is the first or last one, so the network may not have learnt
    dice_by_threshold : pooled Dice at each threshold
    """

    pooled: DiceAndJaccard
    threshold: float
    warning: str | None
    dice_by_threshold: dict[float, float]


def scores_at_own_size(
    images: Sequence[ScoredImage], *, mpp_um: float | None, min_object_um2: float = 0.0
) -> OwnSizeScores:
    """Pixel and object scores: pooled over all images (as in the challenge), mean, and per image.

    Parameters
    ----------
    mpp_um : pixel size, um; None: unknown, so there is no distance in um
    min_object_um2 : smaller objects are removed from truth and prediction; 0 as in the challenge
    """
    by_image = {image.name: _gland_scores([image], mpp_um, min_object_um2) for image in images}
    mean = MeanScores.model_validate(
        {
            name: _mean([getattr(scores, name) for scores in by_image.values()])
            for name in MeanScores.model_fields
        }
    )
    return OwnSizeScores(_gland_scores(images, mpp_um, min_object_um2), mean, by_image)


def scores_of_large_objects(
    images: Sequence[ScoredImage], *, mpp_um: float, min_object_um2: float
) -> LargeObjectScores:
    """The same without objects smaller than `min_object_um2`."""
    scores = scores_at_own_size(images, mpp_um=mpp_um, min_object_um2=min_object_um2)
    return LargeObjectScores(min_object_um2=min_object_um2, pooled=scores.pooled, mean=scores.mean)


def scores_at_square(images: Sequence[ScoredImage]) -> SquareScores:
    """Pixel scores of the masks, resized to 256 x 256."""
    truths = [_square_mask(image.truth > 0) for image in images]
    predictions = [_square_mask(image.prediction > 0) for image in images]
    by_image = [
        pixel_scores([truth], [prediction])
        for truth, prediction in zip(truths, predictions, strict=True)
    ]
    pooled = pixel_scores(truths, predictions)
    return SquareScores(
        pooled=DiceAndJaccard(dice=pooled.dice, jaccard=pooled.jaccard),
        mean=DiceAndJaccard(
            dice=float(np.mean([scores.dice for scores in by_image])),
            jaccard=float(np.mean([scores.jaccard for scores in by_image])),
        ),
    )


def scores_as_published(
    truths: Sequence[NDArray[np.int32]], probabilities: Sequence[NDArray[np.float32]]
) -> SweepScores:
    """Pooled Dice and Jaccard at the threshold that is best on these images.

    Parameters
    ----------
    truths : int32 (H, W), one number per gland, of any size
    probabilities : float32 (h, w), gland probability of the gate, at the working resolution
    """
    # Pixels by the number of thresholds they reach, so that one pass serves all thresholds.
    glands = np.zeros(len(SWEEP_THRESHOLDS) + 1, np.int64)
    background = np.zeros(len(SWEEP_THRESHOLDS) + 1, np.int64)
    thresholds = np.asarray(SWEEP_THRESHOLDS, np.float32)
    for truth, probability in zip(truths, probabilities, strict=True):
        square = resize_to_square(probability, SQUARE_PX)
        reached = np.searchsorted(thresholds, square, side="right")
        mask = _square_mask(truth > 0)
        glands += np.bincount(reached[mask], minlength=len(glands))
        background += np.bincount(reached[~mask], minlength=len(background))
    scores = [_scores_at(number, glands, background) for number in range(len(SWEEP_THRESHOLDS))]
    best = int(np.argmax([score.dice for score in scores]))
    warning = None
    if best in (0, len(SWEEP_THRESHOLDS) - 1):
        warning = (
            "the best threshold is the first or last one that was tried:"
            " the network may not have learnt"
        )
    return SweepScores(
        pooled=scores[best],
        threshold=SWEEP_THRESHOLDS[best],
        warning=warning,
        dice_by_threshold={
            threshold: score.dice for threshold, score in zip(SWEEP_THRESHOLDS, scores, strict=True)
        },
    )


def _scores_at(
    number: int, glands: NDArray[np.int64], background: NDArray[np.int64]
) -> DiceAndJaccard:
    """Scores at the threshold of this index, from pixels by number of thresholds they reach."""
    hits, false = int(glands[number + 1 :].sum()), int(background[number + 1 :].sum())
    union = int(glands.sum()) + false
    if not union:
        return DiceAndJaccard(dice=1.0, jaccard=1.0)
    return DiceAndJaccard(dice=2 * hits / (hits + union), jaccard=hits / union)


def _gland_scores(
    images: Sequence[ScoredImage], mpp_um: float | None, min_object_um2: float
) -> GlandScores:
    truth, prediction = [image.truth for image in images], [image.prediction for image in images]
    objects = object_scores(truth, prediction, mpp_um=mpp_um or 1.0, min_object_um2=min_object_um2)
    if mpp_um is None:
        objects = objects._replace(object_hausdorff_um=None)
    pixels = pixel_scores(truth, prediction)
    return GlandScores(**pixels._asdict(), **objects._asdict())


def _square_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask at 256 x 256: pixels of which glands cover at least half."""
    square: NDArray[np.bool_] = resize_to_square(mask.astype(np.float32), SQUARE_PX) >= 0.5
    return square


def _mean(values: Sequence[float | None]) -> float | None:
    """None if a value is None: an image with an infinite distance must not be left out."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None
