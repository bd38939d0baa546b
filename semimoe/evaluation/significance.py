"""Whether two rows of a table differ by more than noise: paired tests over draws and over images.

A draw is one random list of labelled images with one seed; rows of the same draw have the same
list. The test over draws asks whether another draw would show the same sign; the test over images
asks the same for other test images, and says nothing about other trainings.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
_RESAMPLES = 9999
_SAME = 1e-9


class DrawTest(NamedTuple):
    """Paired comparison over draws.

    Attributes
    ----------
    pairs : number of draws
    mean : of the differences
    better : draws in which the difference is an improvement
    t_p : two-sided p of the paired t test; None: fewer than two pairs, or no spread
    sign_p : two-sided p of the sign test; None: no difference at all
    """

    pairs: int
    mean: float
    better: int
    t_p: float | None
    sign_p: float | None


class ImageTest(NamedTuple):
    """Paired comparison over test images, each the mean of its draws.

    Attributes
    ----------
    pairs : number of images
    mean : of the differences
    low, high : 95 % interval of the mean, by bootstrap over the images
    wilcoxon_p : two-sided p of the signed-rank test; None: no difference at all
    """

    pairs: int
    mean: float
    low: float
    high: float
    wilcoxon_p: float | None


def compare_draws(differences: Sequence[float], *, higher_is_better: bool = True) -> DrawTest:
    """Paired t test and sign test.

    >>> compare_draws([0.01, 0.03])._replace(t_p=None)
    DrawTest(pairs=2, mean=0.02, better=2, t_p=None, sign_p=0.5)

    Parameters
    ----------
    differences : score of the row minus score of the other row, one for each draw
    """
    values = np.asarray(differences, float)
    if not len(values):
        raise ValueError("no draw that both rows have")
    sign = 1 if higher_is_better else -1
    better = int(np.count_nonzero(sign * values > 0))
    unequal = int(np.count_nonzero(values))
    has_spread = len(values) > 1 and np.ptp(values) > _SAME
    return DrawTest(
        pairs=len(values),
        mean=float(values.mean()),
        better=better,
        t_p=float(stats.ttest_1samp(values, 0).pvalue) if has_spread else None,
        sign_p=float(stats.binomtest(better, unequal).pvalue) if unequal else None,
    )


def compare_images(differences: Sequence[Mapping[str, float | None]]) -> ImageTest:
    """Signed-rank test and bootstrap interval.

    Parameters
    ----------
    differences : for each draw, image -> score of the row minus score of the other row; an image
        without a value in one draw is left out
    """
    names = [
        name for name in differences[0] if all(one.get(name) is not None for one in differences)
    ]
    if not names:
        raise ValueError("no image that both rows have a score of")
    values = np.asarray([[one[name] for name in names] for one in differences], float).mean(axis=0)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), (LEVEL / 2, 1 - LEVEL / 2))
    p = float(stats.wilcoxon(values).pvalue) if np.any(values) else None
    return ImageTest(len(values), float(values.mean()), float(low), float(high), p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P values with Holm's correction for the number of tests; None stays and does not count.

    >>> [None if p is None else round(p, 3) for p in holm([0.01, 0.04, None, 0.03])]
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, number) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[number] = largest
    return adjusted


def verdict(
    draws: DrawTest,
    p_draws: float | None,
    p_images: float | None,
    *,
    images: ImageTest | None = None,
    higher_is_better: bool = True,
) -> str:
    """What may be said about a difference.

    It is more than noise only if both tests say so, over draws and over images, in the same
    direction. Without scores of single images, the draws decide.

    Parameters
    ----------
    p_draws, p_images : of the t test and of the signed-rank test, corrected; None: not known
    """
    if draws.sign_p is None:
        return "no difference"
    if p_draws is None:
        return "too few draws"
    if images is not None and images.mean * draws.mean <= 0:
        return "within noise"
    if p_draws < LEVEL and (p_images is None or p_images < LEVEL):
        return "better" if (draws.mean > 0) == higher_is_better else "worse"
    return "within noise"
