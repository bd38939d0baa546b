"""A level that is no reduction of the full resolution is not used."""

import functools

import numpy as np
import openslide
import pytest
import tifffile
from scipy import ndimage

from tiling.raster.area_average import area_average
from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.level_checks import one_factor
from tiling.slides.scaled_reading import read_thumbnail
from tiling.slides.slide_reader import open_slide

APERIO = {
    "description": "Aperio Image Library v1.0.0\r\n9x9 [0,0 9x9] (64x64) J2K Q=70|MPP = 0.5",
    "software": False,
}


@functools.cache
def tissue(seed):
    """A white slide with pieces of pink tissue."""
    noise = np.random.default_rng(seed).normal(size=(512, 640))
    inside = ndimage.gaussian_filter(noise, 40) > 0.003
    texture = np.random.default_rng(seed + 1).integers(0, 40, (512, 640, 3))
    pixels = np.where(inside[..., None], np.array([200, 90, 150]) + texture, 245)
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def image():
    return tissue(0)


def write(path, *levels, **options):
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(
                level,
                tile=(64, 64),
                photometric="rgb",
                subfiletype=int(number > 0),
                **{"metadata": None, **options},
            )
    return path


@functools.cache
def halves(seed, count):
    """The next coarser levels of `tissue(seed)`."""
    return [area_average(tissue(seed), (2.0**level, 2.0**level)) for level in range(1, count + 1)]


@pytest.mark.parametrize(("name", "options"), [("s.tif", {}), ("s.svs", APERIO)])
@pytest.mark.parametrize("shape", [(128, 128), (120, 160), (64, 200)])
def test_a_thumbnail_of_another_shape_is_no_level(tmp_path, image, name, options, shape):
    thumbnail = np.full((*shape, 3), (150, 60, 200), np.uint8)
    path = write(tmp_path / name, image, halves(0, 1)[0], thumbnail, **options)
    with open_slide(path) as slide:
        assert slide.metadata.level_sizes_px == ((640, 512), (320, 256))
        assert slide.metadata.remarks[0].startswith(
            f"level 2 of the file ({shape[1]} x {shape[0]} px) is not used: its factors"
        )
        thumbnail = read_thumbnail(slide, 80)
    np.testing.assert_allclose(thumbnail, area_average(image, (8.0, 8.0)), atol=1)


OTHER_PICTURES = {
    "violet": lambda level: np.full_like(level, (150, 60, 200)),
    "black": np.zeros_like,
    "another slide": lambda level: halves(5, 2)[1],
    "mirrored": lambda level: level[:, ::-1],
    "upside down": lambda level: level[::-1],
    "inverted": lambda level: 255 - level,
    "colours swapped": lambda level: level[..., [1, 0, 2]],
    "left half empty": lambda level: np.where(np.arange(160)[:, None] < 80, 255, level),
}


@pytest.mark.parametrize("other", OTHER_PICTURES)
@pytest.mark.parametrize(
    ("place", "name", "options"),
    [(1, "s.tif", {}), (2, "s.svs", APERIO), (3, "s.tif", {}), (3, "s.svs", APERIO)],
)
def test_a_level_that_shows_another_picture_is_not_used_and_the_next_is(
    tmp_path, image, name, options, other, place
):
    levels = [image, *halves(0, 3)]
    sizes = [(level.shape[1], level.shape[0]) for level in levels]
    picture = OTHER_PICTURES[other](levels[2]).astype(np.uint8)
    zoom = (levels[place].shape[0] / 128, levels[place].shape[1] / 160, 1)
    levels[place] = ndimage.zoom(picture, zoom, order=0)
    with open_slide(write(tmp_path / name, *levels, **options)) as slide:
        assert slide.metadata.level_sizes_px == tuple(
            size for level, size in enumerate(sizes) if level != place
        )
        (remark,) = slide.metadata.remarks
        assert remark.startswith(f"level {place} of the file")
        assert "shows another picture" in remark
        for level, size in enumerate(slide.metadata.level_sizes_px):
            np.testing.assert_array_equal(
                slide.read(level, Window(0, 0, size[1], size[0])), levels[sizes.index(size)]
            )


REDUCTIONS = {
    "mean": lambda image, step: area_average(image, (float(step), float(step))),
    "nearest": lambda image, step: image[::step, ::step],
    "cut": lambda image, step: image[::step, ::step][: 512 // step, : 640 // step],
    "spline": lambda image, step: np.clip(
        ndimage.zoom(image.astype(float), (1 / step, 1 / step, 1), order=3), 0, 255
    ).astype(np.uint8),
}


@functools.cache
def reduced(reduction, step):
    return REDUCTIONS[reduction](tissue(0)[:509, :637], step)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("steps", [(2, 4, 8, 16), (4, 16), (3, 7), (32,)])
@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_levels_of_every_method_of_reduction_are_used(
    tmp_path, image, reduction, steps, compression
):
    levels = [reduced(reduction, step) for step in steps]
    path = write(tmp_path / "s.tif", image[:509, :637], *levels, compression=compression)
    with open_slide(path) as slide:
        assert len(slide.metadata.level_sizes_px) == 1 + len(steps)
        assert slide.metadata.remarks == ()


def test_a_damaged_tile_of_a_level_does_not_stop_the_check(tmp_path, image):
    path = write(tmp_path / "s.tif", image, *halves(0, 2), compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with open_slide(path) as slide:
        assert len(slide.metadata.level_sizes_px) == 3
        with pytest.raises(SlideError, match="level 1, window y 0, x 0"):
            slide.read(1, Window(0, 0, 10, 10))


def test_an_svs_whose_first_page_is_a_smaller_one_is_read_where_openslide_refuses_it(
    tmp_path, image
):
    path = write(tmp_path / "s.svs", halves(0, 1)[0], image, **APERIO)
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(path)
    with open_slide(path) as slide:
        assert slide.metadata.mpp_looked_at[:2] == ("sheet: none", "aperio.MPP: 0.5")
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 512, 640)), image)


@pytest.mark.parametrize("factor", [2, 3, 4, 8, 16, 32, 64, 3.3])
def test_sizes_that_are_rounded_either_way_have_one_factor(factor):
    for width, height in ((46001, 30001), (1999, 801), (70, 7000)):
        for round_side in (np.floor, np.ceil, np.round):
            size = tuple(max(int(round_side(side / factor)), 1) for side in (width, height))
            assert one_factor((width, height), size)
    assert not one_factor((46001, 30001), (1000, 1000))
