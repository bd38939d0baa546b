"""The two protocols against values by hand and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semimoe.evaluation.protocols import (
    SWEEP_THRESHOLDS,
    ScoredImage,
    scores_as_published,
    scores_at_own_size,
    scores_at_square,
    scores_of_large_objects,
)


def halves(height: int, width: int, columns: int) -> np.ndarray:
    return np.broadcast_to((np.arange(width) < columns).astype(np.int32), (height, width)).copy()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), images=st.integers(1, 3))
def test_the_sweep_agrees_with_one_threshold_after_the_other(seed, images) -> None:
    rng = np.random.default_rng(seed)
    truths = [rng.integers(0, 3, (256, 256)).astype(np.int32) for _ in range(images)]
    maps = [
        np.clip(rng.normal(0.3, 0.2, (256, 256)) + 0.2 * (truth > 0), 0, 1).astype(np.float32)
        for truth in truths
    ]
    scores = scores_as_published(truths, maps)
    best = (-1.0, 0.0, 0.0)
    for threshold in SWEEP_THRESHOLDS:
        both = sum(
            np.count_nonzero((t > 0) & (m >= np.float32(threshold)))
            for t, m in zip(truths, maps, strict=True)
        )
        sizes = sum(
            np.count_nonzero(t) + np.count_nonzero(m >= np.float32(threshold))
            for t, m in zip(truths, maps, strict=True)
        )
        assert scores.dice_by_threshold[threshold] == pytest.approx(2 * both / sizes)
        best = max(best, (2 * both / sizes, -threshold, both / (sizes - both)))
    assert (
        scores.pooled.dice,
        scores.threshold,
        scores.pooled.jaccard,
    ) == pytest.approx((best[0], -best[1], best[2]))


def test_the_sweep_goes_from_0_to_88_percent_and_warns_at_its_ends() -> None:
    assert (
        SWEEP_THRESHOLDS[0],
        SWEEP_THRESHOLDS[1],
        SWEEP_THRESHOLDS[-1],
        len(SWEEP_THRESHOLDS),
    ) == (0.0, 0.02, 0.88, 45)
    truth = halves(256, 256, 100)
    certain = scores_as_published([truth], [truth * np.float32(0.6)])
    assert (certain.pooled.dice, certain.pooled.jaccard) == (1.0, 1.0)
    assert (certain.threshold, certain.warning) == (0.02, None)
    flat = scores_as_published([truth], [np.full(truth.shape, 0.001, np.float32)])
    assert flat.threshold == 0
    assert "first or last one that was tried" in flat.warning


def test_images_of_any_size_are_scored_on_the_square() -> None:
    # 100 of 400 columns are 64 of 256; the prediction has half of them.
    pair = ScoredImage("a", halves(512, 400, 100), halves(512, 400, 50))
    assert scores_at_square([pair]).pooled.to_json_dict() == {
        "dice": pytest.approx(2 / 3),
        "jaccard": pytest.approx(0.5),
    }
    scores = scores_as_published([pair.truth], [halves(256, 200, 25).astype(np.float32)])
    assert scores.pooled.dice == pytest.approx(2 / 3)


def test_pooled_and_mean_scores_differ_and_small_objects_are_removed_from_both_sides() -> None:
    small = ScoredImage("small", halves(10, 10, 2), halves(10, 10, 1))  # Dice 2/3
    large = ScoredImage("large", halves(100, 100, 50), halves(100, 100, 50))
    scores = scores_at_own_size([small, large], mpp_um=0.5)
    assert scores.mean.dice == pytest.approx((2 / 3 + 1) / 2)
    assert scores.pooled.dice == pytest.approx(2 * 5010 / (5020 + 5010))
    assert (scores.pooled.tp, scores.pooled.fn) == (1, 1)
    # 20 px are 5 um2 and are removed, also from the truth.
    without = scores_of_large_objects([small, large], mpp_um=0.5, min_object_um2=6.0).pooled
    assert (without.object_f1, without.tp, without.fn) == (1.0, 1, 0)
    unknown = scores_at_own_size([small], mpp_um=None).pooled
    assert (unknown.object_hausdorff_um, unknown.object_hausdorff_px) == (None, 1.0)
