"""Overlapping tile predictions -> slide-level maps, streamed in bands of rows.

Every tile is weighted by a positive tent, weighted sums are divided by the sum of weights, and rows that no later tile reaches are
written and forgotten: memory grows with the width of a slide, not with its area.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tiling.geometry import Geometry
from tiling.store.arrays import SHARD_PX, create_array, create_group, set_attributes
from tiling.store.atomic import building

MAPS = ("gland", "sdf", "boundary", "disagreement")
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # uint8 (B, 3, T, T) -> float32 (B, 4, T, T)


class Images(Protocol):
    """Tiles by index: anything with a uint8 (3, T, T) `image`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...  # noqa: ANN401  # a Tile


def window(tile_px: int) -> NDArray[np.float32]:
    """Blending weights of a tile, float32 (T, T), positive, largest in the middle.

    >>> window(4)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    ramp = (np.arange(tile_px) + 0.5) / tile_px
    tent = np.minimum(ramp, 1 - ramp) * 2
    return np.asarray(tent[:, None] * tent[None, :], np.float32)


def encode(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float32 (4, ...) maps -> codes: probabilities round(255 p), signed distance round((s + 1) 127.5)."""
    scaled = maps * np.float32(255)
    scaled[1] = (maps[1] + 1) * np.float32(127.5)
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def blend_to_store(
    store: Path,
    *,
    slide: str,
    geometry: Geometry,
    source: Images,
    origins_yx_px: NDArray[np.int64],
    tile_px: int,
    predict: Predict,
    batch: int,
    parameters: dict[str, Any],
    model: dict[str, Any],
    progress: bool,
    code_version: int,
) -> None:
    """Predict the tiles of a slide and blend them into `maps/{slide}.zarr`.

    Parameters
    ----------
    store : the maps' store; appears whole or not at all
    geometry : frame of the maps, that of the tiles
    source : tile i's image, uint8 (3, T, T), in the order of `origins_yx_px`
    origins_yx_px : int64 (N, 2), (y, x) of each tile's first stored pixel; tiles may overhang the slide
    tile_px : T
    predict : uint8 (B, 3, T, T) -> float32 (B, 4, T, T): gland, sdf in [-1, 1], boundary, disagreement
    batch : B; the last batch may be smaller
    parameters, model : kept in the attributes, with `code_version`
    """
    order = np.lexsort((origins_yx_px[:, 1], origins_yx_px[:, 0]))
    given = {"parameters": parameters, "model": model, "version": code_version, "geometry": geometry.to_dict(), "tile_px": tile_px}
    with building(store, given, keep_partial=False) as partial:
        group = create_group(partial.folder)
        shape = (geometry.height_px, geometry.width_px)
        arrays = [create_array(group, name, shape, np.uint8) for name in MAPS]
        band = _Band(shape, arrays, tile_px)
        predictions = _predicted(source, order, predict, batch)
        shown = tqdm(predictions, total=len(order), desc=slide, unit="tile", disable=not progress, mininterval=5)
        for row, maps in zip(order, shown, strict=True):
            y, x = (int(value) for value in origins_yx_px[row])
            band.flush_above(y)
            band.add(maps, y, x)
        band.flush_above(shape[0])
        attrs = {"status": "ok", "slide": slide, "geometry": geometry.to_dict(), "tiles": len(order)}
        set_attributes(group, {**attrs, "parameters": parameters, "model": model, "version": code_version})


def _predicted(source: Images, order: NDArray[np.int64], predict: Predict, batch: int) -> Iterator[NDArray[np.float32]]:
    """Maps of the tiles in order; the next batch is read while this one is predicted."""
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]

    def read(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([source[int(row)].image for row in rows])

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, batches[0]) if batches else None
        for number in range(len(batches)):
            assert ahead is not None
            images = ahead.result()
            ahead = reader.submit(read, batches[number + 1]) if number + 1 < len(batches) else None
            yield from predict(images)


class _Band:
    """Weighted sums of the rows that are not final yet: `first` is the stored row of the accumulators' first row."""

    def __init__(self, shape: tuple[int, int], arrays: list[Any], tile_px: int) -> None:
        self.shape = shape
        self.arrays = arrays
        self.weights = window(tile_px)
        self.tile_px = tile_px
        self.first = 0
        # Whole shards are written at once; a tile may begin in the last row of one.
        self.rows = SHARD_PX + tile_px
        self.sums = np.zeros((len(MAPS), self.rows, shape[1]), np.float32)
        self.total = np.zeros((self.rows, shape[1]), np.float32)

    def add(self, maps: NDArray[np.float32], y: int, x: int) -> None:
        """Add one tile, cut at the slide's edge."""
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + self.tile_px, self.shape[0]), min(x + self.tile_px, self.shape[1])
        inside = (slice(top - y, bottom - y), slice(left - x, right - x))
        here = (slice(top - self.first, bottom - self.first), slice(left, right))
        self.sums[:, *here] += maps[:, *inside] * self.weights[inside]
        self.total[here] += self.weights[inside]

    def flush_above(self, y: int) -> None:
        """Write the shard rows that end above stored row `y` (all that is left when `y` is the height)."""
        while self.first < self.shape[0] and (self.first + SHARD_PX <= y or y >= self.shape[0]):
            rows = min(SHARD_PX, self.shape[0] - self.first)
            total = self.total[:rows]
            seen = total > 0
            if seen.any():
                codes = encode(np.divide(self.sums[:, :rows], np.where(seen, total, 1), dtype=np.float32)) * seen
                for array, code in zip(self.arrays, codes, strict=True):
                    array[self.first : self.first + rows] = code
            for held in (self.sums, self.total):
                held[..., : self.rows - SHARD_PX, :] = held[..., SHARD_PX:, :]
                held[..., self.rows - SHARD_PX :, :] = 0
            self.first += SHARD_PX
