"""Tissue and pen on a coarse image of a slide, found by colour.

The rules are for haematoxylin and eosin. Stained tissue has colour; glass and dust have none; ink
is blue, green, black, or a red that no stain reaches. Pale tissue counts as tissue. All lengths
are physical, so the rules hold at any resolution of the image.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from tiling.parallel import JobSettings, for_each
from tiling.tissue.bands import histogram, row_bands
from tiling.tissue.morphology import closed, dilated, disk, grown_into, without_small

# Grey value; darker pixels are not used to measure the colour of the glass.
_MIN_GLASS = 200
# Range of the threshold on chroma (max - min of the glass-corrected RGB); Otsu's method chooses.
_CHROMA_RANGE = (7.0, 14.0)
# Steps per grey value: the 28 grey values that matter fit in a byte.
_CHROMA_STEPS = 9
_SMOOTHING_UM = 8.0
_TRUNCATE = 3.0  # of the smoothing, standard deviations
_CLOSING_UM = 16.0
_MIN_ISLAND_UM2 = 20_000.0
_MAX_HOLE_UM2 = 200_000.0
_MIN_PEN_UM2 = 8_000.0
_PEN_MARGIN_UM = 24.0


def tissue_mask(rgb: NDArray[np.uint8], mpp_um: float) -> NDArray[np.bool_]:
    """Tissue on a coarse image.

    Parameters
    ----------
    rgb : uint8 (h, w, 3), about 8 um per pixel
    mpp_um : um per pixel

    Returns
    -------
    ndarray
        bool (h, w). Islands under 0.02 mm2 are removed, holes under 0.2 mm2 (gland lumina, vessels)
        are filled, pen is excluded.
    """
    return tissue_and_pen(rgb, mpp_um)[0]


def pen_mask(rgb: NDArray[np.uint8], mpp_um: float) -> NDArray[np.bool_]:
    """Ink of blue, green, black and red pens, with a margin.

    Parameters
    ----------
    rgb : uint8 (h, w, 3), about 8 um per pixel
    mpp_um : um per pixel

    Returns
    -------
    ndarray
        bool (h, w)
    """
    return tissue_and_pen(rgb, mpp_um)[1]


def tissue_and_pen(
    rgb: NDArray[np.uint8], mpp_um: float, *, workers: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks, bool (h, w) each; see `tissue_mask` and `pen_mask`.

    The colours are computed in bands of rows, on `workers` threads: as floats, the image of a whole
    slide would take gigabytes.
    """
    balance = _balance(rgb)
    colours = _colours(rgb, balance, mpp_um, workers)
    pen = _pen(colours, mpp_um)
    threshold = _chroma_threshold(histogram(colours.chroma, ~pen))
    mask = (colours.chroma > threshold * _CHROMA_STEPS) & colours.stained & ~pen
    del colours
    mask = closed(mask, _CLOSING_UM / mpp_um) & ~pen
    mask = ~without_small(~mask, _pixels(_MAX_HOLE_UM2, mpp_um)) & ~pen
    colourless = np.empty_like(mask)

    def classify(rows: slice) -> None:
        colourless[rows] = _chroma(_balanced(rgb[rows], balance)) <= threshold

    for_each(classify, row_bands(len(rgb)), job=JobSettings(workers), nouns="bands")
    mask = _without_glass_margin(mask, colourless, 2 * _SMOOTHING_UM / mpp_um)
    # An image of a fifth of a square millimetre may be a region cut out of tissue. There, an island
    # is small only in comparison with the image.
    island = min(_pixels(_MIN_ISLAND_UM2, mpp_um), mask.size // 5)
    return without_small(mask, island), pen


class _Colours(NamedTuple):
    """Classes of each pixel by its smoothed, glass-corrected colour, (h, w) each.

    Attributes
    ----------
    chroma : max - min of RGB, in steps of 1 / 9 grey value, up to 28 grey values
    stained : green is not the brightest channel. No stain of tissue makes it so; glare and the edge
        of ink may
    blue_or_green : certainly ink
    bluish : ink where it touches `blue_or_green`
    black_or_red : certainly ink
    """

    chroma: NDArray[np.uint8]
    stained: NDArray[np.bool_]
    blue_or_green: NDArray[np.bool_]
    bluish: NDArray[np.bool_]
    black_or_red: NDArray[np.bool_]


def _colours(
    rgb: NDArray[np.uint8], balance: NDArray[np.float32], mpp_um: float, workers: int
) -> _Colours:
    shape = rgb.shape[:2]
    colours = _Colours(np.empty(shape, np.uint8), *(np.empty(shape, bool) for _ in range(4)))
    sigma_px = _SMOOTHING_UM / mpp_um
    reach_px = math.ceil(_TRUNCATE * sigma_px) + 1

    def classify(rows: slice) -> None:
        top = max(rows.start - reach_px, 0)
        band = _smooth(_balanced(rgb[top : rows.stop + reach_px], balance), sigma_px)
        smooth = band[rows.start - top : rows.stop - top]
        red, green, blue = smooth[..., 0], smooth[..., 1], smooth[..., 2]
        chroma = _chroma(smooth)
        max_chroma = 2 * _CHROMA_RANGE[1]
        colours.chroma[rows] = np.rint(np.minimum(chroma, max_chroma) * _CHROMA_STEPS)
        colours.stained[rows] = green <= np.maximum(red, blue)
        # Haematoxylin and eosin absorb green most; blue and green inks absorb red most.
        colours.blue_or_green[rows] = (red < green - 8) & (chroma > 40)
        colours.bluish[rows] = (red < green) & (chroma > 20)
        black = (_brightest(smooth) < 90) & (chroma < 30)
        bright_red = (red > 140) & (green < 75) & (blue < 85) & (red - blue > 80)
        colours.black_or_red[rows] = black | bright_red

    for_each(classify, row_bands(len(rgb)), job=JobSettings(workers), nouns="bands")
    return colours


def _pen(colours: _Colours, mpp_um: float) -> NDArray[np.bool_]:
    ink = grown_into(colours.blue_or_green, colours.bluish) | colours.black_or_red
    ink = without_small(ink, _pixels(_MIN_PEN_UM2, mpp_um))
    return dilated(ink, disk(_PEN_MARGIN_UM / mpp_um), outside=False) if ink.any() else ink


def _balanced(rgb: NDArray[np.uint8], balance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours in which the glass is a neutral grey of 240, float32 (h, w, 3)."""
    balanced = rgb.astype(np.float32)
    balanced *= balance
    return np.minimum(balanced, np.float32(255), out=balanced)


def _smooth(balanced: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    out = np.empty_like(balanced)
    for c in range(3):
        ndimage.gaussian_filter(balanced[..., c], sigma_px, truncate=_TRUNCATE, output=out[..., c])
    return out


def _brightest(rgb: NDArray[Any]) -> NDArray[Any]:
    # Several times as fast as a maximum over an axis of length three.
    return np.asarray(np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


def _darkest(rgb: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


def _chroma(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(_brightest(rgb) - _darkest(rgb), np.float32)


def _balance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Factor per channel that makes the glass neutral, float32 (3,); ones without glass."""
    bright = _darkest(rgb) >= _MIN_GLASS
    # The most frequent bright colour is that of the glass, because tissue has many colours.
    modes = [np.bincount(rgb[..., c][bright], minlength=256).argmax() for c in range(3)]
    glass = np.array(modes, np.float32)
    if bright.sum() < 16 or np.ptp(glass) > 20:  # no glass, or an image of pale tissue only
        return np.ones(3, np.float32)
    return np.asarray(240 / glass, np.float32)


def _chroma_threshold(counts: NDArray[np.int64]) -> float:
    """Threshold between glass and stain, grey values, from the histogram of `_Colours.chroma`."""
    low, high = _CHROMA_RANGE
    if np.count_nonzero(counts) < 2:
        return high
    # Chroma is clipped, so a few strongly stained areas cannot raise the threshold above the chroma
    # of pale tissue: Otsu's method separates glass and pale tissue.
    bin_centres = np.arange(len(counts)) / _CHROMA_STEPS
    otsu = threshold_otsu(hist=(counts, bin_centres))  # type: ignore[no-untyped-call]
    return float(np.clip(otsu, low, high))


def _without_glass_margin(
    mask: NDArray[np.bool_], colourless: NDArray[np.bool_], reach_px: float
) -> NDArray[np.bool_]:
    """The mask without its colourless margin, which is at most `reach_px` wide.

    Smoothing spreads strong stain over the glass beside it. Colourless pixels inside the tissue
    (lumina) are not connected to the glass, and stay.
    """
    glass = ndimage.binary_dilation(~mask, iterations=math.ceil(reach_px), mask=~mask | colourless)
    return np.asarray(mask & ~glass, bool)


def _pixels(area_um2: float, mpp_um: float) -> int:
    return max(round(area_um2 / mpp_um**2), 1)
