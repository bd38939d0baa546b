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

Within = Callable[[tuple[int, int, int, int]], NDArray[np.bool_]]  # (y, x, h, w) stored pixels -> bool (h, w)


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
    within: Within | None = None,
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
    within : bool (h, w) of a window (y, x, h, w): maps are 0 where it is False (glass); None: everywhere
    """
    order = np.lexsort((origins_yx_px[:, 1], origins_yx_px[:, 0]))
    given = {"parameters": parameters, "model": model, "version": code_version, "geometry": geometry.to_dict(), "tile_px": tile_px}
    with building(store, given, keep_partial=False) as partial:
        group = create_group(partial.folder)
        shape = (geometry.height_px, geometry.width_px)
        arrays = [create_array(group, name, shape, np.uint8) for name in MAPS]
        band = _Band(shape, arrays, tile_px, within)
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
    """Weighted sums of the rows that are not final yet, and codes of the final rows of one row of shards.

    Tiles come ordered by row: when one begins at row y, everything above y is final, and at most `tile_px` rows are not.
    `first` is the stored row of the sums' first row.
    """

    def __init__(self, shape: tuple[int, int], arrays: list[Any], tile_px: int, within: Within | None) -> None:
        self.shape = shape
        self.within = within
        self.arrays = arrays
        self.weights = window(tile_px)
        self.tile_px = tile_px
        self.first = 0
        self.sums = np.zeros((len(MAPS), tile_px, shape[1]), np.float32)
        self.total = np.zeros((tile_px, shape[1]), np.float32)
        # Whole shards are written at once: a shard is the unit of writing.
        self.codes = np.zeros((len(MAPS), min(SHARD_PX, shape[0]), shape[1]), np.uint8)

    def add(self, maps: NDArray[np.float32], y: int, x: int) -> None:
        """Add one tile, cut at the slide's edge; `flush_above(y)` comes first."""
        top, left = max(y, 0), max(x, 0)
        bottom, right = min(y + self.tile_px, self.shape[0]), min(x + self.tile_px, self.shape[1])
        if bottom <= top or right <= left:
            return
        inside = (slice(top - y, bottom - y), slice(left - x, right - x))
        here = (slice(top - self.first, bottom - self.first), slice(left, right))
        self.sums[:, *here] += maps[:, *inside] * self.weights[inside]
        self.total[here] += self.weights[inside]

    def flush_above(self, y: int) -> None:
        """Encode the rows above stored row `y`, and write the shards that end there (all that is left when `y` is the height)."""
        while self.first < min(y, self.shape[0]):
            shard = self.first // SHARD_PX * SHARD_PX
            end = min(shard + SHARD_PX, self.shape[0])
            stop = min(y, end)
            self._encode(self.first - shard, stop - self.first)
            self.first = stop
            if stop == end:
                if self.codes.any():
                    for array, codes in zip(self.arrays, self.codes, strict=True):
                        array[shard:end] = codes[: end - shard]
                self.codes[...] = 0

    def _encode(self, row: int, count: int) -> None:
        """Turn the first `count` rows of the sums into codes from `row` on; rows without a tile stay 0."""
        held = min(count, self.tile_px)
        total = self.total[:held]
        seen = total > 0
        if self.within is not None and seen.any():
            seen &= self.within((self.first, 0, held, self.shape[1]))
        if seen.any():
            means = np.divide(self.sums[:, :held], np.where(total > 0, total, 1), dtype=np.float32)
            self.codes[:, row : row + held] = encode(means) * seen
        for sums in (self.sums, self.total):
            sums[..., : self.tile_px - held, :] = sums[..., held:, :]
            sums[..., self.tile_px - held :, :] = 0
