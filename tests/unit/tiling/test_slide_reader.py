import dataclasses
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides import direct_tiles, openslide_backend, slide_reader
from tiling.slides.alpha import flatten_alpha
from tiling.slides.metadata import pixel_size_problem, slide_checksum
from tiling.slides.openslide_backend import OpenSlideBackend
from tiling.slides.read_errors import FileReadError
from tiling.slides.slide_reader import open_slide
from tiling.slides.working_resolution import plan_scale

APERIO = {
    "description": "Aperio Image Library v1.0.0\r\n9x9 [0,0 9x9] (64x64) JPEG/RGB Q=70|AppMag = 20",
    "metadata": None,
    "software": False,
}


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (150, 230, 3), np.uint8)


def write_tiled(path, image, **options):
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", **options)
    return path


def test_exact_pixels_of_a_tiled_tiff(tmp_path, rgb):
    path = write_tiled(
        tmp_path / "s.tiff", rgb, resolution=(20000, 20000), resolutionunit="CENTIMETER"
    )
    with open_slide(path) as slide:
        assert slide.metadata.reader == "tifffile"
        assert (slide.metadata.mpp_x, slide.metadata.mpp_origin) == (0.5, "tiff resolution tags")
        assert slide.metadata.level_sizes_px == ((230, 150),)
        assert slide.metadata.bounds_level0 == (0, 0, 230, 150)
        np.testing.assert_array_equal(slide.read(0, Window(13, 70, 100, 90)), rgb[13:113, 70:160])
        np.testing.assert_array_equal(slide.read(0, Window(149, 229, 1, 1)), rgb[149:, 229:])


def test_an_ome_tiff_has_its_physical_size(tmp_path, rgb):
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(
        path,
        rgb,
        tile=(64, 64),
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5},
    )
    with open_slide(path) as slide:
        assert slide.metadata.reader == "tifffile"
        assert (slide.metadata.mpp_x, slide.metadata.mpp_y) == (0.25, 0.5)
        np.testing.assert_array_equal(slide.read(0, Window(13, 70, 100, 90)), rgb[13:113, 70:160])


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_thumbnail_before_the_slide_is_not_taken_for_the_slide(tmp_path, rgb, tile, depth):
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(rgb[::4, ::4].astype(depth), photometric="rgb", metadata=None)
        writer.write(rgb, photometric="rgb", tile=tile, metadata=None)
    with open_slide(path) as slide:
        assert slide.metadata.level_sizes_px == ((230, 150),)
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 150, 230)), rgb)


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64), "compression": "zstd"}])
@pytest.mark.parametrize("photometric", ["ycbcr", "cielab"])
def test_colours_that_no_library_converts_to_rgb_are_refused(tmp_path, rgb, photometric, options):
    path = tmp_path / "s.tif"
    kind = {"subsampling": (1, 1)} if photometric == "ycbcr" else {}
    tifffile.imwrite(path, rgb, photometric=photometric, **kind, **options)
    with pytest.raises(SlideError, match=f"{photometric.upper()} colours outside JPEG"):
        open_slide(path)


def test_many_unreadable_windows_leave_no_open_files(tmp_path, rgb):
    path = write_tiled(tmp_path / "s.tif", rgb, compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    data = bytearray(path.read_bytes())
    data[start + 10 : start + size] = bytes(size - 10)
    path.write_bytes(data)
    with open_slide(path) as slide:

        def fails(_):
            with pytest.raises(SlideError, match="window y 0, x 0"):
                slide.read(0, Window(0, 0, 64, 64))

        before = len(list(Path("/proc/self/fd").iterdir()))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fails, range(40)))
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        np.testing.assert_array_equal(slide.read(0, Window(64, 64, 64, 64)), rgb[64:128, 64:128])


def test_plain_images_are_slides_of_one_level(tmp_path, rgb):
    PIL.Image.fromarray(rgb).save(tmp_path / "s.png", dpi=(25400, 25400))
    tifffile.imwrite(tmp_path / "striped.tif", rgb, photometric="rgb", rowsperstrip=150)
    with open_slide(tmp_path / "s.png") as slide:
        assert slide.metadata.reader == "pillow"
        assert slide.metadata.mpp_x == pytest.approx(1.0, rel=1e-3)
        np.testing.assert_array_equal(slide.read(0, Window(5, 6, 20, 30)), rgb[5:25, 6:36])
    with open_slide(tmp_path / "striped.tif") as slide:
        np.testing.assert_array_equal(slide.read(0, Window(5, 6, 20, 30)), rgb[5:25, 6:36])


@pytest.mark.parametrize(
    "options",
    [{"tile": (64, 64)}, {"rowsperstrip": 20}, {"rowsperstrip": 20, "compression": "deflate"}],
)
def test_planar_tiffs_are_read_as_rgb(tmp_path, rgb, options):
    path = tmp_path / "s.tif"
    tifffile.imwrite(
        path, np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate", **options
    )
    with open_slide(path) as slide:
        assert slide.metadata.level_sizes_px == ((230, 150),)
        np.testing.assert_array_equal(slide.read(0, Window(13, 70, 100, 90)), rgb[13:113, 70:160])


def test_the_crop_of_the_viewer_and_the_objective_are_metadata(tmp_path, rgb, monkeypatch):
    describe = OpenSlideBackend.describe
    crop = {"bounds_level0": (10, 20, 100, 90), "objective_power": 40.0}
    monkeypatch.setattr(
        OpenSlideBackend, "describe", lambda self: dataclasses.replace(describe(self), **crop)
    )
    with open_slide(write_tiled(tmp_path / "s.svs", rgb, **APERIO)) as slide:
        assert (slide.metadata.bounds_level0, slide.metadata.objective_power) == (
            (10, 20, 100, 90),
            40.0,
        )
        geometry = plan_scale(
            dataclasses.replace(slide.metadata, mpp_x=0.5, mpp_y=0.5), 1.0
        ).geometry
    assert (
        geometry.bounds_x,
        geometry.bounds_y,
        geometry.bounds_width_px,
        geometry.bounds_height_px,
    ) == (10, 20, 100, 90)


def test_sheet_overrides_an_implausible_pixel_size(tmp_path, rgb):
    path = write_tiled(
        tmp_path / "s.tiff", rgb, resolution=(28.34, 28.34), resolutionunit="CENTIMETER"
    )
    with open_slide(path) as slide:
        assert "352.8" in pixel_size_problem(slide.metadata)
    with open_slide(path, mpp=0.5) as slide:
        assert pixel_size_problem(slide.metadata) is None
        assert (slide.metadata.mpp_y, slide.metadata.mpp_origin) == (0.5, "sheet")


def test_pyramid_level_of_uneven_size_gives_the_same_pixels_for_any_request(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (1250, 1302, 3), np.uint8)
    path = tmp_path / "s.tiff"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(64, 64), photometric="rgb")
        tiff.write(image[:312, :325], tile=(64, 64), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        assert slide.metadata.downsamples[1] == (4.0, 4.0)
        all_pixels = slide.read(1, Window(0, 0, 312, 325))
        for y, x, h, w in ((0, 0, 10, 10), (101, 33, 50, 70), (311, 324, 1, 1), (7, 3, 300, 320)):
            np.testing.assert_array_equal(
                slide.read(1, Window(y, x, h, w)), all_pixels[y : y + h, x : x + w]
            )


def test_pixels_do_not_depend_on_the_request_across_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(direct_tiles, "DIRECT_VENDORS", ())
    monkeypatch.setattr(openslide_backend, "_CELL_PX", 64)
    image = np.random.default_rng(4).integers(0, 256, (1250, 1302, 3), np.uint8)
    path = tmp_path / "s.svs"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(64, 64), photometric="rgb", **APERIO)
        tiff.write(image[:312, :325], tile=(64, 64), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        assert slide.metadata.reader == "openslide"
        all_pixels = slide.read(1, Window(0, 0, 312, 325))
        for y, x, h, w in ((63, 63, 2, 2), (101, 33, 150, 170), (300, 300, 12, 25)):
            np.testing.assert_array_equal(
                slide.read(1, Window(y, x, h, w)), all_pixels[y : y + h, x : x + w]
            )


def test_transparent_pixels_get_the_background_colour():
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 100, 100, 128]]], np.uint8)
    result = flatten_alpha(pixels, np.array([200, 210, 220], np.uint16))
    assert result.tolist() == [[[10, 20, 30], [200, 210, 220], [150, 155, 160]]]


def test_transparent_pixels_of_a_png_are_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    PIL.Image.fromarray(pixels).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png") as slide:
        read = slide.read(0, Window(0, 0, 4, 4))
    assert (read[:2] == 0).all()
    assert (read[2:] == 255).all()


def test_windows_outside_the_level_are_an_error_not_white(tmp_path, rgb):
    with open_slide(write_tiled(tmp_path / "s.tiff", rgb)) as slide:
        for window in ((-1, 0, 4, 4), (147, 0, 4, 4), (0, 227, 4, 4), (0, 0, 0, 4)):
            with pytest.raises(ValueError, match="is not inside level 0"):
                slide.read(0, Window(*window))


def unusable(tmp_path):
    """Name of a file -> function that writes it, pattern of the message."""
    image = np.zeros((128, 128, 3), np.uint8)

    def png_16_bit(path):
        def chunk(kind, body):
            return (
                struct.pack(">I", len(body))
                + kind
                + body
                + struct.pack(">I", zlib.crc32(kind + body))
            )

        raw = b"".join(b"\0" + bytes(4 * 6) for _ in range(4))
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(raw))
            + chunk(b"IEND", b"")
        )

    return {
        "missing.svs": (lambda path: None, "no such file"),
        "folder.svs": (lambda path: path.mkdir(), "is a folder; name one file"),
        "empty.svs": (lambda path: path.write_bytes(b""), "the file is empty"),
        "text.svs": (
            lambda path: path.write_text("this is not a slide"),
            "cannot be read as a slide",
        ),
        "truncated.tiff": (
            lambda path: path.write_bytes(tiff_bytes(image)[:100]),
            "the file is truncated",
        ),
        "truncated.png": (
            lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0"),
            "the file is truncated",
        ),
        "sixteen.tiff": (
            lambda path: tifffile.imwrite(
                path, image.astype(np.uint16), tile=(64, 64), photometric="rgb"
            ),
            "not a brightfield.*uint16",
        ),
        "grey.tiff": (
            lambda path: tifffile.imwrite(path, image[..., 0], tile=(64, 64)),
            "not a brightfield.*1 channel",
        ),
        "five.ome.tif": (
            lambda path: tifffile.imwrite(
                path, np.zeros((5, 128, 128), np.uint8), tile=(64, 64), metadata={"axes": "CYX"}
            ),
            "not a brightfield.*5 channel",
        ),
        "grey.png": (
            lambda path: PIL.Image.fromarray(image[..., 0]).save(path),
            "not a brightfield.*mode L",
        ),
        "sixteen.png": (png_16_bit, "not a brightfield.*16 bits"),
    }


def tiff_bytes(image):
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, tile=(64, 64), photometric="rgb")
    return stream.getvalue()


@pytest.mark.parametrize("name", sorted(unusable(None)))
def test_unusable_file_is_refused_by_name_with_the_reason(tmp_path, name):
    make, words = unusable(tmp_path)[name]
    make(tmp_path / name)
    with pytest.raises(SlideError, match=words) as caught:
        open_slide(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_too_many_pixels_in_one_piece_are_refused(tmp_path, rgb, monkeypatch):
    monkeypatch.setattr("tiling.slides.plain_image.MAX_PIXELS_IN_ONE_PIECE", 1000)
    PIL.Image.fromarray(rgb).save(tmp_path / "bomb.png")
    with pytest.raises(SlideError, match=r"limit|bomb"):
        open_slide(tmp_path / "bomb.png")


def test_damaged_tiles_are_an_error_that_names_level_and_window(tmp_path, rgb):
    path = tmp_path / "s.tiff"
    tifffile.imwrite(path, rgb, tile=(64, 64), photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[4], tiff.pages[0].databytecounts[4]
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(b"\xff" * length)
    with open_slide(path) as slide:
        expected = slide.read(0, Window(0, 0, 60, 60))
        with pytest.raises(
            SlideError, match=r"s\.tiff: level 0, window y 64, x 0, 64 x 64 cannot be read"
        ):
            slide.read(0, Window(64, 0, 64, 64))
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 60, 60)), expected)


def test_after_an_error_the_file_is_opened_again_and_read(tmp_path, rgb, monkeypatch):
    path = write_tiled(tmp_path / "s.svs", rgb, **APERIO)
    backends = []

    class FailsOnce(OpenSlideBackend):
        def __init__(self, path):
            super().__init__(path)
            backends.append(self)

        def read(self, level, window):
            if len(backends) == 1:
                raise FileReadError("first error")
            return super().read(level, window)

    monkeypatch.setattr(direct_tiles, "DIRECT_VENDORS", ())
    monkeypatch.setattr(slide_reader, "OpenSlideBackend", FailsOnce)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 5, 5)), rgb[:5, :5])
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 5, 5)), rgb[:5, :5])
    assert len(backends) == 2


def test_a_lost_mount_fails_the_job_not_the_slide(tmp_path, rgb, monkeypatch):
    path = write_tiled(tmp_path / "s.svs", rgb, **APERIO)

    class Broken(OpenSlideBackend):
        def read(self, level, window):
            raise FileReadError("Input/output error")

    monkeypatch.setattr(direct_tiles, "DIRECT_VENDORS", ())
    monkeypatch.setattr(slide_reader, "OpenSlideBackend", Broken)
    with open_slide(path) as slide:
        path.unlink()
        with pytest.raises(FileNotFoundError):
            slide.read(0, Window(0, 0, 5, 5))


def test_checksum_changes_with_the_middle_of_the_file(tmp_path):
    path = tmp_path / "s"
    body = bytearray(np.random.default_rng(0).integers(0, 256, 5 << 20, np.uint8).tobytes())
    path.write_bytes(body)
    before = slide_checksum(path)
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    assert slide_checksum(path) != before
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    assert slide_checksum(path) == before


def test_a_tiff_with_a_palette_is_read_as_its_colours(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    index = np.random.default_rng(1).integers(0, 256, (60, 80), np.uint8)
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, index, photometric="palette", colormap=colours * 257)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(
            slide.read(0, Window(5, 7, 50, 60)), np.moveaxis(colours[:, index], 0, -1)[5:55, 7:67]
        )
