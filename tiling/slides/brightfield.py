"""Whether a slide is a brightfield slide, from a sample of its pixels.

Fluorescence comes as 8-bit RGB too (as some NDPI): its background is dark. The tissue of such a
slide would be found where there is none.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.slide_reader import Slide

# Windows on a regular grid of the coarsest level. The whole level can be a gigapixel.
_GRID = 8
_WINDOW_PX = 64
# The brightest channel of stained tissue in transmitted light is above 100, also in dark nuclei.
_DARK = 80
# Outside the scanned area, some scanners write black. So a dark majority is fluorescence only if
# the rest does not look like transmitted light either: glass and tissue have light in all channels,
# and what is bright without colour is glass.
_LIGHT_IN_ALL_CHANNELS = 80
_GLASS = 200
_MAX_GREY_CHROMA = 10
_MIN_LIT_SHARE = 0.001


def check_brightfield(slide: Slide) -> None:
    """Refuse a slide with a dark background.

    Raises
    ------
    SlideError
        The slide is not a brightfield slide.
    """
    pixels = sample_pixels(slide)
    if has_dark_background(pixels):
        raise SlideError(
            f"{slide.metadata.path}: not a brightfield slide (the background is dark, as in "
            "fluorescence); only stained slides in transmitted light can be used: set split to skip"
        )


def has_dark_background(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels (N, 3) are those of a picture with dark background.

    >>> has_dark_background(np.array([[5, 6, 9], [4, 5, 9], [20, 30, 200]], np.uint8))
    True
    >>> has_dark_background(np.array([[0, 0, 0], [0, 0, 0], [190, 120, 170]], np.uint8))
    False
    """
    brightest, darkest = pixels.max(axis=1), pixels.min(axis=1)
    lit = brightest >= _DARK
    if 2 * lit.sum() >= len(pixels):  # also for no pixels at all
        return False
    if lit.sum() <= _MIN_LIT_SHARE * len(pixels):
        return True
    lowest = darkest[lit]
    is_grey = np.median(brightest[lit] - lowest) < _MAX_GREY_CHROMA
    min_light = _GLASS if is_grey else _LIGHT_IN_ALL_CHANNELS
    return bool(np.median(lowest) < min_light)


def sample_pixels(slide: Slide) -> NDArray[np.uint8]:
    """Pixels (N, 3) from all over a slide; windows that cannot be read are left out."""
    level = len(slide.metadata.level_sizes_px) - 1
    width, height = slide.metadata.level_sizes_px[level]
    samples = []
    for top, bottom in _spans(height):
        for left, right in _spans(width):
            try:
                window = slide.read(level, Window(top, left, bottom - top, right - left))
            except SlideError:
                continue  # the function that tiles the slide reports it
            samples.append(window.reshape(-1, 3))
    return np.concatenate([np.empty((0, 3), np.uint8), *samples])


def _spans(length: int) -> list[tuple[int, int]]:
    """At most _GRID spans of at most _WINDOW_PX from 0 to length, evenly spread."""
    if length <= _GRID * _WINDOW_PX:
        return [(start, min(start + _WINDOW_PX, length)) for start in range(0, length, _WINDOW_PX)]
    last = length - _WINDOW_PX
    starts = [last * i // (_GRID - 1) for i in range(_GRID)]
    return [(start, start + _WINDOW_PX) for start in starts]
