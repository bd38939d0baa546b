"""Embedded colour profiles are named, and applied only on request."""

import io

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import tifffile

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.colour_profile import profile_name, to_srgb
from tiling.slides.slide_reader import open_slide

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
# lcms can create sRGB, LAB and XYZ only. The profile of a scanner is made from sRGB by exchanging
# its red and blue primaries.
_TAGS = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}


def swapped(profile: bytes = SRGB) -> bytes:
    """A profile whose first channel is blue and whose last is red: its effect is known exactly."""
    count = int.from_bytes(profile[128:132], "big")
    out = bytearray(profile)
    for tag in range(count):
        at = 132 + 12 * tag
        out[at : at + 4] = _TAGS.get(bytes(profile[at : at + 4]), profile[at : at + 4])
    return bytes(out)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)


def test_a_profile_is_applied_exactly(image):
    converted = to_srgb(swapped())(image)
    assert np.abs(converted.astype(int) - image[..., ::-1]).max() <= 2  # lcms rounds in fixed point


def test_srgb_changes_values_by_at_most_one(image):
    assert np.abs(to_srgb(SRGB)(image).astype(int) - image).max() <= 1


@pytest.mark.parametrize("name", ["s.tif", "s.ome.tif", "s.png"])
def test_pixels_change_only_when_the_profile_is_applied(tmp_path, image, name):
    path = tmp_path / name
    if name.endswith("png"):
        PIL.Image.fromarray(image).save(path, icc_profile=swapped())
    else:
        tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", iccprofile=swapped())
    with open_slide(path) as slide:
        assert slide.metadata.colour_profile == profile_name(SRGB)
        np.testing.assert_array_equal(slide.read(0, Window(10, 20, 50, 60)), image[10:60, 20:80])
    with open_slide(path, icc="apply") as slide:
        assert (
            np.abs(
                slide.read(0, Window(10, 20, 50, 60)).astype(int) - image[10:60, 20:80, ::-1]
            ).max()
            <= 2
        )


def test_pixels_without_a_profile_do_not_change(tmp_path, image):
    tifffile.imwrite(tmp_path / "s.tif", image, tile=(64, 64), photometric="rgb")
    with open_slide(tmp_path / "s.tif", icc="apply") as slide:
        assert slide.metadata.colour_profile == ""
        np.testing.assert_array_equal(slide.read(0, Window(0, 0, 50, 60)), image[:50, :60])


def test_a_damaged_profile_is_an_error_only_when_it_is_applied(tmp_path, image):
    PIL.Image.fromarray(image).save(tmp_path / "s.png", icc_profile=b"nonsense" * 20)
    with open_slide(tmp_path / "s.png") as slide:
        assert "damaged" in slide.metadata.colour_profile
    with pytest.raises(SlideError, match=r"s\.png: the colour profile .*set tiles\.icc to keep"):
        open_slide(tmp_path / "s.png", icc="apply")


def test_the_name_of_a_profile():
    assert "sRGB" in profile_name(SRGB)
    with pytest.raises(ValueError, match="damaged"):
        profile_name(io.BytesIO(b"").getvalue())
