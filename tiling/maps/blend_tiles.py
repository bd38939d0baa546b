"""Prediction of the tiles of a slide, blended into maps, shard by shard.

Maps are weighted means of overlapping tiles (`tiling.raster.blending`). As soon as all
tiles that overlap a shard are predicted, the shard is written and its memory is freed. The memory
grows with the width of the slide and with the overlap of tiles, because the strips of tiles that
reach into the next row of shards are kept. Tiles are blended by other threads than the one that
predicts.
"""

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tiling.maps.blend_grid import BlendGrid
from tiling.maps.shard_blender import BlendTarget, ReadMask, ShardBlender
from tiling.parallel import JobSettings
from tiling.raster.blending import PredictTiles
from tiling.raster.geometry import Geometry
from tiling.raster.progress import count_progress
from tiling.stores.arrays import SHARD_PX, create_array, create_group
from tiling.stores.atomic_store import UnfinishedStore, write_store
from tiling.stores.layout import MapStore
from tiling.stores.shards import ShardWriter

log = logging.getLogger(__name__)

MAPS = tuple(MapStore.ARRAYS)
_LIMIT_KEY = "most_at_once"  # in the journal, which has the keys of shards too


class BatchLimit(Protocol):
    """The largest number of tiles that fit into memory at once; None: memory has not run out."""

    max_tiles_at_once: int | None


class TileImages(Protocol):
    """Tiles by index: any objects with a uint8 (3, T, T) `image`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...  # noqa: ANN401  # a Tile


@dataclass(frozen=True)
class SlideTiles:
    """The tiles of a slide.

    Attributes
    ----------
    slide : name of the slide
    geometry : geometry of the tiles, and of the maps
    images : images of the tiles, in the order of `origins_yx_px`
    origins_yx_px : int64 (N, 2), first stored pixel of each tile; tiles may end outside the slide
    tile_px : side T of a tile
    """

    slide: str
    geometry: Geometry
    images: TileImages
    origins_yx_px: NDArray[np.int64]
    tile_px: int


@dataclass(frozen=True)
class TilePrediction:
    """How tiles become maps.

    Attributes
    ----------
    predict : uint8 (B, 3, T, T) -> float32 (B, maps, T, T): gland probability, sdf in [-1, 1],
        boundary probability, disagreement; the arrays it returns must not change later
    batch : number B of tiles in a call; the last batch may be smaller
    names : the maps that `predict` returns
    limit : object with the limit of `predict`, if it predicts fewer tiles at once after memory ran
        out; the limit is recorded, and a run that resumes an interrupted one starts with it
    read_mask : where maps are kept; None: everywhere
    """

    predict: PredictTiles
    batch: int
    names: tuple[str, ...] = MAPS
    limit: BatchLimit | None = None
    read_mask: ReadMask | None = None


@dataclass(frozen=True)
class MapProvenance:
    """The settings, model, code and data that maps were made with.

    Attributes
    ----------
    parameters, model, code_version : are recorded in the attributes of the store
    inputs : what else the bytes depend on, as JSON (checksums of tiles and weights): an interrupted
        run with other inputs is not resumed
    """

    parameters: dict[str, Any]
    model: dict[str, Any]
    code_version: int
    inputs: dict[str, Any] | None = None


def blend_to_store(
    store: Path,
    tiles: SlideTiles,
    prediction: TilePrediction,
    provenance: MapProvenance,
    *,
    readers: int = 1,
    job: JobSettings = JobSettings(),  # noqa: B008  # frozen
) -> None:
    """Predict the tiles of a slide and blend them into `maps/{slide}.zarr`.

    If an earlier run was interrupted, only the missing shards are made: tiles that reach into them
    are predicted again, in the same batches.

    Parameters
    ----------
    store : store of the maps; appears complete or not at all
    readers : threads that read tiles in advance, one batch each
    job : threads that blend, encode and write, and progress; the maps do not depend on it
    """
    geometry = tiles.geometry
    recorded = {
        "parameters": provenance.parameters,
        "model": provenance.model,
        "version": provenance.code_version,
        "geometry": geometry.to_dict(),
        "tile_px": tiles.tile_px,
        "inputs": provenance.inputs,
    }
    with write_store(store, recorded) as unfinished:
        group = create_group(unfinished.folder)
        shape = (geometry.height_px, geometry.width_px)
        writers = [
            ShardWriter(create_array(group, name, shape, np.uint8, shard_px=SHARD_PX))
            for name in prediction.names
        ]
        grid = BlendGrid(tiles.origins_yx_px, tiles.tile_px, shape, shard_px=writers[0].shard_px)
        sdf_index = prediction.names.index("sdf") if "sdf" in prediction.names else None
        target = BlendTarget(unfinished, writers, sdf_index, prediction.read_mask)
        with ShardBlender(grid, target, workers=job.workers) as blender:
            batches = _batches(grid, blender.missing, prediction.batch)
            predict = _with_recorded_limit(prediction, unfinished)
            count = sum(len(batch) for batch in batches)
            predicted = tqdm(
                _predict_batches(tiles.images, batches, predict, readers),
                total=count,
                desc=tiles.slide,
                unit="tile",
                disable=not job.progress,
                mininterval=5,
            )
            order = [tile for batch in batches for tile in batch.tolist()]
            with count_progress("tiles", count) as progress:
                for tile, maps in zip(order, predicted, strict=True):
                    blender.add(tile, maps)
                    progress.advance()
        limit = prediction.limit
        MapStore(
            slide=tiles.slide,
            geometry=geometry,
            tiles=len(tiles.origins_yx_px),
            most_at_once=None if limit is None else limit.max_tiles_at_once,
            parameters=provenance.parameters,
            model=provenance.model,
            version=provenance.code_version,
        ).write(group)


def _batches(grid: BlendGrid, missing: NDArray[np.bool_], batch: int) -> list[NDArray[np.int64]]:
    """Tiles of each batch that has a tile in a missing shard.

    The batches are those of an uninterrupted run: in another batch, the predictions of a tile may
    differ by rounding.
    """
    needed = grid.tiles_touching(missing)
    order = grid.order
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    return [tiles for tiles in batches if needed[tiles].any()]


def _with_recorded_limit(prediction: TilePrediction, unfinished: UnfinishedStore) -> PredictTiles:
    """The prediction function; it records each new limit in the journal.

    A run that resumes starts with the recorded limit, so that it does not run out of memory again.
    """
    limit = prediction.limit
    if limit is None:
        return prediction.predict
    if unfinished.is_finished(_LIMIT_KEY):
        limit.max_tiles_at_once = unfinished.note(_LIMIT_KEY)
        log.info("at most %d tiles at once, as in the interrupted run", limit.max_tiles_at_once)

    def predict_and_record(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        before = limit.max_tiles_at_once
        maps = prediction.predict(images)
        if limit.max_tiles_at_once != before:
            unfinished.record_finished(_LIMIT_KEY, limit.max_tiles_at_once)
        return maps

    return predict_and_record


def _predict_batches(
    images: TileImages, batches: list[NDArray[np.int64]], predict: PredictTiles, readers: int
) -> Iterator[NDArray[np.float32]]:
    """Maps of the tiles in order; each reader reads one batch while another is predicted."""

    def read(tiles: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([images[int(tile)].image for tile in tiles])

    with ThreadPoolExecutor(readers) as pool:
        reading = deque(pool.submit(read, tiles) for tiles in batches[:readers])
        for number in range(len(batches)):
            batch = reading.popleft().result()
            if number + readers < len(batches):
                reading.append(pool.submit(read, batches[number + readers]))
            yield from predict(batch)
