import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.slide_errors import SlideError
from tiling.slides.metadata import PixelSize, SlideFacts, choose_pixel_size, level_downsample
from tiling.slides.slide_reader import open_slide
from tiling.slides.working_resolution import (
    area_average,
    plan_coarser,
    plan_scale,
    read_scaled,
    read_thumbnail,
    source_span,
)


def facts(width=10000, height=8000, levels=(1,), mpp=0.25, mpp_y=None):
    sizes = tuple((width // k, height // k) for k in levels)
    return SlideFacts(
        path="s.svs", reader="openslide", reader_version="4", vendor="aperio", level_sizes_px=sizes,
        downsamples=tuple((level_downsample(width, w), level_downsample(height, h)) for w, h in sizes),
        mpp_x=mpp, mpp_y=mpp if mpp_y is None else mpp_y, mpp_origin="openslide.mpp-x",
        mpp_looked_at=("sheet: none", f"openslide.mpp-x: {mpp}"),
        bounds_level0=(0, 0, width, height), fingerprint="0", objective_power=None, associated=(), colour_profile="", bytes=1,
    )  # fmt: skip


def brute_force_mean(source, start, stop):
    """Mean of a 1-D integer sequence over a real interval, in exact fractions."""
    total = weight = Fraction(0)
    for j in range(math.floor(start), min(math.ceil(stop), len(source))):
        overlap = min(stop, Fraction(j + 1)) - max(start, Fraction(j))
        total += overlap * int(source[j])
        weight += overlap
    return total / weight


def test_integer_downsample_is_found_behind_a_rounded_level_size():
    assert level_downsample(46001, 718) == 64
    assert level_downsample(46001, 719) == 64
    assert level_downsample(250, 62) == 4
    assert level_downsample(300, 37) == 8


@given(full=st.integers(1000, 200_000), power=st.integers(0, 6), up=st.booleans())
def test_power_of_two_pyramids_never_drift(full, power, up):
    k = 2**power
    assert level_downsample(full, -(-full // k) if up else full // k) == k


def test_level_within_five_per_cent_is_taken_as_it_is():
    plan = plan_scale(facts(levels=(1, 4, 16), mpp=0.2425), 1.0)
    assert (plan.level, plan.reduction_x, plan.geometry.downsample_x) == (1, 1.0, 4.0)
    assert plan.geometry.mpp_x == pytest.approx(0.97)


def test_one_level_slide_gets_the_same_grid_as_a_pyramid():
    pyramid, single = (
        plan_scale(facts(levels=levels, mpp=0.2527), 1.0).geometry for levels in ((1, 4, 16), (1,))
    )
    assert pyramid == single


def test_nearest_finer_level_is_read():
    plan = plan_scale(facts(levels=(1, 2, 8), mpp=0.25), 0.8)
    assert (plan.level, plan.reduction_x) == (1, 1.6)
    assert plan.geometry.downsample_x == pytest.approx(3.2)
    assert plan.geometry.width_px == math.ceil(10000 / 3.2)


def test_each_axis_has_its_own_pixel_size():
    plan = plan_scale(facts(mpp=0.25, mpp_y=0.5), 1.0)
    assert (plan.reduction_x, plan.reduction_y) == (4.0, 2.0)
    assert (plan.geometry.width_px, plan.geometry.height_px) == (2500, 4000)


@given(width=st.integers(300, 5000), height=st.integers(300, 5000), mpp=st.floats(0.1, 0.9))
def test_stored_pixels_cover_the_slide_and_start_inside_it(width, height, mpp):
    geometry = plan_scale(facts(width, height, mpp=mpp), 1.0).geometry
    assert geometry.width_px * geometry.downsample_x >= width - 1e-3
    assert (geometry.width_px - 1) * geometry.downsample_x < width
    assert (geometry.height_px - 1) * geometry.downsample_y < height
    assert abs(geometry.mpp_x - 1.0) <= 0.05 + 1e-12


def test_absent_absurd_and_coarse_pixel_sizes_are_refused_with_places_and_remedy():
    with pytest.raises(
        SlideError, match=r"looked at sheet: none; openslide.mpp-x: 352.86.*set column 'mpp'"
    ):
        plan_scale(facts(mpp=352.86), 1.0)
    with pytest.raises(SlideError, match=r"no pixel size .*set column 'mpp'"):
        plan_scale(dataclasses.replace(facts(), mpp_x=None, mpp_y=None), 1.0)
    with pytest.raises(SlideError, match="coarser than the working 1"):
        plan_scale(facts(mpp=1.06), 1.0)
    plan_scale(facts(mpp=1.04), 1.0)


def test_sheet_overrides_and_implausible_places_are_passed_over():
    vendor, tags = (
        PixelSize(0.0001, 0.0001, "openslide.mpp-x"),
        PixelSize(0.5, 0.5, "tiff resolution tags"),
    )
    chosen, looked_at = choose_pixel_size(
        [("sheet", None), ("openslide.mpp-x", vendor), ("tiff resolution tags", tags)]
    )
    assert chosen == tags
    assert looked_at == ("sheet: none", "openslide.mpp-x: 0.0001", "tiff resolution tags: 0.5")
    sheet = PixelSize(99.0, 99.0, "sheet")
    assert choose_pixel_size([("sheet", sheet), ("tiff resolution tags", tags)])[0] == sheet


@pytest.mark.parametrize("factors", [(1, 3), (3, 3), (4, 4), (5, 2), (7, 6), (8, 8)])
def test_whole_factors_round_half_up_everywhere(factors):
    source = np.random.default_rng(0).integers(0, 256, (43, 47, 3), np.uint8)
    shape = -(-43 // factors[0]), -(-47 // factors[1])
    result = area_average(
        source,
        (0, 0),
        slice(0, shape[0]),
        slice(0, shape[1]),
        (float(factors[0]), float(factors[1])),
    )
    for i, j, c in np.ndindex(*shape, 3):
        block = source[
            i * factors[0] : (i + 1) * factors[0], j * factors[1] : (j + 1) * factors[1], c
        ].astype(int)
        assert result[i, j, c] == (2 * block.sum() + block.size) // (2 * block.size)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(5, 40), width=st.integers(5, 40), seed=st.integers(0, 2**32 - 1),
    reduction=st.tuples(st.floats(1.0, 6.0), st.floats(1.0, 6.0)),
)  # fmt: skip
def test_area_average_equals_brute_force(height, width, seed, reduction):
    source = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    shape = math.ceil(height / reduction[0] - 1e-6), math.ceil(width / reduction[1] - 1e-6)
    rows, columns = slice(0, shape[0]), slice(0, shape[1])
    result = area_average(source, (0, 0), rows, columns, reduction)
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
    reduction=st.one_of(st.floats(1.0, 5.0), st.sampled_from([1.0, 2.0, 3.0, 4.0])), seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, 59), min_size=0, max_size=4),
)  # fmt: skip
def test_area_average_does_not_depend_on_the_block(reduction, seed, cuts):
    source = np.random.default_rng(seed).integers(0, 256, (61, 47, 3), np.uint8)
    height, width = (math.ceil(side / reduction - 1e-3 / reduction) for side in (61, 47))

    def average(rows, columns):
        y, x = source_span(rows, reduction, 61), source_span(columns, reduction, 47)
        return area_average(source[y, x], (y.start, x.start), rows, columns, (reduction, reduction))

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
    assert (area_average(source, (0, 0), slice(0, 26), slice(0, 15), (3.77, 3.77)) == 201).all()


def write_slide(path, image, mpp, levels=(1,)):
    with tifffile.TiffWriter(path) as tiff:
        for k in levels:
            tiff.write(
                image[: image.shape[0] // k * k : k, : image.shape[1] // k * k : k], tile=(64, 64), photometric="rgb",
                subfiletype=int(k > 1),
                resolution=(1e4 / mpp / k, 1e4 / mpp / k), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


@pytest.mark.parametrize("working", [1.0, 1.3])
def test_stored_array_does_not_depend_on_the_read_block(tmp_path, working):
    image = np.random.default_rng(0).integers(0, 256, (301, 251, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5)) as slide:
        plan = plan_scale(slide.facts, working)
        height, width = plan.geometry.height_px, plan.geometry.width_px
        whole = read_scaled(slide, plan, slice(0, height), slice(0, width))
        middle = read_scaled(slide, plan, slice(17, 90), slice(33, width))
    np.testing.assert_array_equal(middle, whole[17:90, 33:])


def test_coarse_pixel_is_the_mean_of_its_block_of_stored_pixels(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (333, 250, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5)) as slide:
        plan = plan_scale(slide.facts, 1.0)
        coarse = plan_coarser(slide.facts, plan, 8)
        assert (coarse.geometry.width_px, coarse.geometry.height_px) == (
            -(-plan.geometry.width_px // 8),
            -(-plan.geometry.height_px // 8),
        )
        pixels = read_scaled(
            slide, coarse, slice(0, coarse.geometry.height_px), slice(0, coarse.geometry.width_px)
        )
    expected = image[16 * 3 : 16 * 4, 16 * 5 : 16 * 6].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(pixels[3, 5], expected, atol=0.5001)
    np.testing.assert_allclose(
        pixels[-1, -1], image[320:, 240:].reshape(-1, 3).mean(0), atol=0.5001
    )


def test_coarse_grid_longer_than_the_rounded_level_repeats_the_edge(tmp_path):
    # 267 // 8 = 33 level pixels lie over 134 stored pixels of 2: the coarse grid of 4 needs 34.
    image = np.random.default_rng(2).integers(0, 256, (267, 267, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5, levels=(1, 8))) as slide:
        assert slide.facts.downsamples[1] == (8.0, 8.0)
        plan = plan_scale(slide.facts, 1.0)
        coarse = plan_coarser(slide.facts, plan, 4)
        assert (coarse.level, coarse.geometry.height_px) == (1, 34)
        pixels = read_scaled(slide, coarse, slice(0, 34), slice(0, 34))
        np.testing.assert_array_equal(pixels[33], pixels[32])
        np.testing.assert_array_equal(
            read_scaled(slide, coarse, slice(33, 34), slice(0, 34)), pixels[33:]
        )


def test_thumbnail_keeps_the_shape_and_needs_no_pixel_size(tmp_path):
    image = np.zeros((400, 300, 3), np.uint8)
    image[:200] = 255
    path = tmp_path / "s.tiff"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb")
    with open_slide(path) as slide:
        picture = read_thumbnail(slide, 100)
    assert picture.shape == (100, 75, 3)
    assert (picture[:50] == 255).all()
    assert (picture[50:] == 0).all()
