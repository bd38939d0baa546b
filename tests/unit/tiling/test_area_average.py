"""Area averages against sums in exact fractions; they do not depend on the block."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.raster.area_average import area_average, mean_area, source_span


def brute_force_mean(source, start, stop):
    """Mean of a 1-D integer sequence over a real interval, in exact fractions."""
    total = weight = Fraction(0)
    for j in range(math.floor(start), min(math.ceil(stop), len(source))):
        overlap = min(stop, Fraction(j + 1)) - max(start, Fraction(j))
        total += overlap * int(source[j])
        weight += overlap
    return total / weight


@pytest.mark.parametrize("factors", [(1, 3), (3, 3), (4, 4), (5, 2), (7, 6), (8, 8)])
def test_whole_factors_round_half_up_everywhere(factors):
    source = np.random.default_rng(0).integers(0, 256, (43, 47, 3), np.uint8)
    shape = -(-43 // factors[0]), -(-47 // factors[1])
    result = area_average(source, (float(factors[0]), float(factors[1])))
    assert result.shape == (*shape, 3)
    for i, j, c in np.ndindex(*shape, 3):
        block = source[
            i * factors[0] : (i + 1) * factors[0], j * factors[1] : (j + 1) * factors[1], c
        ].astype(int)
        assert result[i, j, c] == (2 * block.sum() + block.size) // (2 * block.size)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    seed=st.integers(0, 2**32 - 1),
    reduction=st.tuples(st.floats(1.0, 6.0), st.floats(1.0, 6.0)),
)
def test_area_average_equals_brute_force(height, width, seed, reduction):
    source = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    shape = math.ceil(height / reduction[0] - 1e-6), math.ceil(width / reduction[1] - 1e-6)
    result = area_average(source, reduction, block=(slice(0, shape[0]), slice(0, shape[1])))
    # Brute force by columns, then by rows, in exact fractions of the float edges.
    for i in (0, shape[0] // 2, shape[0] - 1):
        for j in (0, shape[1] - 1):
            x0, x1 = Fraction(j * reduction[1]), Fraction((j + 1) * reduction[1])
            y0, y1 = Fraction(i * reduction[0]), Fraction((i + 1) * reduction[0])
            means = [brute_force_mean(source[row, :, 0], x0, x1) for row in range(height)]
            total = weight = Fraction(0)
            for row in range(math.floor(y0), min(math.ceil(y1), height)):
                overlap = min(y1, Fraction(row + 1)) - max(y0, Fraction(row))
                total, weight = total + overlap * means[row], weight + overlap
            assert abs(int(result[i, j, 0]) - total / weight) <= Fraction(501, 1000)


@settings(deadline=None, max_examples=60)
@given(
    reduction=st.one_of(st.floats(1.0, 5.0), st.sampled_from([1.0, 2.0, 3.0, 4.0])),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 59), min_size=0, max_size=4),
)
def test_area_average_does_not_depend_on_the_block(reduction, seed, cuts):
    source = np.random.default_rng(seed).integers(0, 256, (61, 47, 3), np.uint8)
    height, width = (math.ceil(side / reduction - 1e-3 / reduction) for side in (61, 47))

    def average(rows, columns):
        y, x = source_span(rows, reduction, 61), source_span(columns, reduction, 47)
        factors, origin = (reduction, reduction), (y.start, x.start)
        return area_average(source[y, x], factors, block=(rows, columns), origin=origin)

    whole = average(slice(0, height), slice(0, width))
    edges = sorted({0, height, *(cut for cut in cuts if cut < height)})
    parts = [
        np.concatenate(
            [
                average(slice(a, b), slice(0, width // 2)),
                average(slice(a, b), slice(width // 2, width)),
            ],
            axis=1,
        )
        for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_average_of_a_constant_is_the_constant():
    source = np.full((97, 53, 3), 201, np.uint8)
    assert (area_average(source, (3.77, 3.77)) == 201).all()


def test_an_output_pixel_behind_the_source_repeats_its_edge():
    source = np.arange(4, dtype=np.uint8).reshape(1, 4, 1)
    block = slice(0, 1), slice(0, 3)
    assert area_average(source, (1.0, 2.0), block=block).ravel().tolist() == [1, 3, 3]
    assert area_average(source, (1.0, 2.5), block=block).ravel().tolist() == [1, 3, 3]


def test_a_reduction_below_one_repeats_values():
    values = np.array([[1.0, 2.0]], np.float32)
    assert mean_area(values, (0.5, 0.5)).tolist() == [[1, 1, 2, 2]] * 2
