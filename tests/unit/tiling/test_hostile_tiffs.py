"""TIFF files whose directories and tiles claim more than there is: refused before a library reads.

A child process is needed nowhere: each file is refused by its header.
"""

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
import tifffile

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.codestream_sizes import claimed_size_px
from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.slides.slide_reader import open_slide
from tiling.slides.tiff_claims import check_tiff_claims
from tiling.slides.tiff_directories import MAX_DIRECTORIES, DirectoryReader, open_tiff
from tiling.slides.truncation import truncation_problem

RGB = np.random.default_rng(0).integers(0, 256, (150, 230, 3), np.uint8)


def write_tiled(path: Path, **options: object) -> Path:
    tifffile.imwrite(path, RGB, **{"tile": (64, 64), "photometric": "rgb"} | options)
    return path


def chain_of_directories(path: Path, count: int, *, loop: bool) -> Path:
    """A TIFF whose directories have one tag each; the last one points to the first, or nowhere."""
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for number in range(count):
        last = number == count - 1
        following = (8 if loop else 0) if last else 8 + (number + 1) * 18
        data += struct.pack("<HHHIII", 1, 256, 4, 1, 100, following)
    path.write_bytes(data)
    return path


def set_tag(path: Path, name: str, value: int) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags[name].overwrite(value)


@pytest.mark.parametrize("count", [1, 3, MAX_DIRECTORIES, 100_000])
def test_a_loop_of_directories_is_refused(tmp_path: Path, count: int) -> None:
    path = chain_of_directories(tmp_path / "s.tiff", count, loop=True)
    with pytest.raises(SlideError, match=r"s\.tiff: .*(loop|more than 4096 directories)"):
        open_slide(path)
    assert truncation_problem(path) is None


def test_too_many_directories_without_a_loop_are_refused(tmp_path: Path) -> None:
    path = chain_of_directories(tmp_path / "s.tiff", MAX_DIRECTORIES + 1, loop=False)
    with pytest.raises(SlideError, match="more than 4096 directories"):
        open_slide(path)


def test_sub_directories_are_counted_too(tmp_path: Path) -> None:
    path = tmp_path / "s.tiff"
    entry = struct.pack("<HHII", 330, 4, MAX_DIRECTORIES, 26)
    offsets = struct.pack("<I", 8) * MAX_DIRECTORIES
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 1) + entry + bytes(4) + offsets)
    with pytest.raises(SlideError, match="more than 4096 directories"):
        open_slide(path)


@pytest.mark.parametrize("tag", ["TileWidth", "TileLength"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_claim_of_a_huge_tile_is_refused_before_openslide_sees_it(
    tmp_path: Path, tag: str, bigtiff: bool
) -> None:
    # OpenSlide would end the process with signal 6.
    path = tmp_path / "s.svs"
    description = "Aperio Image Library v1\n230x150 (64x64) Q=70|AppMag = 20|MPP = 0.5"
    write_tiled(path, description=description, metadata=None, bigtiff=bigtiff)
    open_slide(path).close()
    set_tag(path, tag, 64 + 2**28)
    with pytest.raises(SlideError, match=r"s\.svs: .*claims tiles of .*268435520"):
        open_slide(path)


@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength"])
def test_an_image_with_fewer_tiles_than_it_needs_is_refused(tmp_path: Path, tag: str) -> None:
    path = write_tiled(tmp_path / "s.tiff")
    set_tag(path, tag, 60_000)
    with pytest.raises(SlideError, match="lists too few tiles"):
        open_slide(path)


def with_huge_frame(data: bytes, place: int) -> bytes:
    """The file with the frame header of one JPEG changed to 65500 x 65500."""
    return data[: place + 5] + struct.pack(">HH", 65500, 65500) + data[place + 9 :]


def test_a_jpeg_tile_that_claims_a_huge_image_is_refused(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "s.tiff", compression="jpeg")
    data = path.read_bytes()
    path.write_bytes(with_huge_frame(data, data.rfind(b"\xff\xc0")))
    with pytest.raises(SlideError, match=r"claims 65500 x 65500 px, but tiles .* 64 x 64"):
        open_slide(path)


def test_a_huge_tile_that_the_opening_does_not_examine_is_refused_when_it_is_read(
    tmp_path: Path,
) -> None:
    path = write_tiled(tmp_path / "s.tiff", compression="jpeg", tile=(16, 16))
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.dataoffsets[5]  # not among the 16 of 150
    data = path.read_bytes()
    path.write_bytes(with_huge_frame(data, data.find(b"\xff\xc0", start)))
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match="claims 65500 x 65500 px"):
            slide.read(0, Window(0, 80, 16, 16))
        assert slide.read(0, Window(0, 0, 16, 16)).shape == (16, 16, 3)


def test_a_jpeg_2000_tile_that_claims_a_huge_image_is_refused(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "s.tiff", compression="jpeg2000")
    data = bytearray(path.read_bytes())
    place = data.find(b"\xff\x4f\xff\x51") + 8
    data[place : place + 8] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(data)
    with pytest.raises(SlideError, match="claims 100000 x 100000 px"):
        open_slide(path)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xff", b"\xff\xd8\xff\xe0\0\0"])
def test_a_damaged_codestream_claims_nothing(data: bytes) -> None:
    assert claimed_size_px(data * 3) is None


def ome_xml(root_uuid: str, file_name: str, uuid: str) -> str:
    return (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root_uuid}>'
        '<Image ID="Image:0"><Pixels ID="P" DimensionOrder="XYCZT" Type="uint8" SizeX="230" '
        'SizeY="150" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5">'
        '<Channel ID="C:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="{file_name}">{uuid}</UUID></TiffData></Pixels></Image></OME>'
    )


@pytest.mark.parametrize("name", ["fifo", "../fifo", "&#102;ifo"])
def test_an_ome_tiff_whose_pixels_are_in_another_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "s.ome.tiff"
    for folder in (tmp_path, tmp_path.parent):
        if not (folder / "fifo").exists():
            os.mkfifo(folder / "fifo")  # opening it would wait for ever
    xml = ome_xml('UUID="urn:uuid:a"', name, "urn:uuid:b")
    write_tiled(path, description=xml, metadata=None)
    with pytest.raises(SlideError, match="are in another file"):
        open_slide(path)
    assert truncation_problem(path) is None


@pytest.mark.parametrize(
    ("root", "name"),
    [('UUID="urn:uuid:b"', "old_name.ome.tiff"), ("", "s.ome.tiff"), ("", "old_name.ome.tiff")],
)
def test_an_ome_tiff_that_names_itself_is_read(tmp_path: Path, root: str, name: str) -> None:
    path = tmp_path / "s.ome.tiff"
    write_tiled(path, description=ome_xml(root, name, "urn:uuid:b"), metadata=None)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 150, 230)), RGB)


def test_a_palette_image_of_256_megapixels_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "s.png"
    PIL.Image.new("P", (16, 16)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 16000, 16000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(SlideError, match="16000 x 16000 pixels in one piece"):
        open_slide(path)


def test_opening_a_png_does_not_decode_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = PIL.Image.fromarray(RGB)
    image.save(tmp_path / "s.png")
    image.save(tmp_path / "s.jpg", progressive=True)

    def fails(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", fails)
    open_slide(tmp_path / "s.png").close()
    monkeypatch.setattr("tiling.slides.plain_image.MAX_PIXELS_IN_ONE_PIECE", RGB[..., 0].size)
    open_slide(tmp_path / "s.png").close()
    with pytest.raises(SlideError, match="in one piece"):  # it needs twice the memory
        open_slide(tmp_path / "s.jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "P with transparency"])
def test_images_in_parts_are_those_of_pillow(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.slides.plain_image._ROWS_AT_ONCE", 32)
    alpha = np.random.default_rng(1).integers(0, 256, RGB.shape[:2], np.uint8)
    image = PIL.Image.fromarray(RGB)
    if mode == "RGBA":
        image.putalpha(PIL.Image.fromarray(alpha))
    if mode.startswith("P"):
        image = image.quantize(64)
    transparent = {"transparency": 3} if "transparency" in mode else {}
    image.save(tmp_path / "s.png", **transparent)
    white = PIL.Image.new("RGBA", image.size, "white")
    with PIL.Image.open(tmp_path / "s.png") as reread, open_slide(tmp_path / "s.png") as slide:
        expected = np.asarray(PIL.Image.alpha_composite(white, reread.convert("RGBA")))[..., :3]
        pixels = slide.read(0, Window(0, 0, 150, 230))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def ndpi_bytes(rgb: np.ndarray) -> bytes:
    """A file of one strip in the layout of NDPI: offsets of directories have 64 bits."""
    height, width = rgb.shape[:2]
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 16), (277, 3)]
    tags += [(278, height), (279, rgb.nbytes), (65420, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(8) + bytes(4 * len(tags))
    return struct.pack("<4sQ4x", b"II*\0", 16 + rgb.nbytes) + rgb.tobytes() + directory


def test_ndpi_is_recognised_by_content_and_not_by_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    path.write_bytes(ndpi_bytes(RGB))
    with open_tiff(path) as tiff:
        assert tiff.is_ndpi
        np.testing.assert_array_equal(tiff.pages.first.asarray(), RGB)
    with open_tiff(write_tiled(tmp_path / "other.ndpi", metadata=None)) as tiff:
        assert not tiff.is_ndpi


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "jpeg"}])
def test_random_headers_are_refused_or_accepted_without_another_error(
    tmp_path: Path, options: dict[str, object]
) -> None:
    path = write_tiled(tmp_path / "s.tiff", **options)
    valid = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        places = [tag.offset for tag in tiff.pages.first.tags]
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(valid)
        for place in rng.choice(places, 3):
            data[int(place) + int(rng.integers(20))] = int(rng.integers(256))
        path.write_bytes(data[: int(rng.integers(8, len(data) + 1))])
        try:
            check_tiff_claims(path)
        except FileReadError:
            refused += 1
    assert refused > 5


def test_a_table_that_ends_in_the_middle_of_a_value_has_only_its_complete_values() -> None:
    head = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 273, 4, 5, 26, 0)
    file = io.BytesIO(head + struct.pack("<II", 7, 9) + b"\1\2")
    reader = DirectoryReader(file)
    (directory,) = reader.directories()
    assert reader.values(directory[273], 5) == (7, 9)


def test_an_offset_that_no_file_can_have_is_an_error_of_the_file(tmp_path) -> None:
    """tifffile hands it to the system, which calls it an invalid argument."""
    with (tmp_path / "x").open("w+b") as file:
        with pytest.raises(FileReadError, match="Invalid argument"), file_read_errors():
            os.lseek(file.fileno(), -5, os.SEEK_SET)
        with pytest.raises(OSError, match="No space"), file_read_errors():
            raise OSError(errno.ENOSPC, "No space left on device")
