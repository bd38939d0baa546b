"""Scores against cases computed by hand, and against brute force by the rules of the challenge."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semimoe.evaluation.metrics import object_scores, pixel_scores

EMPTY = np.zeros((6, 8), np.int32)


def square(y: int, x: int, side: int, number: int = 1) -> np.ndarray:
    labels = np.zeros((20, 20), np.int32)
    labels[y : y + side, x : x + side] = number
    return labels


def brute_force(truth, prediction):
    """The rules of the challenge, object by object and pixel by pixel."""
    tp, fp, fn, sums = 0, 0, 0, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    for g, s in zip(truth, prediction, strict=True):
        points = [{n: np.argwhere(x == n) for n in np.unique(x) if n} for x in (g, s)]
        hit = set()
        for n in points[1]:
            inside = g[(s == n) & (g > 0)]
            if inside.size:
                numbers, counts = np.unique(inside, return_counts=True)
                best = numbers[counts.argmax()]
                if counts.max() > 0.5 * len(points[0][best]):
                    hit.add(n)
        tp, fp, fn = tp + len(hit), fp + len(points[1]) - len(hit), fn + len(points[0]) - len(hit)
        for side, (x, y, mine, theirs) in enumerate(((g, s, *points), (s, g, *points[::-1]))):
            for n, own in mine.items():
                inside = y[(x == n) & (y > 0)]
                numbers, counts = np.unique(inside, return_counts=True)
                distances = {k: hausdorff(own, other) for k, other in theirs.items()}
                if inside.size:
                    partner = numbers[counts.argmax()]
                    dice, distance = (
                        2 * counts.max() / (len(own) + len(theirs[partner])),
                        distances[partner],
                    )
                else:
                    dice, distance = 0.0, min(distances.values(), default=np.inf)
                sums[side] = [
                    a + b
                    for a, b in zip(
                        sums[side], (len(own), len(own) * dice, len(own) * distance), strict=True
                    )
                ]
    if not any(total[0] for total in sums):
        return 1.0, 1.0, 0.0, 0, 0, 0
    f1 = 2 * tp / (2 * tp + fp + fn)
    dice = sum(d / a for a, d, _ in sums if a) / 2
    distance = sum(h / a if a else np.inf for a, _, h in sums) / 2
    return f1, dice, distance, tp, fp, fn


def hausdorff(a, b):
    distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))
    return max(distances.min(1).max(), distances.min(0).max())


def test_the_same_objects_score_perfectly() -> None:
    labels = square(2, 2, 5) + square(10, 10, 6, 2)
    scores = object_scores([labels], [labels * 7])
    assert scores[:7] == (1.0, 1.0, 0.0, 0.0, 2, 0, 0)


def test_a_shifted_square_by_hand() -> None:
    scores = object_scores([square(0, 0, 4)], [square(0, 1, 4)], mpp_um=0.5)
    assert (scores.tp, scores.fp, scores.fn) == (1, 0, 0)
    assert scores.object_dice == pytest.approx(12 / 16)
    assert (scores.object_hausdorff_px, scores.object_hausdorff_um) == (1.0, 0.5)


def test_exactly_half_covered_is_no_hit() -> None:
    scores = object_scores([square(0, 0, 4)], [square(0, 0, 4) * (np.arange(20) < 2)])
    assert (scores.tp, scores.fp, scores.fn, scores.object_f1) == (0, 1, 1, 0.0)
    assert scores.object_dice == pytest.approx(2 * 8 / 24)


def test_two_glands_that_are_predicted_as_one() -> None:
    truth = square(0, 0, 4) + square(0, 4, 4, 2)
    scores = object_scores([truth], [(truth > 0).astype(np.int32)])
    assert (scores.tp, scores.fp, scores.fn) == (1, 0, 1)
    assert scores.object_f1 == pytest.approx(2 / 3)


def test_two_empty_masks_score_perfectly() -> None:
    assert object_scores([EMPTY], [EMPTY])[:7] == (1.0, 1.0, 0.0, 0.0, 0, 0, 0)
    assert pixel_scores([EMPTY], [EMPTY]) == (1.0, 1.0)


@pytest.mark.parametrize("swap", [False, True])
def test_objects_on_one_side_only_have_no_distance(swap) -> None:
    empty = np.zeros((20, 20), np.int32)
    pair = (empty, square(1, 1, 3)) if swap else (square(1, 1, 3), empty)
    scores = object_scores([pair[0]], [pair[1]])
    assert (scores.object_f1, scores.object_dice) == (0.0, 0.0)
    assert scores.object_hausdorff_px is None
    assert scores.object_hausdorff_um is None
    assert scores.hausdorff_missing == 1


def test_one_image_without_a_prediction_makes_the_pooled_distance_missing() -> None:
    good, empty = square(1, 1, 5), np.zeros((20, 20), np.int32)
    scores = object_scores([good, good], [good, empty])
    assert scores.object_hausdorff_px is None
    assert scores.hausdorff_missing == 1
    assert scores.object_dice == pytest.approx((0.5 + 1) / 2)


def test_pooling_weighs_objects_by_area_over_all_images() -> None:
    small, large = square(0, 0, 2), square(0, 0, 10)
    pooled = object_scores([small, large], [small, square(0, 5, 10)])
    assert pooled.object_dice == pytest.approx((4 * 1 + 100 * 0.5) / 104)


def test_pixels_without_weight_do_not_count() -> None:
    truth, prediction = square(0, 0, 4), square(0, 2, 4)
    weight = np.ones((20, 20), np.uint8)
    assert pixel_scores([truth], [prediction]) == (0.5, 8 / 24)
    weight[:, :2], weight[:, 4:] = 0, 0
    assert pixel_scores([truth], [prediction], [weight]) == (1.0, 1.0)


def test_pixel_scores_pool_pixels_not_images() -> None:
    small, large = square(0, 0, 1), square(0, 0, 10)
    assert pixel_scores([small, large], [0 * small, large]).dice == pytest.approx(200 / 201)


LABELS = arrays(np.int32, (7, 9), elements=st.sampled_from([0, 0, 0, 1, 2, 3]))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=2))
def test_scores_agree_with_brute_force(pairs) -> None:
    truth, prediction = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = object_scores(truth, prediction)
    f1, dice, distance, tp, fp, fn = brute_force(truth, prediction)
    assert (scores.tp, scores.fp, scores.fn) == (tp, fp, fn)
    assert scores.object_f1 == pytest.approx(f1)
    assert scores.object_dice == pytest.approx(dice)
    assert (scores.object_hausdorff_px or 0.0) == pytest.approx(
        distance if np.isfinite(distance) else 0.0
    )
    assert (scores.object_hausdorff_px is None) == (not np.isfinite(distance))
    assert object_scores(truth, prediction, distances=False)[:2] == scores[:2]


@settings(max_examples=60, deadline=None)
@given(LABELS, LABELS, st.sampled_from([0.0, 1.0, 2.5, 6.0]))
def test_small_objects_are_removed_from_both_sides(truth, prediction, least_um2) -> None:
    mpp_um = 0.5

    def large(labels):
        numbers, counts = np.unique(labels, return_counts=True)
        return np.where(np.isin(labels, numbers[counts * mpp_um**2 >= least_um2]), labels, 0)

    assert object_scores(
        [truth], [prediction], mpp_um=mpp_um, min_object_um2=least_um2
    ) == object_scores([large(truth)], [large(prediction)], mpp_um=mpp_um)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_large_far_and_unmatched_objects_agree_with_brute_force(seed) -> None:
    rng = np.random.default_rng(seed)
    pair = []
    for _ in range(2):
        labels = np.zeros((60, 80), np.int32)
        for number in range(1, int(rng.integers(2, 9))):
            y, x = rng.integers(0, 50), rng.integers(0, 65)
            labels[y : y + rng.integers(1, 15), x : x + rng.integers(1, 15)] = number
        pair.append(labels)
    scores, expected = object_scores([pair[0]], [pair[1]]), brute_force([pair[0]], [pair[1]])
    assert scores.object_hausdorff_px == pytest.approx(expected[2])
    assert (scores.object_f1, scores.object_dice) == pytest.approx(expected[:2])


def test_the_distance_of_a_ring_and_its_disc_is_that_of_the_centre() -> None:
    y, x = np.mgrid[:41, :41] - 20
    radius = np.hypot(y, x)
    disc, ring = (radius <= 12).astype(np.int32), ((radius > 12) & (radius <= 16)).astype(np.int32)
    to_ring = np.hypot(*np.nonzero(ring) - np.array([[20], [20]])).min()
    assert object_scores([disc], [ring]).object_hausdorff_px == pytest.approx(to_ring)


def test_numbers_may_be_huge() -> None:
    labels = square(2, 2, 5).astype(np.int64) * (2**31 - 1) + square(10, 10, 6, 7)
    assert object_scores([labels], [labels])[:7] == (1.0, 1.0, 0.0, 0.0, 2, 0, 0)


def test_images_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="image 0: shapes"):
        object_scores([EMPTY], [EMPTY.T])
    with pytest.raises(ValueError, match="image 0: shapes"):
        pixel_scores([EMPTY], [EMPTY], [EMPTY.T])


def test_metrics_need_no_torch() -> None:
    code = (
        "import sys, semimoe.evaluation.metrics; "
        "print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_splits_and_merges_are_counted_by_the_objects_inside_their_partner():
    truth, prediction = np.zeros((20, 60), int), np.zeros((20, 60), int)
    truth[2:12, 0:10], truth[2:12, 12:22], truth[2:12, 24:34] = 1, 2, 3
    prediction[2:12, 0:34] = 1  # three true objects in one: two too many
    truth[2:12, 40:60] = 4
    prediction[2:12, 40:49], prediction[2:12, 50:58], prediction[10:18, 58:60] = (
        2,
        3,
        4,
    )  # the last lies outside by more than half
    scores = object_scores([truth], [prediction])
    assert (scores.merges, scores.splits) == (2, 1)
    turned = object_scores([prediction], [truth])
    assert (turned.merges, turned.splits) == (1, 2)
