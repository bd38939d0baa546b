"""A truncated file is recognised by its index, before a pixel is read."""

import re
import struct

import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.slide_errors import SlideError
from tiling.slides.probe import ProbeRequest, probe_slide
from tiling.slides.slide_reader import open_slide
from tiling.slides.truncation import truncation_problem

APERIO = (
    "Aperio Image Library v1.0.0\r\n700x500 [0,0 700x500] (128x128) JPEG Q=70|AppMag = 20|MPP = 0.5"
)


@pytest.fixture
def slide(tmp_path):
    """An SVS of 24 tiles and a level of 6, index first as scanners write it."""
    path = tmp_path / "s.svs"
    image = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    options = {"tile": (128, 128), "compression": "jpeg", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(image, description=APERIO, software=False, **options)
        writer.write(image[::2, ::2], subfiletype=1, description=APERIO, software=False, **options)
    return path


def ends(path):
    """Byte after each tile of all pages."""
    with tifffile.TiffFile(path) as tiff:
        return sorted(
            offset + count
            for page in tiff.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )


def test_a_complete_slide_has_no_problem(slide):
    assert truncation_problem(slide) is None


# The index of level 1 lies after the pixels of level 0: it is lost together with the last of them.
@pytest.mark.parametrize(
    ("missing", "count"),
    [(1, "1 of its 30 tiles"), (6, "6 of its 30"), (7, "1 of its 24"), (29, "23 of its 24")],
)
def test_the_tiles_beyond_the_end_are_counted(slide, missing, count):
    with slide.open("r+b") as handle:
        handle.truncate(ends(slide)[-missing] - 1)
    problem = truncation_problem(slide)
    assert count in problem
    assert problem.startswith(f"{slide}: ")
    assert "copy it again" in problem
    if missing > 6:
        open_slide(slide).close()  # opening it shows no error, so the index must be checked
    else:
        # OpenSlide reads some tiles of the smallest level.
        with pytest.raises(SlideError, match=re.escape(problem)):
            open_slide(slide)


def test_tiles_that_a_format_does_not_store_are_not_counted(tmp_path):
    path = tmp_path / "s.tif"
    tiles = [
        None if number == 3 else np.full((128, 128, 3), number, np.uint8) for number in range(6)
    ]
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            iter(tiles), shape=(256, 384, 3), dtype=np.uint8, tile=(128, 128), photometric="rgb"
        )
    assert truncation_problem(path) is None


def test_an_index_with_impossible_offsets_is_reported_and_does_not_overflow(slide):
    with tifffile.TiffFile(slide, mode="r+b") as opened:
        offsets = opened.pages.first.tags["TileOffsets"]
        offsets.overwrite([2**63, *offsets.value[1:]])
    assert "1 of its 30 tiles" in truncation_problem(slide)


@pytest.mark.parametrize("data", [b"", b"no slide", b"II*\0", b"II*\0\x08\0\0\0\xff\xff"])
def test_a_file_that_is_no_tiff_or_has_no_index_is_reported_by_the_reader(tmp_path, data):
    (tmp_path / "s.svs").write_bytes(data)
    assert truncation_problem(tmp_path / "s.svs") is None
    with pytest.raises(SlideError, match=r"s\.svs: "):
        open_slide(tmp_path / "s.svs")


def write_strips_before_their_index(path, images):
    """A TIFF of pages in one strip each; every directory follows its pixels, as scanners write."""
    content, place_of_offset = bytearray(b"II*\0\0\0\0\0"), 4
    for image in images:
        (height, width, _), pixels = image.shape, len(content)
        content += image.tobytes()
        bits, directory = len(content), len(content) + 6
        content += struct.pack("<3H", 8, 8, 8)
        content[place_of_offset : place_of_offset + 4] = struct.pack("<I", directory)
        tags = (
            (254, 4, 1, int(pixels > 8)), (256, 4, 1, width), (257, 4, 1, height),
            (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, pixels),
            (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, image.size),
        )  # fmt: skip
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        place_of_offset = len(content)
        content += bytes(4)
    path.write_bytes(content)


# The first page has 14 400 bytes of pixels, 6 of bits, and a directory of 126 at byte 14 414; the
# second one 3600 bytes of pixels and its directory at byte 18 146. A directory whose number of tags
# is lost has at least 6 bytes.
@pytest.mark.parametrize(
    ("size", "needed"),
    [(100, 14_415), (14_415, 14_420), (14_500, 14_540), (14_544, 18_147), (18_200, 18_272)],
)
def test_a_lost_index_is_called_truncated_and_not_another_kind_of_image(tmp_path, size, needed):
    path = tmp_path / "s.tif"
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    write_strips_before_their_index(path, [image, image[::2, ::2]])
    assert truncation_problem(path) is None
    open_slide(path).close()
    with path.open("r+b") as handle:
        handle.truncate(size)
    problem = truncation_problem(path)
    assert f"(it has {size:,} bytes and should have {needed:,} or more)" in problem
    assert problem.endswith("copy it again")
    if size < 14_500:  # not one page is left
        with pytest.raises(SlideError, match=re.escape(problem)):
            open_slide(path)


@pytest.mark.parametrize("name", ["s.png", "s.jpg"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_truncated_picture_is_named_before_it_is_decoded(tmp_path, name, share):
    path = tmp_path / name
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    PIL.Image.fromarray(image).save(path)
    assert truncation_problem(path) is None
    size = int(path.stat().st_size * share)
    with path.open("r+b") as handle:
        handle.truncate(size)
    problem = probe_slide(ProbeRequest(str(path))).problem
    assert "the file is truncated" in problem
    assert f"(it has {size:,} bytes" in problem
