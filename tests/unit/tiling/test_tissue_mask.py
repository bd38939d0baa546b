import numpy as np
import pytest
from scipy import ndimage

from tiling.tissue import bands
from tiling.tissue.morphology import closed, dilated, disk
from tiling.tissue.tissue_mask import pen_mask, tissue_and_pen, tissue_mask

MPP = 8.0
GLASS = (243, 243, 242)
PALE, EOSIN, HAEMATOXYLIN = (236, 222, 233), (214, 130, 170), (110, 70, 140)
INKS = {"blue": (40, 70, 170), "green": (40, 150, 90), "black": (35, 33, 36), "red": (210, 30, 45)}


def image_of(*areas, size=(160, 200), glass=GLASS, seed=0):
    """Glass with rectangles (top, left, height, width, colour) and scanner noise."""
    image = np.tile(np.array(glass, float), (*size, 1))
    for top, left, height, width, colour in areas:
        image[top : top + height, left : left + width] = colour
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("colour", [PALE, EOSIN, HAEMATOXYLIN])
def test_tissue_of_every_stain_is_kept_and_glass_is_not(colour):
    mask = tissue_mask(image_of((40, 50, 60, 80, colour)), MPP)
    truth = np.zeros((160, 200), bool)
    truth[40:100, 50:130] = True
    inner, outer = (
        ndimage.binary_erosion(truth, iterations=3),
        ndimage.binary_dilation(truth, iterations=4),
    )
    assert mask[inner].all()
    assert not mask[~outer].any()


@pytest.mark.parametrize("mpp", [8.0, 4.0])
def test_strong_stain_does_not_spread_the_mask_over_the_glass(mpp):
    mask = tissue_mask(image_of((40, 50, 60, 80, HAEMATOXYLIN)), mpp)
    truth = np.zeros((160, 200), bool)
    truth[40:100, 50:130] = True
    assert not (mask & ~truth).any()
    # Smoothing rounds the corners; the straight edges lie where the stain begins.
    assert mask[40:100, 56:124].all()
    assert mask[46:94, 50:130].all()


def test_pale_tissue_is_kept_beside_strongly_stained_tissue():
    mask = tissue_mask(image_of((20, 20, 50, 50, HAEMATOXYLIN), (90, 100, 50, 60, PALE)), MPP)
    assert mask[25:65, 25:65].all()
    assert mask[95:135, 105:155].all()


def test_yellowish_glass_is_not_tissue():
    mask = tissue_mask(image_of((40, 50, 60, 80, EOSIN), glass=(240, 238, 228)), MPP)
    assert mask[45:95, 55:125].all()
    assert not mask[:30].any()


def test_empty_glass_has_no_tissue():
    assert not tissue_mask(image_of(), MPP).any()


def test_dust_is_removed_and_a_lumen_is_filled():
    # 10 px = 80 um of dust (6400 um2); a lumen of 20 px = 160 um across (25 600 um2).
    mask = tissue_mask(
        image_of((5, 5, 10, 10, EOSIN), (40, 50, 60, 80, EOSIN), (60, 80, 20, 20, GLASS)), MPP
    )
    assert not mask[:20, :20].any()
    assert mask[60:80, 80:100].all()


def test_grey_shadow_is_not_tissue():
    assert not tissue_mask(image_of((40, 50, 60, 80, (170, 170, 169))), MPP).any()


@pytest.mark.parametrize("ink", sorted(INKS))
def test_pen_is_found_beside_tissue_and_does_not_count_as_tissue(ink):
    image = image_of((40, 30, 80, 60, EOSIN), (50, 140, 60, 30, INKS[ink]))
    pen, tissue = pen_mask(image, MPP), tissue_mask(image, MPP)
    assert pen[52:108, 142:168].all()
    assert not pen[40:120, 30:90].any()
    assert not tissue[50:110, 140:170].any()
    assert tissue[45:115, 35:85].all()


@pytest.mark.parametrize("colour", [PALE, EOSIN, HAEMATOXYLIN, (175, 55, 95), (75, 45, 95)])
def test_no_stain_of_tissue_is_taken_for_ink(colour):
    assert not pen_mask(image_of((20, 20, 100, 100, colour)), MPP).any()


def test_the_rules_are_physical_lengths_not_pixels():
    fine = image_of((80, 100, 120, 160, EOSIN), (10, 10, 20, 20, EOSIN), size=(320, 400))
    mask = tissue_mask(fine, MPP / 2)
    assert mask[90:190, 110:250].all()
    assert not mask[:40, :40].any()


def test_an_image_full_of_tissue_is_tissue():
    assert tissue_mask(image_of((0, 0, 30, 30, EOSIN), size=(30, 30)), MPP).all()


def test_both_masks_together_equal_each_mask_alone():
    image = image_of((40, 30, 80, 60, EOSIN), (50, 140, 60, 30, INKS["blue"]))
    tissue, pen = tissue_and_pen(image, MPP)
    np.testing.assert_array_equal(tissue, tissue_mask(image, MPP))
    np.testing.assert_array_equal(pen, pen_mask(image, MPP))
    assert not (tissue & pen).any()


def test_masks_do_not_depend_on_bands_or_threads(monkeypatch):
    rng = np.random.default_rng(3)
    rgb = np.full((150, 120, 3), 240, np.uint8)
    rgb[20:100, 30:90] = np.array(EOSIN) + rng.integers(-20, 20, (80, 60, 1))
    rgb[110:140, 10:100] = (40, 60, 150)
    expected = tissue_and_pen(rgb, 8.0)
    assert expected[0].any()
    assert expected[1].any()
    monkeypatch.setattr(bands, "_BAND_PX", 7)
    for mask, other in zip(expected, tissue_and_pen(rgb, 8.0, workers=3), strict=True):
        np.testing.assert_array_equal(mask, other)


@pytest.mark.parametrize("radius", [1.0, 2.0, 3.4])
def test_closing_and_dilation_are_those_of_scipy(radius):
    mask = np.random.default_rng(0).random((60, 47)) < 0.1
    structure = disk(radius)
    np.testing.assert_array_equal(
        dilated(mask, structure, outside=False), ndimage.binary_dilation(mask, structure)
    )
    pad = int(np.ceil(radius))
    padded = np.pad(mask, pad, mode="edge")
    expected = ndimage.binary_closing(padded, structure)[pad:-pad, pad:-pad] | mask
    np.testing.assert_array_equal(closed(mask, radius), expected)
