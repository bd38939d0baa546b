"""Which levels of a file show the picture of the full resolution.

A library lists what the file flags as levels. Coarse levels are read in place of the full
resolution: a thumbnail of another shape, or a level that shows another picture, would be tiled
without a message.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slides.backend import Backend
from tiling.slides.read_errors import FileReadError, RefusedFileError

Size = tuple[int, int]  # (width, height), px
Places = list[tuple[float, float]]  # centres of windows (x, y), parts of the width and height

# Sizes of levels are rounded, up or down.
_ROUNDING_PX = 1.5
_CELLS = 4  # windows on each axis
_WINDOW_PX = 32  # largest window of a level
_FINER_WINDOW_PX = 256  # largest window of the finer level that it is compared with
# A level of at most this many pixels is read as a whole, to compare where it has structure.
_SMALL_LEVEL_PX = 1_000_000
# Means of one picture differ by a few grey values: levels are sharpened, compressed, sampled.
_MAX_DIFFERENCE = 30.0
_MAX_DIFFERENT = 1  # windows


class CheckedLevels(NamedTuple):
    """The levels that are used.

    Attributes
    ----------
    levels : their numbers in the file, level 0 first
    remarks : for each level that is not used, why
    """

    levels: tuple[int, ...]
    remarks: tuple[str, ...]


def check_levels(backend: Backend, sizes_px: tuple[Size, ...]) -> CheckedLevels:
    """Choose the levels of one picture: one factor for both axes, and the same mean colours.

    Windows that cannot be read are not compared.

    Parameters
    ----------
    backend : open file
    sizes_px : size of each of its levels

    Raises
    ------
    RefusedFileError
        A level is larger than level 0.
    OSError
        The disk or mount fails.
    """
    width, height = sizes_px[0]
    levels, remarks = [0], []
    places: Places | None = None
    for level, size in enumerate(sizes_px[1:], 1):
        name = f"level {level} of the file ({size[0]} x {size[1]} px) is not used"
        if size[0] * size[1] > width * height:
            raise RefusedFileError(
                f"level {level} ({size[0]} x {size[1]} px) is larger than level 0 "
                f"({width} x {height} px); export it again as a tiled pyramidal TIFF"
            )
        if not one_factor(sizes_px[0], size):
            x, y = width / size[0], height / size[1]
            remarks.append(f"{name}: its factors {x:.4g} (x) and {y:.4g} (y) disagree")
            continue
        if places is None:
            places = _places(backend, sizes_px)
        different_windows = _different_windows(backend, sizes_px, (levels[-1], level), places)
        if different_windows > _MAX_DIFFERENT:
            remarks.append(f"{name}: it shows another picture than level {levels[-1]}")
            continue
        levels.append(level)
    return CheckedLevels(tuple(levels), tuple(remarks))


def one_factor(full: Size, size: Size) -> bool:
    """Whether one factor explains both sides of a level, within the rounding of its size.

    >>> one_factor((1600, 1200), (400, 300)), one_factor((1600, 1200), (512, 512))
    (True, False)
    >>> one_factor((46001, 30001), (718, 469)), one_factor((300, 250), (37, 31))
    (True, True)
    """
    low = [side / (part + _ROUNDING_PX) for side, part in zip(full, size, strict=True)]
    high = [side / max(part - _ROUNDING_PX, 0.1) for side, part in zip(full, size, strict=True)]
    return max(low) <= min(high)


def _different_windows(
    backend: Backend, sizes_px: tuple[Size, ...], levels: tuple[int, int], places: Places
) -> int:
    """Number of windows in which a level has another mean colour than the finer one.

    Parameters
    ----------
    levels : the finer level and the level
    """
    finer, level = levels
    scale_x, scale_y = (a / b for a, b in zip(sizes_px[finer], sizes_px[level], strict=True))
    width, height = sizes_px[level]
    side = max(min(_WINDOW_PX, int(_FINER_WINDOW_PX / max(scale_x, scale_y))), 2)
    different_windows = 0
    for x, y in places:
        window = _window_at(round(x * width), round(y * height), side, sizes_px[level])
        finer_window = _window_at(
            round((window.x + window.width / 2) * scale_x),
            round((window.y + window.height / 2) * scale_y),
            round(side * max(scale_x, scale_y)),
            sizes_px[finer],
        )
        try:
            means = [
                _mean_colour(backend.read(number, part))
                for number, part in ((level, window), (finer, finer_window))
            ]
        except FileReadError:
            continue
        different_windows += bool(np.abs(means[0] - means[1]).max() > _MAX_DIFFERENCE)
    return different_windows


def _mean_colour(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean over rows and columns: sums of whole rows are 20 times as fast as `numpy.mean`."""
    sums = pixels.sum(axis=0, dtype=np.uint32).sum(axis=0)
    return np.asarray(sums / (pixels.shape[0] * pixels.shape[1]), np.float64)


def _window_at(x: int, y: int, side: int, size: Size) -> Window:
    """A square around a pixel, moved into the level."""
    width, height = min(side, size[0]), min(side, size[1])
    left = min(max(x - width // 2, 0), size[0] - width)
    top = min(max(y - height // 2, 0), size[1] - height)
    return Window(top, left, height, width)


def _places(backend: Backend, sizes_px: tuple[Size, ...]) -> Places:
    """One place for each cell of a grid over the slide, where a small level has structure.

    Without a small level: the centres of the cells.
    """
    small_levels = [
        level
        for level, (width, height) in enumerate(sizes_px)
        if width * height <= _SMALL_LEVEL_PX and one_factor(sizes_px[0], (width, height))
    ]
    if not small_levels:
        return [((x + 0.5) / _CELLS, (y + 0.5) / _CELLS) for y, x in _cells()]
    width, height = sizes_px[small_levels[0]]
    try:
        pixels = backend.read(small_levels[0], Window(0, 0, height, width))
    except FileReadError:
        return [((x + 0.5) / _CELLS, (y + 0.5) / _CELLS) for y, x in _cells()]
    distance = np.zeros(pixels.shape[:2])
    for channel in np.moveaxis(pixels, 2, 0):  # faster than the sum over the last axis
        distance += np.abs(channel - np.median(channel))
    return [_most_different(distance, y, x) for y, x in _cells()]


def _cells() -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(_CELLS) for x in range(_CELLS))


def _most_different(distance: NDArray[np.float64], y: int, x: int) -> tuple[float, float]:
    """Place of the block of a cell that differs most from the background."""
    height, width = distance.shape
    top, left = y * height // _CELLS, x * width // _CELLS
    cell = distance[
        top : max((y + 1) * height // _CELLS, top + 1),
        left : max((x + 1) * width // _CELLS, left + 1),
    ]
    side = max(min(*cell.shape) // _CELLS, 1)
    rows, columns = cell.shape[0] // side, cell.shape[1] // side
    blocks = cell[: rows * side, : columns * side].reshape(rows, side, columns, side)
    row, column = np.unravel_index(blocks.mean(axis=(1, 3)).argmax(), (rows, columns))
    return (left + (int(column) + 0.5) * side) / width, (top + (int(row) + 0.5) * side) / height
