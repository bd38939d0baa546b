"""`info` says where tiffslide reads a TIFF otherwise than we do."""

import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.slides.slide_reader import open_slide
from tiling.slides.tiffslide_comparison import tiffslide_differences

RANDOM = np.random.default_rng(0)
LARGE = RANDOM.integers(0, 255, (300, 400, 3), np.uint8)
SMALL = RANDOM.integers(0, 255, (60, 80, 3), np.uint8)


def write_ome(path, *images):
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for pixels, mpp in images:
            metadata = {
                "axes": "YXS",
                "PhysicalSizeX": mpp,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": mpp,
                "PhysicalSizeYUnit": "µm",
            }
            # tiffslide reads the pixel size of OME-TIFFs from these tags.
            tags = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
            tiff.write(pixels, photometric="rgb", tile=(64, 64), metadata=metadata, **tags)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([(LARGE, 0.5)], []),
        (
            [(SMALL, 8.0), (LARGE, 0.5)],
            [
                "tiffslide takes an image of 80 x 60 px for the slide",
                "tiffslide reads a pixel size of 8 um",
            ],
        ),
    ],
)
def test_another_choice_of_tiffslide_is_named(tmp_path, images, expected):
    write_ome(tmp_path / "s.ome.tif", *images)
    with open_slide(tmp_path / "s.ome.tif") as slide:
        assert slide.metadata.level_sizes_px[0] == (400, 300)
        assert tiffslide_differences(slide.metadata) == expected


def test_a_tiff_that_tiffslide_cannot_read_is_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as tiff:
        tiff.write(
            np.moveaxis(LARGE, 2, 0), photometric="rgb", planarconfig="separate", tile=(64, 64)
        )
    with open_slide(tmp_path / "s.ome.tif") as slide:
        (difference,) = tiffslide_differences(slide.metadata)
    assert difference.startswith("tiffslide cannot read this file (")


def test_a_png_is_not_compared(tmp_path):
    PIL.Image.fromarray(LARGE).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png") as slide:
        assert tiffslide_differences(slide.metadata) == []
