"""The split by prominence, against a flood in pure Python and scikit-image."""

from itertools import pairwise, product

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from tiling.raster.label_numbers import EIGHT_CONNECTED
from tiling.raster.prominence import BasinsOfMask
from tiling.raster.reduced_depth import depth_steps, enlarged, reduced_depth, reduced_maximum
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import split_glands

# Few levels and values: plateaus and ties.
LEVELS = st.sampled_from([0, 20, 21, 40, 60, 61, 200, 255])
Pixel = tuple[int, int]
Key = tuple[int, Pixel]


def flood(depth: np.ndarray, confident: np.ndarray, min_prominence: int) -> np.ndarray:
    """Parts of the seeds by joining the pixels edge by edge, the highest edge first."""
    pixels = [(int(y), int(x)) for y, x in zip(*np.nonzero(depth), strict=True)]
    key: dict[Pixel, Key] = {pixel: (int(depth[pixel]), pixel) for pixel in pixels}
    edges = []
    for y, x in pixels:
        for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
            other = y + dy, x + dx
            if other in key:
                low, high = sorted([key[y, x], key[other]])
                edges.append((low, high))
    edges.sort(reverse=True)
    nothing: Key = (0, (-1, -1))
    heights = {pixel: key[pixel] if confident[pixel] else nothing for pixel in pixels}
    seeds = _seeds(pixels, edges, heights, min_prominence)
    group = {pixel: {pixel} for pixel in pixels}
    for low, high in edges:
        a, b = group[low[1]], group[high[1]]
        if a is not b and not (a & seeds and b & seeds):
            a |= b
            group.update(dict.fromkeys(b, a))
    numbers = np.zeros(depth.shape, np.int32)
    for number, seed in enumerate(sorted(seeds), start=1):
        for pixel in group[seed]:
            numbers[pixel] = number
    return numbers


def _seeds(
    pixels: list[Pixel], edges: list[tuple[Key, Key]], heights: dict[Pixel, Key], least: int
) -> set[Pixel]:
    group = {pixel: (heights[pixel], {pixel}) for pixel in pixels}
    seeds = set()
    for low, high in edges:
        a, b = group[low[1]], group[high[1]]
        if a[1] is b[1]:
            continue
        smaller, larger = sorted([a, b], key=lambda one: one[0])
        if smaller[0][0] - low[0] >= least:
            seeds.add(smaller[0][1])
        joined = (larger[0], smaller[1] | larger[1])
        group.update(dict.fromkeys(joined[1], joined))
    tops = {id(top[1]): top[0] for top in group.values()}
    return seeds | {top[1] for top in tops.values() if top[0] > 0}


def same_parts(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), side=st.sampled_from([1, 2, 3]), shape=st.tuples(*[st.integers(1, 13)] * 2))
def test_each_seed_gets_the_pixels_of_the_flood(
    data: st.DataObject, side: int, shape: tuple[int, int]
) -> None:
    level = data.draw(st.lists(LEVELS, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    sdf = np.array(level, np.uint8).reshape(shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    gland = rng.integers(60, 256, shape, np.uint8)
    mask = gland >= 90
    h, seed_level = data.draw(st.integers(1, 300)), data.draw(st.sampled_from([0, 200, 250]))
    glands = BasinsOfMask(mask, gland, sdf, side).split(min_prominence=h, seed_level=seed_level)
    depth = reduced_depth(mask, sdf, side)
    confident = reduced_maximum(gland, side) >= seed_level
    parts = enlarged(flood(depth, confident, h), side, mask)
    connected = np.zeros(shape, np.int32)
    for number in range(1, int(parts.max(initial=0)) + 1):
        pieces, _ = ndimage.label(parts == number, EIGHT_CONNECTED)
        connected[pieces > 0] = pieces[pieces > 0] + 1000 * number
    assert same_parts(glands, connected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), h=st.integers(1, 12))
def test_seeds_are_the_h_maxima(seed: int, h: int) -> None:
    rng = np.random.default_rng(seed)
    level = ndimage.gaussian_filter(rng.random((20, 30)), 1.5)
    level = np.rint(10 + 30 * (level - level.min()) / np.ptp(level)).astype(np.uint8)
    mask = np.ones(level.shape, bool)
    glands = BasinsOfMask(mask, level, level, 1).split(min_prominence=4 * h, seed_level=0)
    # A maximum with a prominence of exactly h counts; the reconstruction removes it.
    image = np.pad(level.astype(float), 1)
    reconstructed = reconstruction(image - (h - 0.5), image, footprint=EIGHT_CONNECTED)
    maxima = local_maxima(reconstructed, connectivity=2)
    assert glands.max() == ndimage.label(maxima, EIGHT_CONNECTED)[1]


def test_reduced_depth_is_one_plus_four_times_the_mean_level_where_a_pixel_is_in_the_mask() -> None:
    mask = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    level = np.array([[10, 20, 7], [30, 41, 7], [1, 3, 255]], np.uint8)
    assert reduced_depth(mask, level, 2).tolist() == [[102, 0], [0, 1 + 4 * 255]]
    assert reduced_depth(mask, level, 1).tolist() == [[41, 0, 0], [0, 0, 0], [0, 0, 1021]]
    assert reduced_depth(mask, None, 2).tolist() == [[1, 0], [0, 1]]
    # 9 pixels with a sum of 374, times 4, divided by 9.
    assert reduced_depth(mask, level, 3).tolist() == [[1 + 166]]


def two_hills(saddle_um: float, height_um: float) -> np.ndarray:
    """Quantised distance along a bar with two maxima, one stored pixel per um."""
    um = np.interp(np.arange(64), [0, 16, 32, 48, 63], [1, height_um, saddle_um, height_um + 1, 1])
    return np.repeat(np.rint((um / 20 + 1) * 127.5).astype(np.uint8)[None], 8, axis=0)


def split(
    sdf: np.ndarray,
    gland: np.ndarray | None = None,
    boundary: np.ndarray | None = None,
    **changes: object,
) -> np.ndarray:
    parameters = SplitParameters(0.5, 0, 1.01, 0, 0, 20, rule="prominence", **changes)  # type: ignore[arg-type]
    gland = np.full(sdf.shape, 255, np.uint8) if gland is None else gland
    boundary = np.full_like(sdf, 255) if boundary is None else boundary
    return split_glands(gland, sdf, boundary, mpp_um=1.0, um2_per_px=1.0, parameters=parameters)


def test_two_hills_are_two_glands_if_the_saddle_is_deep_enough_whatever_their_depth() -> None:
    for height in (6.0, 15.0):
        sdf = two_hills(height - 4, height)
        apart, together = split(sdf, prominence_um=3.5), split(sdf, prominence_um=4.5)
        assert (apart.max(), together.max()) == (2, 1)
        assert (apart[:, :30] == 1).all()
        assert (apart[:, 34:] == 2).all()


def test_a_seed_needs_its_probability_and_what_has_none_is_dropped() -> None:
    sdf = two_hills(2, 10)
    gland = np.full(sdf.shape, 150, np.uint8)
    assert split(sdf, gland, prominence_um=3.0).max() == 2
    assert split(sdf, gland, prominence_um=3.0, seed_threshold=0.9).max() == 0
    gland[:, 45:50] = 250
    joined = split(sdf, gland, prominence_um=3.0, seed_threshold=0.9)
    assert (joined == 1).all()
    # A confident pixel far from the maximum is a low seed.
    gland[:, 45:50], gland[:, 30:33] = 150, 250
    assert (split(sdf, gland, prominence_um=3.0, seed_threshold=0.9) == 1).all()


def test_a_boundary_lowers_the_distance_by_its_weight() -> None:
    sdf = two_hills(10, 10)
    boundary = np.zeros_like(sdf)
    boundary[:, 31:35] = 128
    for weight, count in ((0.0, 1), (5.0, 1), (7.0, 2)):
        labels = split(sdf, boundary=boundary, prominence_um=3.0, boundary_weight_um=weight)
        assert labels.max() == count


def test_parts_that_touch_only_as_reduced_pixels_are_objects_of_their_own() -> None:
    gland = np.zeros((8, 10), np.uint8)
    gland[:, :4] = gland[:, 5:] = 255
    labels = split(np.full(gland.shape, 200, np.uint8), gland)
    assert [sorted(set(labels[:, x].tolist())) for x in (0, 4, 9)] == [[1], [0], [2]]


def test_without_distances_the_components_of_the_mask_are_the_glands() -> None:
    gland = np.zeros((9, 9), np.uint8)
    gland[:3], gland[6:] = 255, 200
    labels = split(two_hills(1, 9)[:1].repeat(9, 0)[:, :9], gland, use_sdf=False)
    assert labels[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2]


def test_a_distance_is_at_least_one_step() -> None:
    assert [depth_steps(um, 20.0) for um in (0.001, 1.0, 2.0)] == [1, 26, 51]
    assert all(a <= b for a, b in pairwise(depth_steps(um / 7, 20.0) for um in range(1, 50)))
    assert all(depth_steps(a, b) >= 1 for a, b in product((1e-6, 1.0), (1.0, 1000.0)))
