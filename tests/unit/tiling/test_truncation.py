"""A truncated file is recognised by its index, before a pixel is read."""

import re

import numpy as np
import pytest
import tifffile

from tiling.slide_errors import SlideError
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
