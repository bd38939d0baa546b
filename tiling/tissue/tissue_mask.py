"""Where the tissue is on a coarse picture of a slide: pale tissue stays, glass, dust and pen go.

The rules are for haematoxylin and eosin: stained tissue has colour, glass and dust have none, and ink is blue, green, black
or a red that no stain reaches. All lengths are physical, so that they hold at any resolution of the coarse picture.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from tiling.parallel import for_each

_GLASS_LEAST = 200  # grey value; what is darker is never taken for the colour of the glass
_CHROMA_RANGE = (
    7.0,
    14.0,
)  # threshold on max - min of the glass-corrected RGB; Otsu chooses between
_CHROMA_STEPS = 9  # per grey value: 28 grey values, all that matters, fit in a byte
_SMOOTH_UM = 8.0
_TRUNCATE = 3.0  # of the smoothing, standard deviations
_BAND_PX = 256
_CLOSE_UM = 16.0
_MIN_ISLAND_UM2 = 20_000.0
_MAX_HOLE_UM2 = 200_000.0
_MIN_PEN_UM2 = 8_000.0
_PEN_RIM_UM = 24.0


def tissue_mask(rgb: NDArray[np.uint8], mpp_um: float) -> NDArray[np.bool_]:
    """Tissue on a coarse picture.

    Parameters
    ----------
    rgb : uint8 (h, w, 3), about 8 um per pixel
    mpp_um : um per pixel

    Returns
    -------
    bool (h, w)
        Islands under 0.02 mm2 removed, holes under 0.2 mm2 (gland lumina, vessels) filled, pen left out.
    """
    return tissue_and_pen(rgb, mpp_um)[0]


def pen_mask(rgb: NDArray[np.uint8], mpp_um: float) -> NDArray[np.bool_]:
    """Ink of blue, green, black and red pens with its rim.

    Parameters
    ----------
    rgb : uint8 (h, w, 3), about 8 um per pixel
    mpp_um : um per pixel

    Returns
    -------
    bool (h, w)
    """
    return tissue_and_pen(rgb, mpp_um)[1]


def tissue_and_pen(
    rgb: NDArray[np.uint8], mpp_um: float, *, workers: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks, bool (h, w) each, from one look at the picture; see `tissue_mask` and `pen_mask`.

    Colours are looked at in bands of rows on `workers` threads: as floats, a picture of a whole slide would be gigabytes.
    """
    balance = _balance(rgb)
    colours = _colours(rgb, balance, mpp_um, workers)
    pen = _pen(colours, mpp_um)
    threshold = _chroma_threshold(_counts(colours.chroma, ~pen))
    mask = (colours.chroma > threshold * _CHROMA_STEPS) & colours.stained & ~pen
    del colours
    mask = _closed(mask, _CLOSE_UM / mpp_um) & ~pen
    mask = ~_without_small(~mask, _pixels(_MAX_HOLE_UM2, mpp_um)) & ~pen
    colourless = np.empty_like(mask)

    def look(rows: slice) -> None:
        colourless[rows] = _chroma(_balanced(rgb[rows], balance)) <= threshold

    for_each(look, _bands(len(rgb)), workers=workers, what="tissue", progress=False)
    mask = _without_glass_rim(mask, colourless, 2 * _SMOOTH_UM / mpp_um)
    # A picture of a fifth of a square millimetre may be a region cut out of tissue: dust is small against the picture too.
    island = min(_pixels(_MIN_ISLAND_UM2, mpp_um), mask.size // 5)
    return _without_small(mask, island), pen


class _Colours(NamedTuple):
    """What the smoothed, glass-corrected colours say of each pixel, (h, w) each."""

    chroma: NDArray[np.uint8]  # in steps of 1 / 9 grey value, up to 28
    stained: NDArray[
        np.bool_
    ]  # no stain of tissue leaves green the brightest channel; glare and ink rims may
    blue_or_green: NDArray[np.bool_]  # surely ink
    bluish: NDArray[np.bool_]  # ink where it touches such
    black_or_red: NDArray[np.bool_]  # surely ink


def _colours(
    rgb: NDArray[np.uint8], balance: NDArray[np.float32], mpp_um: float, workers: int
) -> _Colours:
    found = _Colours(
        np.empty(rgb.shape[:2], np.uint8), *(np.empty(rgb.shape[:2], bool) for _ in range(4))
    )
    sigma_px = _SMOOTH_UM / mpp_um
    reach_px = math.ceil(_TRUNCATE * sigma_px) + 1

    def look(rows: slice) -> None:
        top = max(rows.start - reach_px, 0)
        seen = _smooth(_balanced(rgb[top : rows.stop + reach_px], balance), sigma_px)[
            rows.start - top : rows.stop - top
        ]
        red, green, blue = seen[..., 0], seen[..., 1], seen[..., 2]
        chroma = _chroma(seen)
        found.chroma[rows] = np.rint(np.minimum(chroma, 2 * _CHROMA_RANGE[1]) * _CHROMA_STEPS)
        found.stained[rows] = green <= np.maximum(red, blue)
        # Haematoxylin and eosin both take green away first; blue and green inks take red away first.
        found.blue_or_green[rows] = (red < green - 8) & (chroma > 40)
        found.bluish[rows] = (red < green) & (chroma > 20)
        black = (_brightest(seen) < 90) & (chroma < 30)
        bright_red = (red > 140) & (green < 75) & (blue < 85) & (red - blue > 80)
        found.black_or_red[rows] = black | bright_red

    for_each(look, _bands(len(rgb)), workers=workers, what="colours", progress=False)
    return found


def _bands(height: int) -> list[slice]:
    return [slice(top, min(top + _BAND_PX, height)) for top in range(0, height, _BAND_PX)]


def _pen(colours: _Colours, mpp_um: float) -> NDArray[np.bool_]:
    ink = _grown_into(colours.blue_or_green, colours.bluish) | colours.black_or_red
    ink = _without_small(ink, _pixels(_MIN_PEN_UM2, mpp_um))
    return _spread(ink, _disk(_PEN_RIM_UM / mpp_um), outside=False) if ink.any() else ink


def _balanced(rgb: NDArray[np.uint8], balance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours with the glass brought to neutral grey 240, float32 (h, w, 3)."""
    balanced = rgb.astype(np.float32)
    balanced *= balance
    return np.minimum(balanced, np.float32(255), out=balanced)


def _smooth(balanced: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    out = np.empty_like(balanced)
    for c in range(3):
        ndimage.gaussian_filter(balanced[..., c], sigma_px, truncate=_TRUNCATE, output=out[..., c])
    return out


def _brightest(rgb: NDArray[Any]) -> NDArray[Any]:
    # Several times as fast as a reduction over an axis of three.
    return np.asarray(np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


def _darkest(rgb: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


def _chroma(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(_brightest(rgb) - _darkest(rgb), np.float32)


def _balance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Factor per channel, float32 (3,); ones without glass in the picture."""
    bright = _darkest(rgb) >= _GLASS_LEAST
    # The glass is the most frequent bright colour: tissue spreads over many.
    glass = np.array(
        [np.bincount(rgb[..., c][bright], minlength=256).argmax() for c in range(3)], np.float32
    )
    if bright.sum() < 16 or np.ptp(glass) > 20:  # no glass, or a picture of pale tissue only
        return np.ones(3, np.float32)
    return np.asarray(240 / glass, np.float32)


def _chroma_threshold(counts: NDArray[np.int64]) -> float:
    """Threshold between glass and stain, grey values, from the histogram of `_Colours.chroma`."""
    low, high = _CHROMA_RANGE
    if np.count_nonzero(counts) < 2:
        return high
    # Few strongly stained areas must not raise the threshold over pale tissue: clipped values keep Otsu between glass and pale.
    otsu = threshold_otsu(hist=(counts, np.arange(len(counts)) / _CHROMA_STEPS))  # type: ignore[no-untyped-call]
    return float(np.clip(otsu, low, high))


def _counts(values: NDArray[Any], where: NDArray[np.bool_], length: int = 256) -> NDArray[np.int64]:
    """How often each value stands where a mask is true; by bands, for numpy makes numbers of eight bytes of all it counts."""
    counts = np.zeros(length, np.int64)
    for rows in _bands(len(values)):
        counts += np.bincount(values[rows][where[rows]], minlength=length)
    return counts


def _without_small(mask: NDArray[np.bool_], most_px: int) -> NDArray[np.bool_]:
    """The mask without its 4-connected components of at most `most_px` pixels."""
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    keep = _counts(labels, mask, count + 1) > most_px
    keep[0] = False
    return np.asarray(keep[labels], bool)


def _grown_into(seed: NDArray[np.bool_], area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_propagation(seed, mask=area | seed), bool)


def _closed(mask: NDArray[np.bool_], radius_px: float) -> NDArray[np.bool_]:
    pad = math.ceil(radius_px)
    padded = np.pad(mask, pad, mode="edge")
    disk = _disk(radius_px)
    closed = ~_spread(~_spread(padded, disk, outside=False), disk, outside=True)
    return np.asarray(closed[pad : pad + mask.shape[0], pad : pad + mask.shape[1]] | mask, bool)


def _spread(
    mask: NDArray[np.bool_], disk: NDArray[np.bool_], *, outside: bool
) -> NDArray[np.bool_]:
    """Dilation by a small disk: shifted masks joined, ten times as fast as a general structure."""
    reach = disk.shape[0] // 2
    padded = np.pad(mask, reach, constant_values=outside)
    joined = np.zeros_like(mask)
    for y, x in np.argwhere(disk):
        joined |= padded[y : y + mask.shape[0], x : x + mask.shape[1]]
    return joined


def _without_glass_rim(
    mask: NDArray[np.bool_], colourless: NDArray[np.bool_], reach_px: float
) -> NDArray[np.bool_]:
    """Smoothing carries strong stain out over the glass: the mask without its colourless rim, at most `reach_px` wide.

    Colourless pixels inside (lumina) have no way in from the glass and stay.
    """
    glass = ndimage.binary_dilation(~mask, iterations=math.ceil(reach_px), mask=~mask | colourless)
    return np.asarray(mask & ~glass, bool)


def _disk(radius_px: float) -> NDArray[np.bool_]:
    reach = max(math.ceil(radius_px), 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(y**2 + x**2 <= max(radius_px, 1) ** 2, bool)


def _pixels(area_um2: float, mpp_um: float) -> int:
    return max(round(area_um2 / mpp_um**2), 1)
