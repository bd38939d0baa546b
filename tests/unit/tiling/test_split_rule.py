"""The split rule: small arrays checked by hand, and a slow literal version of the rule."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from tiling.raster.holes import fill_small_holes
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import split_glands

PLAIN = SplitParameters(
    threshold=0.5, seed_depth_um=2, boundary_level=0.5, growth_um=2, min_area_um2=0, sdf_um=20
)


def split(gland, sdf=None, boundary=None, *, mpp=1.0, **changes):
    gland = np.asarray(gland, np.uint8)
    sdf = np.full(gland.shape, 255, np.uint8) if sdf is None else np.asarray(sdf, np.uint8)
    boundary = (
        np.zeros(gland.shape, np.uint8) if boundary is None else np.asarray(boundary, np.uint8)
    )
    parameters = SplitParameters(**{**vars(PLAIN), **changes})
    return split_glands(
        gland, sdf, boundary, mpp_um=mpp, um2_per_px=mpp**2, parameters=parameters
    ).tolist()


def word_for_word(gland, sdf, boundary, parameters):
    """The rule of docs/architecture.md, pixel by pixel."""
    height, width = gland.shape
    mask = gland >= round(255 * parameters.threshold)
    seed = (
        mask
        & (sdf > round((parameters.seed_depth_um / parameters.sdf_um + 1) * 127.5))
        & (boundary < round(255 * parameters.boundary_level))
    )
    labels = ndimage.label(seed, np.ones((3, 3)))[0]

    def around(array, y, x):
        return array[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]

    pixels = [(y, x) for y in range(height) for x in range(width)]
    for _ in range(round(parameters.growth_um)):
        before = labels.copy()
        for y, x in pixels:
            near = around(before, y, x)
            if mask[y, x] and not before[y, x] and near.any():
                labels[y, x] = near[near > 0].min()
    rest, count = ndimage.label(mask & (labels == 0), np.ones((3, 3)))
    grown = labels.copy()
    for number in range(1, count + 1):
        contacts = np.zeros(labels.max() + 2, int)
        for y, x in np.argwhere(rest == number):
            np.add.at(contacts, around(grown, y, x), 1)
        contacts[0] = 0
        labels[rest == number] = contacts.argmax() if contacts.any() else labels.max() + 1
    for number in range(1, labels.max() + 1):
        if (labels == number).sum() < parameters.min_area_um2:
            labels[labels == number] = 0
    order = [n for n in dict.fromkeys(labels.ravel().tolist()) if n]
    return np.array([[order.index(n) + 1 if n else 0 for n in row] for row in labels.tolist()])


def test_a_boundary_line_parts_two_glands_and_growth_gives_it_back() -> None:
    line = [[0, 0, 255, 0, 0]] * 2
    assert split([[255] * 5] * 2, boundary=line) == [[1, 1, 1, 2, 2]] * 2


def test_ties_in_growth_go_to_the_smaller_number() -> None:
    deep = [[255, 0, 0, 0, 255]]
    assert split([[255] * 5], sdf=deep) == [[1, 1, 1, 2, 2]]


def test_growth_stops_at_its_reach_and_the_rest_joins_the_longer_contact() -> None:
    gland = [[255, 255, 255, 255, 255], [255, 0, 0, 0, 0]]
    deep = [[255, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert split(gland, sdf=deep, growth_um=1) == [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]


def test_a_component_without_a_seed_is_a_gland() -> None:
    assert split([[255, 0, 255]], sdf=[[255, 0, 0]]) == [[1, 0, 2]]


def test_diagonal_pixels_are_one_gland() -> None:
    assert split([[255, 0], [0, 255]]) == [[1, 0], [0, 1]]


def test_area_is_in_um2_and_equal_to_the_minimum_stays() -> None:
    gland = [[255, 255, 0, 255]]
    assert split(gland, mpp=2.0, min_area_um2=8) == [[1, 1, 0, 0]]
    assert split(gland, mpp=2.0, min_area_um2=8.1) == [[0, 0, 0, 0]]


def test_codes_at_the_levels() -> None:
    level = round(255 * 0.5)
    assert split([[level, level - 1]]) == [[1, 0]]
    depth = round((2 / 20 + 1) * 127.5)
    # A seed has its depth above, and its boundary below the level. Without a seed there is one
    # gland, with a seed at each end there are two.
    assert split([[255] * 3], sdf=[[depth + 1, depth, depth + 1]], growth_um=0) == [[1, 1, 2]]
    assert split([[255] * 3], sdf=[[depth, depth, depth]], growth_um=0) == [[1, 1, 1]]
    assert split([[255] * 3], boundary=[[level - 1, level, level - 1]], growth_um=0) == [[1, 1, 2]]


def test_a_boundary_level_above_one_and_a_field_without_scale_are_not_used() -> None:
    assert split([[255] * 3], boundary=[[0, 255, 0]], boundary_level=1.01, growth_um=0) == [
        [1, 1, 1]
    ]
    assert split([[255] * 3], sdf=[[255, 0, 255]], use_sdf=False, growth_um=0) == [[1, 1, 1]]


def test_empty_maps_have_no_glands() -> None:
    assert split(np.zeros((3, 4))) == [[0] * 4] * 3


CODES = arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 100, 128, 142, 255]))


@settings(max_examples=100, deadline=None)
@given(CODES, CODES, CODES, st.integers(0, 4), st.sampled_from([0, 3]))
def test_split_is_the_rule_word_for_word(gland, sdf, boundary, growth, least) -> None:
    parameters = SplitParameters(**{**vars(PLAIN), "growth_um": growth, "min_area_um2": least})
    made = split_glands(gland, sdf, boundary, mpp_um=1, um2_per_px=1, parameters=parameters)
    np.testing.assert_array_equal(made, word_for_word(gland, sdf, boundary, parameters))


def holes_filled_one_by_one(labels: np.ndarray, min_px: float) -> np.ndarray:
    """Fill each hole of fewer pixels that one object encloses; flood fill pixel by pixel."""
    filled, seen = labels.copy(), labels > 0
    for start in zip(*np.nonzero(labels == 0), strict=True):
        if seen[start]:
            continue
        hole, around, open_to_border, todo = [], set(), False, [start]
        seen[start] = True
        while todo:
            y, x = todo.pop()
            hole.append((y, x))
            for point in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if not (0 <= point[0] < labels.shape[0] and 0 <= point[1] < labels.shape[1]):
                    open_to_border = True
                elif labels[point]:
                    around.add(labels[point])
                elif not seen[point]:
                    seen[point] = True
                    todo.append(point)
        if not open_to_border and len(around) == 1 and len(hole) < min_px:
            for point in hole:
                filled[point] = next(iter(around))
    return filled


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.int32, (9, 11), elements=st.sampled_from([0, 1, 1, 1, 2])),
    st.sampled_from([0, 1, 2, 3.5, 9, 99]),
)
def test_holes_are_filled_as_one_by_one(labels, least) -> None:
    filled = fill_small_holes(labels, least)
    np.testing.assert_array_equal(filled, holes_filled_one_by_one(labels, least))


def test_dust_of_another_object_in_a_gland_is_filled_too() -> None:
    """A removed object leaves a hole: it is filled if it is small."""
    gland = np.full((7, 7), 255)
    sdf = np.where(np.pad([[255]], 3), 255, np.where(np.pad(np.ones((3, 3)), 2), 0, 255))
    changes = {"growth_um": 0, "min_area_um2": 2}
    assert np.unique(split(gland, sdf, **changes)).tolist() == [0, 1]
    assert np.unique(split(gland, sdf, min_hole_um2=2, **changes)).tolist() == [1]
    ring = np.where(np.pad(np.ones((3, 3)), 2), 0, 255)
    assert split(ring, min_hole_um2=9)[3][3] == 0
    assert split(ring, min_hole_um2=9.5)[3][3] == 1
    assert split(ring, min_hole_um2=9.5, mpp=2.0)[3][3] == 0
