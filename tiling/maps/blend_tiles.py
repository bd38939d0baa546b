"""Overlapping tile predictions -> slide-level maps, shard by shard.

Every tile is weighted by a positive tent, and weighted sums are divided by the sum of weights. A shard is written when no tile is missing
in it, and forgotten: memory grows with the width of a slide by what tiles reach over into the next row of shards, tile by tile: a large
overlap of tiles costs memory too.
All arithmetic is done in threads beside the one that predicts.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tiling.maps.weighted_sums import Part, Plane, Room
from tiling.raster.blending import PredictTiles
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import SHARD_PX, create_array, create_group
from tiling.stores.atomic_store import UnfinishedStore, write_store
from tiling.stores.layout import MapStore
from tiling.stores.shards import ShardWriter

log = logging.getLogger(__name__)

MAPS = ("gland", "sdf", "boundary", "disagreement")
_AT_ONCE = "most_at_once"  # a key of the journal, beside those of shards

Within = Callable[
    [tuple[int, int, int, int]], NDArray[np.bool_]
]  # (y, x, h, w) stored pixels -> bool (h, w)


class AtOnce(Protocol):
    """What learns how many tiles fit into memory at once; None: as many as are given."""

    max_tiles_at_once: int | None


class Images(Protocol):
    """Tiles by index: anything with a uint8 (3, T, T) `image`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...  # noqa: ANN401  # a Tile


def blend_to_store(
    store: Path,
    *,
    slide: str,
    geometry: Geometry,
    source: Images,
    origins_yx_px: NDArray[np.int64],
    tile_px: int,
    predict: PredictTiles,
    batch: int,
    parameters: dict[str, Any],
    model: dict[str, Any],
    progress: bool,
    code_version: int,
    within: Within | None = None,
    inputs: dict[str, Any] | None = None,
    readers: int = 1,
    workers: int = 1,
    names: tuple[str, ...] = MAPS,
    memory: AtOnce | None = None,
) -> None:
    """Predict the tiles of a slide and blend them into `maps/{slide}.zarr`.

    A run that was killed goes on with the shards that are missing: tiles that reach into them are predicted again, in the same batches.

    Parameters
    ----------
    store : the maps' store; appears whole or not at all
    geometry : frame of the maps, that of the tiles
    source : tile i's image, uint8 (3, T, T), in the order of `origins_yx_px`
    origins_yx_px : int64 (N, 2), (y, x) of each tile's first stored pixel; tiles may overhang the slide
    tile_px : T
    predict : uint8 (B, 3, T, T) -> float32 (B, 4, T, T): gland, sdf in [-1, 1], boundary, disagreement; never written again
    batch : B; the last batch may be smaller
    parameters, model : kept in the attributes, with `code_version`
    within : bool (h, w) of a window (y, x, h, w): maps are 0 where it is False (glass); None: everywhere
    inputs : what else the bytes depend on (JSON): a killed run of other tiles or weights is not gone on with
    readers : threads that read tiles ahead, a batch each
    workers : threads that blend, encode and write; the maps do not depend on it
    names : maps that `predict` gives
    memory : of `predict`, when it takes fewer tiles at once after memory ran out: kept in the attributes, and by a run that goes on
    """
    given = {
        "parameters": parameters,
        "model": model,
        "version": code_version,
        "geometry": geometry.to_dict(),
        "tile_px": tile_px,
    }
    with write_store(store, {**given, "inputs": inputs}) as partial:
        group = create_group(partial.folder)
        shape = (geometry.height_px, geometry.width_px)
        writers = [
            ShardWriter(create_array(group, name, shape, np.uint8, shard_px=SHARD_PX))
            for name in names
        ]
        plane = Plane(origins_yx_px, tile_px, shape, shard_px=writers[0].shard_px)
        signed = names.index("sdf") if "sdf" in names else None
        with _Sums(plane, writers, partial, within=within, signed=signed, workers=workers) as sums:
            needed = plane.needs(sums.missing)
            # Batches stay what they are in a run from the start: a network's answer may depend on its batch, by rounding.
            batches = [
                plane.order[start : start + batch] for start in range(0, len(plane.order), batch)
            ]
            batches = [rows for rows in batches if needed[rows].any()]
            tiles = np.concatenate(batches) if batches else np.zeros(0, np.int64)
            shown = tqdm(
                _predicted(
                    source,
                    batches,
                    predict if memory is None else _noted(predict, memory, partial),
                    readers,
                ),
                total=len(tiles),
                desc=slide,
                unit="tile",
                disable=not progress,
                mininterval=5,
            )
            for tile, maps in zip(tiles.tolist(), shown, strict=True):
                sums.add(tile, maps)
        MapStore(
            slide=slide,
            geometry=geometry,
            tiles=len(origins_yx_px),
            most_at_once=None if memory is None else memory.max_tiles_at_once,
            parameters=parameters,
            model=model,
            version=code_version,
        ).write(group)


def _noted(predict: PredictTiles, memory: AtOnce, partial: UnfinishedStore) -> PredictTiles:
    """`predict`, with what fits into memory at once in the journal: a run that goes on starts there, and does not run out again."""
    if partial.is_finished(_AT_ONCE):
        memory.max_tiles_at_once = partial.note(_AT_ONCE)
        log.info("at most %d tiles at once, as before", memory.max_tiles_at_once)

    def predict_and_note(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        before = memory.max_tiles_at_once
        maps = predict(images)
        if memory.max_tiles_at_once != before:
            partial.record_finished(_AT_ONCE, memory.max_tiles_at_once)
        return maps

    return predict_and_note


def _predicted(
    source: Images, batches: list[NDArray[np.int64]], predict: PredictTiles, readers: int
) -> Iterator[NDArray[np.float32]]:
    """Maps of the tiles in order; as many batches as there are readers are read while one is predicted."""

    def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([source[int(row)].image for row in rows])

    with ThreadPoolExecutor(readers) as pool:
        ahead = deque(pool.submit(read, rows) for rows in batches[:readers])
        for number in range(len(batches)):
            images = ahead.popleft().result()
            if number + readers < len(batches):
                ahead.append(pool.submit(read, batches[number + readers]))
            yield from predict(images)


class _Sums:
    """Hands tiles to the parts of a plane; parts without a missing tile are blended, and whole shards written, in threads beside.

    Attributes
    ----------
    missing : bool (shard rows, shard columns), shards with tiles that no earlier run has written
    """

    def __init__(
        self,
        plane: Plane,
        writers: list[ShardWriter],
        partial: UnfinishedStore,
        *,
        within: Within | None,
        signed: int | None,
        workers: int,
    ) -> None:
        self._plane, self._writers, self._partial, self._within = plane, writers, partial, within
        self._parts_left = plane.parts_of_shard.copy()
        self.missing = plane.parts_of_shard > 0
        for shard in np.argwhere(self.missing).tolist():
            self.missing[tuple(shard)] = not partial.is_finished(_key(*shard))
        self._open: dict[tuple[int, int], Part] = {}
        self._codes: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._change = threading.Lock()
        self._rooms: SimpleQueue[Room] = SimpleQueue()
        for _ in range(workers):
            self._rooms.put(Room(plane))
        self._signed, self._workers = signed, workers
        self._pool = ThreadPoolExecutor(workers)
        self._finishing: deque[Future[None]] = deque()

    def __enter__(self) -> "_Sums":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()  # what is complete is written even when the next prediction failed
        if error[0] is None:
            self._wait(0)
            return
        for future in self._finishing:
            if (why := future.exception()) is not None and why is not error[1]:
                log.error("blending failed as well: %s: %s", type(why).__name__, why)

    def add(self, tile: int, maps: NDArray[np.float32]) -> None:
        """Take one tile, cut at the slide's edge."""
        y, x = self._plane.origins[tile].tolist()
        own = None
        for place in self._plane.parts_of(tile):
            shard = self._plane.shard_of(place)
            own = own or shard
            if not self.missing[shard]:
                continue
            part = self._open.get(place)
            if part is None:
                part = self._open[place] = Part(self._plane.window(place), self._plane.tile_px)
            # Shards to come may be a whole row of the slide away: of a tile, they keep the strip it reaches over.
            part.add(maps, y, x, copy=shard != own)
            if self._plane.is_last(place):
                # Tiles of a part are many bytes: no more of them wait than are worked on.
                self._wait(2 * self._workers - 1)
                self._finishing.append(
                    self._pool.submit(self._finish, shard, self._open.pop(place))
                )

    def _wait(self, most: int) -> None:
        while len(self._finishing) > most:
            self._finishing.popleft().result()

    def _finish(self, shard: tuple[int, int], part: Part) -> None:
        """Blend and encode a part, and write its shard when it was the last one."""
        y, x, height, width = part.window
        writer = self._writers[0]
        top, left = (index * side for index, side in zip(shard, writer.shard_px, strict=True))
        with self._change:
            if shard not in self._codes:
                size = (
                    min(side, full - start)
                    for side, full, start in zip(
                        writer.shard_px, writer.shape_px, (top, left), strict=True
                    )
                )
                self._codes[shard] = np.zeros((len(self._writers), *size), np.uint8)
            codes = self._codes[shard]
        within = None if self._within is None else self._within((y, x, height, width))
        room = self._rooms.get()
        try:
            part.codes(
                codes[:, y - top : y - top + height, x - left : x - left + width],
                room,
                within=within,
                signed=self._signed,
            )
        finally:
            self._rooms.put(room)
        with self._change:
            self._parts_left[shard] -= 1
            last = self._parts_left[shard] == 0
            if last:
                del self._codes[shard]
        if last:
            for one, pixels in zip(self._writers, codes, strict=True):
                one.write_pixels(shard, pixels)
            self._partial.record_finished(_key(*shard))


def _key(row: int, column: int) -> str:
    return f"{row}/{column}"
