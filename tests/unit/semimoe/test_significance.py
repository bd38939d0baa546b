"""Paired tests of two rows, against values computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from semimoe.evaluation.significance import (
    DrawTest,
    ImageTest,
    compare_draws,
    compare_images,
    holm,
    verdict,
)


def test_the_t_test_of_three_draws_by_hand() -> None:
    """Differences 1, 2, 3 hundredths: mean .02, deviation .01, t = .02 / (.01 / sqrt(3)).

    With two degrees of freedom, p = 1 - t / sqrt(t^2 + 2).
    """
    test = compare_draws([0.01, 0.02, 0.03])
    t = 0.02 / (0.01 / math.sqrt(3))
    assert test.t_p == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert (test.pairs, test.better) == (3, 3)
    assert test.mean == pytest.approx(0.02)
    assert test.sign_p == pytest.approx(2 * 0.5**3)


def test_the_sign_test_leaves_equal_draws_out_and_knows_the_better_direction() -> None:
    """One of five unequal draws has the other sign: p = 2 (C(5,0) + C(5,1)) / 2^5."""
    differences = [-1.0, -2.0, -3.0, -4.0, 5.0, 0.0]
    distance = compare_draws(differences, higher_is_better=False)
    assert distance.better == 4
    assert compare_draws(differences).better == 1
    assert distance.sign_p == pytest.approx(2 * (1 + 5) / 32)


@pytest.mark.parametrize("differences", [[0.02], [0.02, 0.02, 0.02]])
def test_draws_without_spread_have_no_t_test(differences) -> None:
    test = compare_draws(differences)
    assert test.t_p is None
    assert verdict(test, test.t_p, 0.001) == "too few draws"


def test_equal_rows_have_no_difference() -> None:
    test = compare_draws([0.0, 0.0])
    assert (test.t_p, test.sign_p) == (None, None)
    assert verdict(test, None, None) == "no difference"
    images = compare_images([{"a": 0.0, "b": 0.0}])
    assert (images.low, images.high, images.wilcoxon_p) == (0.0, 0.0, None)
    with pytest.raises(ValueError, match="no draw"):
        compare_draws([])


def test_images_are_means_of_their_draws_and_images_without_a_value_are_left_out() -> None:
    """Five images that all improve: the signed-rank p is 2 / 2^5."""
    first = {name: 0.01 * number for number, name in enumerate("abcde", start=1)}
    second = {name: 3 * value for name, value in first.items()}
    test = compare_images([first | {"f": None}, second | {"f": 0.5}])
    assert test.pairs == 5
    assert test.mean == pytest.approx(2 * 0.03)
    assert test.wilcoxon_p == pytest.approx(2 / 2**5)
    assert 0.02 <= test.low < test.mean < test.high <= 0.1
    with pytest.raises(ValueError, match="no image"):
        compare_images([{"a": None}])


def test_the_interval_of_the_mean_is_that_of_the_normal_distribution_for_many_images() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.05, 0.2, 400)
    test = compare_images([{str(number): value for number, value in enumerate(values)}])
    half = 1.96 * values.std() / 20
    assert test.low == pytest.approx(values.mean() - half, abs=0.003)
    assert test.high == pytest.approx(values.mean() + half, abs=0.003)
    assert test.wilcoxon_p == pytest.approx(stats.wilcoxon(values).pvalue)


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls() -> None:
    """Ordered: .01 x 4, .02 x 3, .02 x 2 (raised to .06), .9 x 1."""
    adjusted = holm([0.02, 0.9, 0.01, None, 0.02])
    assert adjusted == [pytest.approx(0.06), 0.9, pytest.approx(0.04), None, pytest.approx(0.06)]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_is_more_than_noise_only_over_draws_and_over_images() -> None:
    draws = DrawTest(8, 0.02, 8, 0.001, 0.008)
    assert verdict(draws, 0.04, 0.04) == "better"
    assert verdict(draws, 0.04, None) == "better"
    assert verdict(draws, 0.04, 0.04, higher_is_better=False) == "worse"
    assert verdict(draws, 0.06, 0.001) == "within noise"
    assert verdict(draws, 0.001, 0.06) == "within noise"
    # All images together are better, but most single images are worse: nothing may be said.
    opposite = ImageTest(60, -0.01, -0.02, -0.005, 0.001)
    assert verdict(draws, 0.04, 0.04, images=opposite) == "within noise"
    assert verdict(draws, 0.04, 0.04, images=opposite._replace(mean=0.01)) == "better"
