"""Zarr v3 arrays and tables of stores: creating them and opening them by name.

Arrays are opened by name because a workflow engine may leave files of its own in the folder.
What each kind of store contains is in `tiling.stores.attributes`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import ZstdCodec

from tiling.slide_errors import StoreError

# Our attributes of a store are under this one key.
ATTRIBUTES_KEY = "gland_pipeline"
CHUNK_PX = 512
# One shard holds 4 x 4 chunks. With a file per chunk a large slide would be 40 000 files, and
# clusters limit the number of files.
SHARD_PX = 2048
ZSTD_LEVEL = 1  # higher levels take longer and do not make images of tissue smaller
_CHUNK_MULTIPLE = 64


def create_group(folder: Path) -> zarr.Group:
    """A new Zarr v3 group in an (empty) folder."""
    return zarr.open_group(folder, mode="a", zarr_format=3)


def create_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    fill: int = 0,
    shard_px: int = SHARD_PX,
) -> zarr.Array[Any]:
    """A sharded, zstd-compressed array whose last two axes are (y, x).

    An existing array of the same name is returned as it is. A shard is the unit of writing: two
    writers must never share one. Chunks in which every value is `fill` are not stored.
    """
    if name in group:
        return open_array(group, name)
    leading = shape[:-2]
    chunk_sides = [
        min(CHUNK_PX, -(-side // _CHUNK_MULTIPLE) * _CHUNK_MULTIPLE) for side in shape[-2:]
    ]
    shard_sides = [side if side < CHUNK_PX else shard_px for side in chunk_sides]
    return group.create_array(
        name,
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=(*leading, *chunk_sides),
        shards=(*leading, *shard_sides),
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        fill_value=fill,
        config={"write_empty_chunks": False},
        # NGFF 0.5 requires names of the axes. The first axis of a stack of tiles is their number.
        dimension_names=("n", "c", "y", "x")[-len(shape) :],
    )


def create_table(group: zarr.Group, name: str, columns: dict[str, NDArray[Any]]) -> None:
    """A table: a sub-group with one array per column, all of the same length (first axis = rows).

    Each column is one chunk.
    """
    table = group.require_group(name)
    for column, values in columns.items():
        array = table.create_array(
            column,
            shape=values.shape,
            dtype=values.dtype,
            chunks=tuple(max(side, 1) for side in values.shape),
            overwrite=True,
        )
        if values.size:
            array[...] = values


def read_table(path: Path, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Columns of a table that `create_table` wrote."""
    group = open_store(path)
    return {column: np.asarray(open_array(group, f"{name}/{column}")[...]) for column in columns}


def open_store(path: Path) -> zarr.Group:
    """A finished store, read-only.

    Raises
    ------
    StoreError
        The store is missing, or it was not written by this pipeline.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such store; correct the path, or make it by a run")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: no Zarr store ({error}); remove it and run again") from error
    if ATTRIBUTES_KEY not in group.attrs:
        raise StoreError(f"{path}: not a store of this pipeline; remove it and run again")
    return group


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group by name.

    Raises
    ------
    StoreError
        There is a group of that name, not an array.
    """
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is not an array")
    return array
