"""Weighted sums of overlapping tiles on the grid of a store's shards.

The plane is cut at the shards' edges and at the furthest pixel that tiles of the shard before reach: a part then waits for as few tiles
as can be, and what lies open of the shards to come is a strip as thick as the tiles overhang.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.blending import axis_weights, tile_weights
from tiling.raster.geometry import Window
from tiling.raster.quantise import quantise_scaled_means

_ROWS_OF_PARTS = 4  # in a shard: sums stay near a processor's cache, and each step of numpy is long enough to be worth a thread


class Axis:
    """One axis of the plane: where parts begin, and which parts and shards each tile touches.

    Attributes
    ----------
    edges : int64 (parts + 1,), the last is the side
    start, stop : int64 (N,), each tile inside the plane; stop <= start when it lies outside
    part, shard : int64 (N, 2), first and last that a tile touches
    shard_of : int64 (parts,)
    """

    def __init__(
        self,
        origins_px: NDArray[np.int64],
        tile_px: int,
        side_px: int,
        *,
        shard_px: int,
        part_px: int,
    ) -> None:
        self.start, self.stop = np.maximum(origins_px, 0), np.minimum(origins_px + tile_px, side_px)
        shards = np.arange(0, side_px, shard_px, dtype=np.int64)
        ordered = np.sort(self.start)
        before = np.searchsorted(ordered, shards)
        reach = (
            np.where(before > 0, ordered[before - 1] + tile_px, 0)
            if len(ordered)
            else np.zeros_like(shards)
        )
        cuts = np.concatenate(
            [shards, np.clip(reach, shards, side_px), np.arange(0, side_px, part_px), [side_px]]
        )
        self.edges = np.unique(cuts)
        self.shard_of = self.edges[:-1] // shard_px
        last = np.maximum(self.stop - 1, 0)
        self.part = (
            np.searchsorted(self.edges, np.stack([self.start, last], axis=1), side="right") - 1
        )
        self.shard = np.stack([self.start, last], axis=1) // shard_px


class Piece(NamedTuple):
    """Where a tile meets a part.

    Attributes
    ----------
    maps : float32 (maps, h, w)
    y, x : of the tile's first pixel in the plane
    rows, columns : in the part
    inside : rows and columns in the tile
    """

    maps: NDArray[np.float32]
    y: int
    x: int
    rows: slice
    columns: slice
    inside: tuple[slice, slice]


class Part:
    """A rectangle of the plane, and the tiles that meet it, which are added up when none is missing.

    Only then are there sums, of one map at a time: they stay in the processor's cache.
    """

    def __init__(self, window: Window, tile_px: int) -> None:
        self.window = window
        self._tile_px = tile_px
        self._pieces: list[Piece] = []

    def add(self, maps: NDArray[np.float32], y: int, x: int, *, copy: bool) -> None:
        """Take the tile whose first pixel is (y, x), where it meets this part; tiles are added up in the order they come.

        Parameters
        ----------
        maps : float32 (maps, T, T)
        copy : keep what is needed, not the whole tile
        """
        part, side = self.window, self._tile_px
        top, left = max(y, part.y), max(x, part.x)
        bottom, right = min(y + side, part.y + part.height), min(x + side, part.x + part.width)
        inside = slice(top - y, bottom - y), slice(left - x, right - x)
        here = maps[:, *inside]
        rows, columns = slice(top - part.y, bottom - part.y), slice(left - part.x, right - part.x)
        self._pieces.append(Piece(here.copy() if copy else here, y, x, rows, columns, inside))

    def codes(
        self,
        out: NDArray[np.uint8],
        room: "Room",
        *,
        within: NDArray[np.bool_] | None,
        signed: int | None,
    ) -> None:
        """Quantised means; map number `signed` is the sdf.

        Parameters
        ----------
        out : uint8 (maps, h, w), stays as it is where there is no tile, or outside `within`
        within : bool (h, w)
        """
        height, width = out.shape[1:]
        sums = room.sums[: height * width].reshape(height, width)
        factors, seen = self._factors(room.scale[: height * width].reshape(height, width), within)
        if seen is not None and not seen.any():
            return
        for index, code in enumerate(out):
            sums.fill(0)
            for piece in self._pieces:
                values = piece.maps[index]
                values = np.multiply(
                    values,
                    room.weights[piece.inside],
                    out=room.weighted[: values.shape[0], : values.shape[1]],
                )
                target = sums[piece.rows, piece.columns]
                np.add(target, values, out=target)
            for factor in factors:
                np.multiply(sums, factor, out=sums)
            quantise_scaled_means(sums, code, is_sdf=index == signed, where=seen)

    def _factors(
        self, room: NDArray[np.float32], within: NDArray[np.bool_] | None
    ) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_] | None]:
        """What sums are multiplied by to be 255 times means, one after the other, and where they mean something (None: everywhere).

        Of a whole grid of tiles the weights are an outer product: a column and a row are less to read than a plane.
        """
        totals = self._totals(room.shape)
        if len(totals) == 1 and all(axis.all() for axis in totals[0]):
            down, across = totals[0]
            return [np.float32(255) / down[:, None], np.float32(1) / across[None, :]], within
        room.fill(0)
        for down, across in totals:
            np.add(room, np.einsum("y,x->yx", down, across), out=room)
        seen = room > 0 if within is None else (room > 0) & within
        np.copyto(room, np.inf, where=~seen)
        np.divide(255, room, out=room)
        return [room], seen

    def _totals(
        self, shape: tuple[int, ...]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Sum of the weights of the tiles added, as outer products (down, across) that add up to it.

        A tile's weights are an outer product, and so are those of rows of tiles in the same columns together: of a whole grid it is one.
        """
        along = axis_weights(self._tile_px)
        rows: dict[int, dict[int, Piece]] = {}
        for piece in self._pieces:
            rows.setdefault(piece.y, {})[piece.x] = piece
        alike: dict[tuple[int, ...], list[dict[int, Piece]]] = {}
        for row in rows.values():
            alike.setdefault(tuple(sorted(row)), []).append(row)
        totals = []
        for group in alike.values():
            down, across = (np.zeros(side, np.float32) for side in shape)
            for row in group:
                piece = next(iter(row.values()))
                down[piece.rows] += along[piece.inside[0]]
            for piece in group[0].values():
                across[piece.columns] += along[piece.inside[1]]
            totals.append((down, across))
        return totals


class Room:
    """Arrays that one thread works in, part after part: memory that is new costs as much as the sums do.

    Attributes
    ----------
    weights, weighted : float32 (T, T), a tile's weights, and what is multiplied by them
    sums, scale : float32 (n,), enough for any part
    """

    def __init__(self, plane: "Plane") -> None:
        self.weights = tile_weights(plane.tile_px)
        self.weighted = np.empty_like(self.weights)
        largest = int(np.diff(plane.rows.edges).max(initial=0)) * int(
            np.diff(plane.columns.edges).max(initial=0)
        )
        self.sums, self.scale = (np.empty(largest, np.float32) for _ in range(2))


class Plane:
    """Which parts and shards there are, and how many tiles each part waits for.

    Attributes
    ----------
    order : int64 (N,), tiles shard by shard in raster order, and in raster order within: of a shard's neighbours only strips lie open
    parts_of_shard : int64 (shard rows, shard columns), parts that any tile touches
    """

    def __init__(
        self,
        origins_yx_px: NDArray[np.int64],
        tile_px: int,
        shape: tuple[int, int],
        *,
        shard_px: tuple[int, int],
    ) -> None:
        self.origins, self.tile_px = origins_yx_px, tile_px
        self.rows, self.columns = (
            Axis(
                origins_yx_px[:, axis], tile_px, shape[axis], shard_px=shard_px[axis], part_px=part
            )
            for axis, part in enumerate((-(-shard_px[0] // _ROWS_OF_PARTS), shard_px[1]))
        )
        self.order = np.lexsort(
            (
                origins_yx_px[:, 1],
                origins_yx_px[:, 0],
                self.columns.shard[:, 0],
                self.rows.shard[:, 0],
            )
        )
        self.inside = (self.rows.stop > self.rows.start) & (self.columns.stop > self.columns.start)
        self._waiting = self._tiles_of_parts()
        self._shard_of = self.rows.shard_of.tolist(), self.columns.shard_of.tolist()
        shards = (-(-shape[0] // shard_px[0]), -(-shape[1] // shard_px[1]))
        self.parts_of_shard = np.zeros(shards, np.int64)
        touched = np.argwhere(self._waiting > 0)
        np.add.at(
            self.parts_of_shard,
            (self.rows.shard_of[touched[:, 0]], self.columns.shard_of[touched[:, 1]]),
            1,
        )

    def parts_of(self, tile: int) -> Iterator[tuple[int, int]]:
        """Parts (row, column) that a tile touches."""
        if not self.inside[tile]:
            return
        (top, bottom), (left, right) = (
            self.rows.part[tile].tolist(),
            self.columns.part[tile].tolist(),
        )
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                yield row, column

    def shard_of(self, part: tuple[int, int]) -> tuple[int, int]:
        """Shard (row, column) that holds a part."""
        return self._shard_of[0][part[0]], self._shard_of[1][part[1]]

    def window(self, part: tuple[int, int]) -> Window:
        """Where a part lies."""
        (y, x), (bottom, right) = (
            (int(self.rows.edges[part[0] + k]), int(self.columns.edges[part[1] + k]))
            for k in (0, 1)
        )
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
        (top, bottom), (left, right) = (
            self.rows.part[self.inside].T,
            self.columns.part[self.inside].T,
        )
        for row, column, sign in (
            (top, left, 1),
            (bottom + 1, left, -1),
            (top, right + 1, -1),
            (bottom + 1, right + 1, 1),
        ):
            np.add.at(counts, (row, column), sign)
        return counts.cumsum(0).cumsum(1)
