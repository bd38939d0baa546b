"""Which windows of a slide are predicted, trained on, sampled and used for validation.

A table of windows is int64 (N, 4): y, x, height, width in stored pixels. Windows may overhang the
slide.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.layout import LabelStore, TileStore
from tiling.stores.window_reading import read_window

_MIN_ANNOTATED_SHARE = 0.1
WindowTable = NDArray[np.int64]


def tile_windows(tiles: Path) -> WindowTable:
    """Windows of the tiles with status 0, in the order of the tile table.

    Raises
    ------
    SlideError
        The slide failed: the recorded error.
    """
    side = TileStore.read(tiles).tile_px
    table = read_table(tiles, TileStore.TABLE, ("origin_yx_px", "status"))
    origins = table["origin_yx_px"][table["status"] == 0]
    return np.concatenate([origins, np.full_like(origins, side)], axis=1)


def sample_windows(tiles: Path, *, count: int, read_px: int, seed: int) -> WindowTable:
    """Windows around the centres of randomly chosen tiles with status 0, in table order.

    Parameters
    ----------
    tiles : tile store
    count : number of tiles, drawn without replacement; all tiles where there are fewer
    read_px : side of the windows (a tile, and the margin that augmentation needs)
    seed : of the draw, together with the slide's own fingerprint: slides of the same size must not
        give the same places
    """
    windows = tile_windows(tiles)
    slide_seed = int(TileStore.read(tiles).fingerprint[:8], 16)
    chosen = np.random.default_rng([seed, slide_seed]).permutation(len(windows))[:count]
    kept = windows[np.sort(chosen)]
    centre = kept[:, :2] + kept[:, 2:] // 2
    return np.concatenate([centre - read_px // 2, np.full_like(centre, read_px)], axis=1)


def region_windows(labels: Path, *, read_px: int, stride_px: int) -> WindowTable:
    """Windows to train on, at a dense stride around every region, in raster order without repeats.

    The core of a window is the square of half its side in its centre. A window is used when at
    least 10 % of its core is annotated. In a small region no core reaches 10 %. There a window is
    used when its core has at least half as many annotated pixels as the best core of that region.

    Parameters
    ----------
    labels : label store
    read_px : side of the windows
    stride_px : step between the origins of windows

    Raises
    ------
    SlideError
        The slide or its annotation failed: the recorded error.
    """
    regions = LabelStore.read(labels).regions
    weight = open_array(open_store(labels), "weight")
    origins: set[tuple[int, int]] = set()
    for region in regions:
        origins.update(_origins_around(weight, region.window, read_px, stride_px))
    table = np.array(sorted(origins), np.int64).reshape(-1, 2)
    return np.concatenate([table, np.full_like(table, read_px)], axis=1)


class RegionParts(NamedTuple):
    """Parts of annotated regions.

    Attributes
    ----------
    windows_px : int64 (N, 4); the last part of a region may overhang it and reach into another one
    regions : int64 (N,), number of the region of each part, as in the array `region`
    """

    windows_px: WindowTable
    regions: NDArray[np.int64]

    def chosen(self, rows: NDArray[np.bool_]) -> "RegionParts":
        """Some of the parts: bool (N,)."""
        return RegionParts(self.windows_px[rows], self.regions[rows])


def region_parts(labels: Path, *, max_px: int, multiple: int = 16) -> RegionParts:
    """Windows that cover each region's bounding window once, in parts of nearly equal size.

    Parameters
    ----------
    labels : label store
    max_px : longest side of a part
    multiple : sides are rounded up to multiples of this, because the network halves its input four
        times
    """
    parts: list[Window] = []
    numbers: list[int] = []
    for number, region in enumerate(LabelStore.read(labels).regions, start=1):
        y, x, height, width = region.window
        columns = partition_axis(width, max_px, multiple)
        for top, part_height in partition_axis(height, max_px, multiple):
            for left, part_width in columns:
                parts.append(Window(y + top, x + left, part_height, part_width))
                numbers.append(number)
    return RegionParts(np.array(parts, np.int64).reshape(-1, 4), np.array(numbers, np.int64))


def _origins_around(
    weight: Any,  # noqa: ANN401  # zarr.Array
    region: Window,
    read_px: int,
    stride_px: int,
) -> list[tuple[int, int]]:
    """Origins (y, x) of the windows that are used for one region."""
    core = max(read_px // 2, 1)
    margin = (read_px - core) // 2
    core_rows = core_origins(region.y, region.height, core, stride_px)
    core_columns = core_origins(region.x, region.width, core, stride_px)
    left, width = int(core_columns[0]), int(core_columns[-1] - core_columns[0]) + core
    offsets = core_columns - left
    annotated = np.zeros((len(core_rows), len(core_columns)), np.int64)  # pixels in each core
    # One band of rows at a time: the weights of a slide annotated as a whole do not fit in memory.
    for row, top in enumerate(core_rows):
        band = read_window(weight, (int(top), left, core, width), fill=0) > 0
        sums = np.concatenate([[0], band.sum(axis=0, dtype=np.int64).cumsum()])
        annotated[row] = sums[offsets + core] - sums[offsets]
    used = np.argwhere(_is_used(annotated, core))
    return [(int(core_rows[i]) - margin, int(core_columns[j]) - margin) for i, j in used]


def _is_used(annotated: NDArray[np.int64], core: int) -> NDArray[np.bool_]:
    """Whether a window is used, from the number of annotated pixels in its core."""
    least = min(_MIN_ANNOTATED_SHARE * core * core, annotated.max() / 2)
    used: NDArray[np.bool_] = (annotated > 0) & (annotated >= least)
    return used


def window_count(height: int, width: int, *, read_px: int, stride_px: int) -> int:
    """Number of training windows of one rectangular region, without reading any label.

    Parameters
    ----------
    height, width : of the region, stored pixels
    read_px, stride_px : see `region_windows`
    """
    core = max(read_px // 2, 1)

    def overlaps(size: int) -> NDArray[np.int64]:
        origins = core_origins(0, size, core, stride_px)
        return np.minimum(origins + core, size) - np.maximum(origins, 0)

    annotated = np.outer(overlaps(height), overlaps(width))
    return int(_is_used(annotated, core).sum())


def core_origins(start: int, size: int, core: int, stride: int) -> NDArray[np.int64]:
    """Origins of cores along one axis of a region, on a grid that is centred on the region.

    Parameters
    ----------
    start, size : first pixel and length of the region
    core : length of a core; every core touches the region
    stride : step between cores
    """
    centred = start + (size - core) // 2
    steps = (centred - (start - core)) // stride
    return centred + np.arange(-steps, steps + 1, dtype=np.int64) * stride


def partition_axis(size: int, max_px: int, multiple: int) -> list[tuple[int, int]]:
    """(start, length) of parts that cover [0, size), each a multiple long and at most max_px.

    >>> partition_axis(100, 64, 16), partition_axis(10, 64, 16)
    ([(0, 64), (64, 48)], [(0, 16)])

    Raises
    ------
    ValueError
        `max_px` is less than `multiple`.
    """
    longest = max_px // multiple * multiple
    if longest < 1:
        raise ValueError(
            f"max_px {max_px} is less than {multiple}, which every side must be a multiple of"
        )
    count = -(-size // longest)
    side = -(-size // (count * multiple)) * multiple
    parts = []
    for start in range(0, size, side):
        rest = -(-(size - start) // multiple) * multiple
        parts.append((start, min(side, rest)))
    return parts
