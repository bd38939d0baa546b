"""Weighted sums of overlapping tiles on the grid of a store's shards.

The plane is cut at the shards' edges and at the furthest pixel that tiles of the shard before reach: a part then waits for as few tiles
as can be, and what lies open of the shards to come is a strip as thick as the tiles overhang.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_STRIPE_ROWS = 64


def ramp(tile_px: int) -> NDArray[np.float32]:
    """Blending weights along one axis of a tile, positive, largest in the middle; a tile's weights are their outer product.

    >>> ramp(4).tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    place = (np.arange(tile_px) + 0.5) / tile_px
    return np.asarray(np.minimum(place, 1 - place) * 2, np.float32)


class Axis:
    """One axis of the plane: where parts begin, and which parts and shards each tile touches.

    Attributes
    ----------
    edges : int64 (parts + 1,), the last is the side
    start, stop : int64 (N,), each tile inside the plane; stop <= start when it lies outside
    part, shard : int64 (N, 2), first and last that a tile touches
    shard_of : int64 (parts,)
    """

    def __init__(self, origins_px: NDArray[np.int64], tile_px: int, side_px: int, *, shard_px: int, part_px: int) -> None:
        self.start, self.stop = np.maximum(origins_px, 0), np.minimum(origins_px + tile_px, side_px)
        shards = np.arange(0, side_px, shard_px, dtype=np.int64)
        ordered = np.sort(self.start)
        before = np.searchsorted(ordered, shards)
        reach = np.where(before > 0, ordered[before - 1] + tile_px, 0) if len(ordered) else np.zeros_like(shards)
        cuts = np.concatenate([shards, np.clip(reach, shards, side_px), np.arange(0, side_px, part_px), [side_px]])
        self.edges = np.unique(cuts)
        self.shard_of = self.edges[:-1] // shard_px
        last = np.maximum(self.stop - 1, 0)
        self.part = np.searchsorted(self.edges, np.stack([self.start, last], axis=1), side="right") - 1
        self.shard = np.stack([self.start, last], axis=1) // shard_px


class Window(NamedTuple):
    """Rows and columns of the plane."""

    y: int
    x: int
    height: int
    width: int


class Part:
    """A rectangle of the plane, and the tiles added to it so far.

    Attributes
    ----------
    sums : float32 (maps, h, w), weighted
    """

    def __init__(self, window: Window, maps: int, tile_px: int) -> None:
        self.window = window
        self.sums = np.zeros((maps, window.height, window.width), np.float32)
        self._tile_px = tile_px
        self._columns: dict[int, list[int]] = {}

    def add(self, weighted: NDArray[np.float32], y: int, x: int) -> None:
        """Add the tile whose first pixel is (y, x), where it meets this part.

        Parameters
        ----------
        weighted : float32 (maps, T, T), times the tile's weights
        """
        part, side = self.window, self._tile_px
        top, left = max(y, part.y), max(x, part.x)
        bottom, right = min(y + side, part.y + part.height), min(x + side, part.x + part.width)
        target = self.sums[:, top - part.y : bottom - part.y, left - part.x : right - part.x]
        np.add(target, weighted[:, top - y : bottom - y, left - x : right - x], out=target)
        self._columns.setdefault(y, []).append(x)

    def total(self) -> NDArray[np.float32]:
        """Sum of the weights of the tiles added, float32 (h, w); 0 where there is none.

        Tiles of one row share their weights along y, so that a row of tiles costs one outer product.
        """
        part, along = self.window, ramp(self._tile_px)
        total = np.zeros((part.height, part.width), np.float32)
        for y, columns in self._columns.items():
            profile = np.zeros(part.width, np.float32)
            for x in columns:
                left, right = max(x, part.x), min(x + self._tile_px, part.x + part.width)
                profile[left - part.x : right - part.x] += along[left - x : right - x]
            top, bottom = max(y, part.y), min(y + self._tile_px, part.y + part.height)
            total[top - part.y : bottom - part.y] += along[top - y : bottom - y, None] * profile
        return total

    def codes(self, seen: NDArray[np.bool_], total: NDArray[np.float32], *, signed: int) -> NDArray[np.uint8]:
        """Means as codes: round(255 p), and round((s + 1) 127.5) of map `signed`; uint8 (maps, h, w), 0 outside `seen`.

        The sums are used up.
        """
        codes = np.empty(self.sums.shape, np.uint8)
        scale = np.zeros_like(total)
        np.divide(255, total, out=scale, where=seen)
        middle = seen * np.float32(127.5)
        for top in range(0, self.window.height, _STRIPE_ROWS):  # a stripe stays in the processor's cache
            rows = slice(top, top + _STRIPE_ROWS)
            for index, sums in enumerate(self.sums):
                values = sums[rows]
                np.multiply(values, scale[rows], out=values)
                if index == signed:
                    np.multiply(values, np.float32(0.5), out=values)
                    np.add(values, middle[rows], out=values)
                np.rint(values, out=values)
                np.clip(values, 0, 255, out=values)
                np.copyto(codes[index, rows], values, casting="unsafe")
        return codes


class Plane:
    """Which parts and shards there are, and how many tiles each part waits for.

    Attributes
    ----------
    order : int64 (N,), tiles shard by shard in raster order, and in raster order within: of a shard's neighbours only strips lie open
    parts_of_shard : int64 (shard rows, shard columns), parts that any tile touches
    """

    def __init__(self, origins_yx_px: NDArray[np.int64], tile_px: int, shape: tuple[int, int], *, shard_px: tuple[int, int]) -> None:
        self.origins, self.tile_px = origins_yx_px, tile_px
        self.rows, self.columns = (
            Axis(origins_yx_px[:, axis], tile_px, shape[axis], shard_px=shard_px[axis], part_px=part)
            for axis, part in enumerate((-(-shard_px[0] // 8), shard_px[1]))
        )
        self.order = np.lexsort((origins_yx_px[:, 1], origins_yx_px[:, 0], self.columns.shard[:, 0], self.rows.shard[:, 0]))
        self.inside = (self.rows.stop > self.rows.start) & (self.columns.stop > self.columns.start)
        self._waiting = self._tiles_of_parts()
        shards = (-(-shape[0] // shard_px[0]), -(-shape[1] // shard_px[1]))
        self.parts_of_shard = np.zeros(shards, np.int64)
        touched = np.argwhere(self._waiting > 0)
        np.add.at(self.parts_of_shard, (self.rows.shard_of[touched[:, 0]], self.columns.shard_of[touched[:, 1]]), 1)

    def parts_of(self, tile: int) -> Iterator[tuple[int, int]]:
        """Parts (row, column) that a tile touches."""
        if not self.inside[tile]:
            return
        (top, bottom), (left, right) = self.rows.part[tile].tolist(), self.columns.part[tile].tolist()
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                yield row, column

    def shard_of(self, part: tuple[int, int]) -> tuple[int, int]:
        """Shard (row, column) that holds a part."""
        return int(self.rows.shard_of[part[0]]), int(self.columns.shard_of[part[1]])

    def window(self, part: tuple[int, int]) -> Window:
        """Where a part lies."""
        (y, x), (bottom, right) = ((int(self.rows.edges[part[0] + k]), int(self.columns.edges[part[1] + k])) for k in (0, 1))
        return Window(y, x, bottom - y, right - x)

    def is_last(self, part: tuple[int, int]) -> bool:
        """Count one tile of a part; whether none is missing any more."""
        self._waiting[part] -= 1
        return bool(self._waiting[part] == 0)

    def needs(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tiles that touch a wanted shard.

        Parameters
        ----------
        wanted : bool (shard rows, shard columns)
        """
        sums = np.pad(wanted.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        (top, bottom), (left, right) = self.rows.shard.T, self.columns.shard.T
        found = np.zeros(len(self.origins), bool)
        i = np.flatnonzero(self.inside)
        top, bottom, left, right = top[i], bottom[i] + 1, left[i], right[i] + 1
        found[i] = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left] > 0
        return found

    def _tiles_of_parts(self) -> NDArray[np.int64]:
        counts = np.zeros((len(self.rows.edges), len(self.columns.edges)), np.int64)
        (top, bottom), (left, right) = self.rows.part[self.inside].T, self.columns.part[self.inside].T
        for row, column, sign in ((top, left, 1), (bottom + 1, left, -1), (top, right + 1, -1), (bottom + 1, right + 1, 1)):
            np.add.at(counts, (row, column), sign)
        return counts.cumsum(0).cumsum(1)
