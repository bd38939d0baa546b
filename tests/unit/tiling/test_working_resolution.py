import dataclasses
import math

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tiling.slide_errors import SlideError
from tiling.slides.metadata import SlideMetadata, level_downsample
from tiling.slides.pixel_size import PixelSize, choose_pixel_size
from tiling.slides.scaled_reading import read_scaled, read_thumbnail
from tiling.slides.slide_reader import open_slide
from tiling.slides.working_resolution import plan_coarser, plan_scale


def metadata(width=10000, height=8000, levels=(1,), mpp=0.25, mpp_y=None):
    sizes = tuple((width // k, height // k) for k in levels)
    return SlideMetadata(
        path="s.svs",
        reader="openslide",
        reader_version="4",
        vendor="aperio",
        level_sizes_px=sizes,
        downsamples=tuple(
            (level_downsample(width, w), level_downsample(height, h)) for w, h in sizes
        ),
        mpp_x=mpp,
        mpp_y=mpp if mpp_y is None else mpp_y,
        mpp_origin="openslide.mpp-x",
        mpp_looked_at=("sheet: none", f"openslide.mpp-x: {mpp}"),
        bounds_level0=(0, 0, width, height),
        objective_power=None,
        associated=(),
        colour_profile="",
        size_bytes=1,
    )


def test_the_integer_downsample_of_a_rounded_level_size_is_found():
    assert level_downsample(46001, 718) == 64
    assert level_downsample(46001, 719) == 64
    assert level_downsample(250, 62) == 4
    assert level_downsample(300, 37) == 8


@given(full=st.integers(1000, 200_000), power=st.integers(0, 6), up=st.booleans())
def test_levels_of_power_of_two_pyramids_have_the_exact_downsample(full, power, up):
    k = 2**power
    assert level_downsample(full, -(-full // k) if up else full // k) == k


def test_level_within_five_per_cent_is_used_as_it_is():
    plan = plan_scale(metadata(levels=(1, 4, 16), mpp=0.2425), 1.0)
    assert (plan.level, plan.reduction_x, plan.geometry.downsample_x) == (1, 1.0, 4.0)
    assert plan.geometry.mpp_x == pytest.approx(0.97)


@pytest.mark.parametrize("working", [0.25, 0.5, 1.0, 1.2401, 2.0])
def test_a_slide_exactly_five_per_cent_coarser_is_not_enlarged(working):
    plan = plan_scale(metadata(mpp=working * 1.05), working)
    assert (plan.reduction_x, plan.reduction_y) == (1.0, 1.0)


def test_one_level_slide_gets_the_same_grid_as_a_pyramid():
    pyramid, single = (
        plan_scale(metadata(levels=levels, mpp=0.2527), 1.0).geometry
        for levels in ((1, 4, 16), (1,))
    )
    assert pyramid == single


def test_nearest_finer_level_is_read():
    plan = plan_scale(metadata(levels=(1, 2, 8), mpp=0.25), 0.8)
    assert (plan.level, plan.reduction_x) == (1, 1.6)
    assert plan.geometry.downsample_x == pytest.approx(3.2)
    assert plan.geometry.width_px == math.ceil(10000 / 3.2)


def test_each_axis_has_its_own_pixel_size():
    plan = plan_scale(metadata(mpp=0.25, mpp_y=0.5), 1.0)
    assert (plan.reduction_x, plan.reduction_y) == (4.0, 2.0)
    assert (plan.geometry.width_px, plan.geometry.height_px) == (2500, 4000)


@given(width=st.integers(300, 5000), height=st.integers(300, 5000), mpp=st.floats(0.1, 0.9))
def test_stored_pixels_cover_the_slide_and_start_inside_it(width, height, mpp):
    geometry = plan_scale(metadata(width, height, mpp=mpp), 1.0).geometry
    assert geometry.width_px * geometry.downsample_x >= width - 1e-3
    assert (geometry.width_px - 1) * geometry.downsample_x < width
    assert (geometry.height_px - 1) * geometry.downsample_y < height
    assert abs(geometry.mpp_x - 1.0) <= 0.05 + 1e-12


def test_missing_implausible_and_coarse_pixel_sizes_are_refused_with_places_and_remedy():
    with pytest.raises(
        SlideError,
        match=r"looked at sheet: none; openslide.mpp-x: 352.86.*in a sheet: column 'mpp'",
    ):
        plan_scale(metadata(mpp=352.86), 1.0)
    with pytest.raises(SlideError, match=r"no pixel size .*in a sheet: column 'mpp'"):
        plan_scale(dataclasses.replace(metadata(), mpp_x=None, mpp_y=None), 1.0)
    with pytest.raises(SlideError, match="coarser than the working 1"):
        plan_scale(metadata(mpp=1.06), 1.0)
    plan_scale(metadata(mpp=1.04), 1.0)


def test_sheet_overrides_and_implausible_pixel_sizes_are_skipped():
    tags = PixelSize(0.5, 0.5)
    places = {"openslide.mpp-x": PixelSize(0.0001, 0.0001), "tiff resolution tags": tags}
    choice = choose_pixel_size({"sheet": None, **places})
    assert (choice.size, choice.place) == (tags, "tiff resolution tags")
    assert choice.looked_at == (
        "sheet: none",
        "openslide.mpp-x: 0.0001",
        "tiff resolution tags: 0.5",
    )
    sheet = PixelSize(99.0, 99.0)
    assert choose_pixel_size({"sheet": sheet, **places}).size == sheet


def test_without_a_plausible_pixel_size_the_first_is_chosen():
    sizes = {"a": None, "b": PixelSize(0.001, 0.001), "c": PixelSize(99.0, 99.0)}
    assert choose_pixel_size(sizes)[:2] == (sizes["b"], "b")
    assert choose_pixel_size({"a": None}) == (None, "", ("a: none",))


def write_slide(path, image, mpp, levels=(1,)):
    with tifffile.TiffWriter(path) as tiff:
        for k in levels:
            tiff.write(
                image[: image.shape[0] // k * k : k, : image.shape[1] // k * k : k],
                tile=(64, 64),
                photometric="rgb",
                subfiletype=int(k > 1),
                resolution=(1e4 / mpp / k, 1e4 / mpp / k),
                resolutionunit="CENTIMETER",
            )
    return path


@pytest.mark.parametrize("working", [1.0, 1.3])
def test_stored_array_does_not_depend_on_the_read_block(tmp_path, working):
    image = np.random.default_rng(0).integers(0, 256, (301, 251, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5)) as slide:
        plan = plan_scale(slide.metadata, working)
        height, width = plan.geometry.height_px, plan.geometry.width_px
        all_pixels = read_scaled(slide, plan, slice(0, height), slice(0, width))
        middle = read_scaled(slide, plan, slice(17, 90), slice(33, width))
    np.testing.assert_array_equal(middle, all_pixels[17:90, 33:])


def test_coarse_pixel_is_the_mean_of_its_block_of_stored_pixels(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (333, 250, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5)) as slide:
        plan = plan_scale(slide.metadata, 1.0)
        coarse = plan_coarser(slide.metadata, plan, 8)
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


def test_coarse_grid_larger_than_the_rounded_level_repeats_the_edge(tmp_path):
    # 267 // 8 = 33 level pixels lie over 134 stored pixels of 2: the coarse grid of 4 needs 34.
    image = np.random.default_rng(2).integers(0, 256, (267, 267, 3), np.uint8)
    with open_slide(write_slide(tmp_path / "s.tiff", image, 0.5, levels=(1, 8))) as slide:
        assert slide.metadata.downsamples[1] == (8.0, 8.0)
        plan = plan_scale(slide.metadata, 1.0)
        coarse = plan_coarser(slide.metadata, plan, 4)
        assert (coarse.level, coarse.geometry.height_px) == (1, 34)
        pixels = read_scaled(slide, coarse, slice(0, 34), slice(0, 34))
        np.testing.assert_array_equal(pixels[33], pixels[32])
        np.testing.assert_array_equal(
            read_scaled(slide, coarse, slice(33, 34), slice(0, 34)), pixels[33:]
        )


def test_thumbnail_has_the_proportions_of_the_slide_and_needs_no_pixel_size(tmp_path):
    image = np.zeros((400, 300, 3), np.uint8)
    image[:200] = 255
    path = tmp_path / "s.tiff"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb")
    with open_slide(path) as slide:
        picture = read_thumbnail(slide, 100)
    assert picture.shape == (100, 75, 3)
    assert (picture[:50] == 255).all()
    assert (picture[50:] == 0).all()
