"""Tiles that are decoded directly have the same pixels as the libraries give."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import openslide
import pytest
import tifffile
import tiffslide
from scipy import ndimage

from tiling.raster.area_average import area_average
from tiling.raster.geometry import Window
from tiling.slides import tiff_tiles
from tiling.slides.openslide_backend import OpenSlideBackend
from tiling.slides.read_errors import FileReadError
from tiling.slides.slide_reader import open_slide
from tiling.slides.tiff_backend import TiffBackend

HEIGHT, WIDTH = 500, 700
APERIO = (
    "Aperio Image Library v1.0.0\r\n700x500 [0,0 700x500] (128x128) J2K Q=70|AppMag = 20|MPP = 0.5"
)
OPTIONS = {
    "jpeg 4:2:0": {"photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 2)},
    "jpeg 4:2:2": {"photometric": "ycbcr", "compression": "jpeg", "subsampling": (2, 1)},
    "jpeg 4:4:4": {"photometric": "ycbcr", "compression": "jpeg", "subsampling": (1, 1)},
    "jpeg rgb": {"photometric": "rgb", "compression": "jpeg"},
    "lzw": {"photometric": "rgb", "compression": "lzw"},
    "lzw, predictor": {"photometric": "rgb", "compression": "lzw", "predictor": True},
    "deflate, predictor": {"photometric": "rgb", "compression": "deflate", "predictor": True},
    "none": {"photometric": "rgb"},
    "zstd": {"photometric": "rgb", "compression": "zstd"},
    "jpeg 2000": {"photometric": "rgb", "compression": 34712},
    "aperio jpeg 2000": {
        "photometric": "rgb",
        "compression": 33005,
        "description": APERIO,
        "metadata": None,
        "software": False,
    },
}


@pytest.fixture(scope="module")
def image():
    """Smooth structure with sharp detail: a wrong tile, shift or colour changes the pixels."""
    noise = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3))
    return np.clip(
        ndimage.gaussian_filter(noise, (3, 3, 0)) * 600 + 170 + 10 * noise, 0, 255
    ).astype(np.uint8)


def write(path, image, *, tile=(128, 128), **options):
    with tifffile.TiffWriter(path, bigtiff=path.stem.startswith("big")) as writer:
        writer.write(
            image, tile=tile, resolution=(20000, 20000), resolutionunit="CENTIMETER", **options
        )
    return path


def library_pixels(path, window):
    """Level 0 as OpenSlide decodes it; tiffslide where OpenSlide does not know the compression."""
    corner, size = (window.x, window.y), (window.width, window.height)
    with tiffslide.TiffSlide(path) as slide:
        compression = slide.ts_tifffile.pages.first.compression
        if compression == tifffile.COMPRESSION.JPEG2000:
            return slide.read_region(corner, 0, size, as_array=True)
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region(corner, 0, size))[..., :3]


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_compression_has_the_pixels_of_the_library(tmp_path, image, name):
    path = write(tmp_path / ("s.svs" if "aperio" in name else "s.tif"), image, **OPTIONS[name])
    with open_slide(path) as slide:
        assert "tifffile" in slide.metadata.reader
        direct = slide.read(0, Window(13, 7, 480, 600))
    np.testing.assert_array_equal(direct, library_pixels(path, Window(13, 7, 480, 600)))
    if "jpeg" not in name:
        np.testing.assert_array_equal(direct, image[13:493, 7:607])


@pytest.mark.parametrize("tile", [(240, 240), (256, 128), (16, 64)])
def test_tiles_of_any_shape_and_bigtiff(tmp_path, image, tile):
    path = write(tmp_path / "big.tif", image, tile=tile, **OPTIONS["jpeg 4:2:0"])
    with open_slide(path) as slide:
        all_pixels = slide.read(0, Window(0, 0, HEIGHT, WIDTH))
        for window in (
            Window(0, 0, 1, 1),
            Window(HEIGHT - 1, WIDTH - 1, 1, 1),
            Window(239, 127, 3, 300),
            Window(100, 0, 200, WIDTH),
        ):
            np.testing.assert_array_equal(slide.read(0, window), all_pixels[window.slices])
    np.testing.assert_array_equal(all_pixels, library_pixels(path, Window(0, 0, HEIGHT, WIDTH)))


def test_levels_of_odd_factors_are_exact_where_openslide_shifts_them(tmp_path, image):
    path = tmp_path / "s.tif"
    small = area_average(image, (3.3, 3.3))[:151, :212]
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, tile=(128, 128), photometric="rgb")
        writer.write(small, tile=(128, 128), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(1, Window(5, 9, 100, 150)), small[5:105, 9:159])


def test_sub_resolutions_of_an_ome_tiff_are_read_directly(tmp_path, image):
    path = tmp_path / "s.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            image,
            tile=(128, 128),
            photometric="rgb",
            subifds=1,
            metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        )
        writer.write(image[::2, ::2], tile=(128, 128), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        assert slide.metadata.reader == "tifffile"
        np.testing.assert_array_equal(
            slide.read(1, Window(3, 5, 200, 300)), image[::2, ::2][3:203, 5:305]
        )


def philips_xml(*spacings_mm):
    """The smallest Philips description that OpenSlide accepts."""

    def attribute(name, kind, content):
        start = f'<Attribute Name="{name}" Group="0x0028" Element="0x0030" PMSVR="{kind}">'
        return f"{start}{content}</Attribute>"

    def spacing(mm):
        return attribute(
            "DICOM_PIXEL_SPACING", "IDoubleArray", f"&quot;{mm}&quot; &quot;{mm}&quot;"
        )

    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(mm)}</DataObject>'
        for mm in spacings_mm
    )
    sequence = attribute(
        "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", "IDataObjectArray", f"<Array>{levels}</Array>"
    )
    scan = attribute("PIM_DP_IMAGE_TYPE", "IString", "WSI") + spacing(spacings_mm[0]) + sequence
    scans = f'<Array><DataObject ObjectType="DPScannedImage">{scan}</DataObject></Array>'
    images = attribute("PIM_DP_SCANNED_IMAGES", "IDataObjectArray", scans)
    return f'<DataObject ObjectType="DPUfsImport">{images}</DataObject>'


def test_philips_levels_are_read_without_their_padding(tmp_path, image):
    """Levels are padded to whole tiles: the smallest have one tile each, and differ by order."""
    base = np.ascontiguousarray(np.tile(image, (2, 2, 1))[:768, :1280])
    path = tmp_path / "s.tiff"
    options = {
        "tile": (256, 256),
        "software": "Philips DP v1.0",
        "metadata": None,
        **OPTIONS["jpeg 4:2:0"],
    }
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            base, description=philips_xml(0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008), **options
        )
        for level in range(1, 6):
            small = base[:: 2**level, :: 2**level]
            padded = np.full(
                [-(-side // 256) * 256 for side in small.shape[:2]] + [3], 255, np.uint8
            )
            padded[: small.shape[0], : small.shape[1]] = small
            writer.write(padded, description=f"level={level}", subfiletype=1, **options)
    with open_slide(path) as slide, closing(OpenSlideBackend(path)) as reference:
        assert slide.metadata.vendor == "philips"
        assert slide.metadata.reader == "openslide, tiles by tifffile"
        assert (slide.metadata.mpp_x, slide.metadata.level_sizes_px[5]) == (0.25, (40, 24))
        for level, (width, height) in enumerate(slide.metadata.level_sizes_px):
            np.testing.assert_array_equal(
                slide.read(level, Window(0, 0, height, width)),
                reference.read(level, Window(0, 0, height, width)),
            )


def test_a_qptiff_is_read_directly_and_its_thumbnail_and_label_are_no_levels(tmp_path, image):
    path = tmp_path / "s.qptiff"
    root = "PerkinElmer-QPI-ImageDescription"
    description = f'<?xml version="1.0"?><{root}><ImageType>{{}}</ImageType></{root}>'
    options = {
        "photometric": "rgb",
        "software": "PerkinElmer-QPI",
        "metadata": None,
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            image,
            tile=(128, 128),
            resolution=(20000, 20000),
            description=description.format("FullResolution"),
            **options,
        )
        writer.write(
            image[::8, ::8], subfiletype=1, description=description.format("Thumbnail"), **options
        )
        half, reduced = image[::2, ::2], description.format("ReducedResolution")
        writer.write(
            half,
            tile=(128, 128),
            subfiletype=1,
            resolution=(10000, 10000),
            description=reduced,
            **options,
        )
        writer.write(image[:90, :90], description=description.format("Label"), **options)
    with open_slide(path) as slide:
        assert slide.metadata.level_sizes_px == ((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))
        assert slide.metadata.mpp_x == pytest.approx(0.5)
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, HEIGHT, WIDTH)), image)
        np.testing.assert_array_equal(slide.read(1, Window(0, 0, HEIGHT // 2, WIDTH // 2)), half)


def test_a_page_with_the_size_of_a_level_is_not_taken_for_that_level(tmp_path, image):
    path, half = tmp_path / "s.tif", image[::2, ::2]
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(image, **options)
        writer.write(255 - half, **options)
        writer.write(half, subfiletype=1, **options)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(1, Window(0, 0, *half.shape[:2])), half)


@pytest.mark.parametrize("ome", [False, True])
def test_a_tile_that_is_missing_in_the_file_is_background_and_its_neighbours_are_read(
    tmp_path, image, ome
):
    path = tmp_path / ("s.ome.tif" if ome else "s.tif")
    tiles = [
        None if (y, x) == (128, 256) else image[y : y + 128, x : x + 128]
        for y in range(0, 384, 128)
        for x in range(0, 640, 128)
    ]
    with tifffile.TiffWriter(path, ome=ome) as writer:
        writer.write(
            iter(tiles), shape=(384, 640, 3), dtype=np.uint8, tile=(128, 128), photometric="rgb"
        )
    expected = image[:384, :640].copy()
    expected[128:256, 256:384] = 255
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 384, 640)), expected)


def test_a_file_truncated_inside_a_tile_is_an_error_that_names_the_tile(tmp_path, image):
    path = write(tmp_path / "s.tif", image, **OPTIONS["jpeg 4:2:0"])
    with tifffile.TiffFile(path) as opened:
        page = opened.pages.first
        last = max(range(len(page.dataoffsets)), key=lambda index: page.dataoffsets[index])
        end = page.dataoffsets[last] + page.databytecounts[last]
    data = path.read_bytes()
    path.write_bytes(data[: end - 10])
    with closing(TiffBackend(path)) as backend:
        tiles = backend._tiles
        tiles.read(0, Window(0, 0, 10, 10))
        with pytest.raises(EOFError, match=f"ends inside tile {last}"):
            tiles.read(0, Window(HEIGHT - 10, WIDTH - 10, 10, 10))


@pytest.mark.parametrize(("start", "size"), [(-5, 100), (100, -1), (100, 200 << 30), (1 << 62, 10)])
def test_an_index_with_impossible_offsets_is_an_error_of_this_file(tmp_path, image, start, size):
    path = write(tmp_path / "s.tif", image, **OPTIONS["lzw"])
    with closing(TiffBackend(path)) as backend:
        tiles = backend._tiles
        tiles._levels[0] = replace(
            tiles._levels[0], offsets=(start,) * 24, byte_counts=(size,) * 24
        )
        with pytest.raises(EOFError, match=f"tile 0, which should be {size} bytes at byte {start}"):
            tiles.read(0, Window(0, 0, 10, 10))


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_truncated_jpeg_tile_is_an_error_as_with_openslide(tmp_path, image, share):
    path = write(tmp_path / "s.tif", image, **OPTIONS["jpeg 4:2:0"])
    with tifffile.TiffFile(path, mode="r+b") as opened:
        counts = opened.pages.first.tags["TileByteCounts"]
        counts.overwrite([int(counts.value[0] * share), *counts.value[1:]])
    with closing(TiffBackend(path)) as direct:
        with pytest.raises(openslide.OpenSlideError):
            library_pixels(path, Window(0, 0, 128, 128))
        with pytest.raises(FileReadError, match=r"tile 0, .*without its end"):
            direct.read(0, Window(0, 0, 128, 128))


def test_the_cache_stays_within_its_limit_and_threads_read_the_same_pixels(
    tmp_path, image, monkeypatch
):
    monkeypatch.setattr(tiff_tiles, "_CACHE_BYTES", 3 * 128 * 128 * 3)
    path = write(tmp_path / "s.tif", image, **OPTIONS["lzw"])
    corners = [(y, x) for y in range(0, 400, 37) for x in range(0, 600, 53)] * 3
    with closing(TiffBackend(path)) as backend, ThreadPoolExecutor(8) as pool:
        reads = list(pool.map(lambda corner: backend.read(0, Window(*corner, 90, 90)), corners))
        cache = backend._tiles
    assert all(
        np.array_equal(read, image[y : y + 90, x : x + 90])
        for read, (y, x) in zip(reads, corners, strict=True)
    )
    assert cache is not None
    assert (
        cache._cached_bytes
        == sum(tile.nbytes for tile in cache._cache.values())
        <= 3 * 128 * 128 * 3
    )
