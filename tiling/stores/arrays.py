"""Zarr v3 arrays on the slide's grid: creating, opening, and the attributes every store carries.

Attributes of ours live under one key, `gland_pipeline`: `status` ("ok" or "failed"), `error`, `geometry`, `parameters`,
and what a stage adds.
Arrays are opened by name: a workflow engine may leave files of its own in the folder.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike
from zarr.codecs import ZstdCodec

from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError, StoreError

KEY = "gland_pipeline"
CHUNK_PX = 512
# One shard holds 4 x 4 chunks: 40k chunks would be 40k files otherwise, and clusters limit inodes.
SHARD_PX = 2048
ZSTD_LEVEL = 1  # higher levels keep the bytes of tissue as they are and take longer


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
    """A sharded, zstd-compressed array whose last two axes are (y, x); an existing one of the same name is returned as it is.

    A shard is the unit of writing: two writers never share one. Chunks equal to `fill` are not stored.
    """
    if name in group:
        return open_array(group, name)
    height, width = shape[-2:]
    lead = shape[:-2]
    chunk = (*lead, *(min(CHUNK_PX, -(-side // 64) * 64) for side in (height, width)))
    shard = (*lead, *(side if side < CHUNK_PX else shard_px for side in chunk[-2:]))
    return group.create_array(
        name,
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=chunk,
        shards=shard,
        compressors=ZstdCodec(level=ZSTD_LEVEL),
        fill_value=fill,
        config={"write_empty_chunks": False},
        # NGFF 0.5 asks for them; of a stack of tiles the first axis counts the tiles.
        dimension_names=("n", "c", "y", "x")[-len(shape) :],
    )


def create_table(group: zarr.Group, name: str, columns: dict[str, np.ndarray[Any, Any]]) -> None:
    """A table as a sub-group of equally long one-chunk arrays, one per column (first axis = rows)."""
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


def read_table(path: Path, name: str, columns: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of a table written by `create_table`."""
    group = open_store(path)
    return {column: np.asarray(open_array(group, f"{name}/{column}")[...]) for column in columns}


def open_store(path: Path) -> zarr.Group:
    """A finished store, read-only.

    Raises
    ------
    StoreError
        It is missing or not one of ours.
    """
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: no Zarr store ({error}); remove it and run again") from error
    if KEY not in group.attrs:
        raise StoreError(f"{path}: not a store of this pipeline; remove it and run again")
    return group


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group by name."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is not an array")
    return array


def attributes(path: Path) -> dict[str, Any]:
    """Our attributes of a finished store."""
    return dict(open_store(path).attrs[KEY])  # type: ignore[arg-type]


def set_attributes(group: zarr.Group, values: dict[str, Any]) -> None:
    """Merge values into our attributes of a store under construction."""
    merged = {**dict(group.attrs.get(KEY, {})), **values}  # type: ignore[arg-type]
    group.attrs[KEY] = merged


def geometry_of(path: Path) -> Geometry:
    """Frame of a finished store; raises the recorded error of a failed one (SlideError)."""
    values = attributes(path)
    if values["status"] == "failed":
        raise SlideError(values["error"])
    return Geometry.from_dict(values["geometry"])


def recorded_error(path: Path) -> str | None:
    """The error a failed slide left in its store, or None."""
    values = attributes(path)
    return str(values["error"]) if values["status"] == "failed" else None


def record_failure(path: Path, error: Exception, parameters: dict[str, Any]) -> None:
    """A store that says why its slide failed, in place of its arrays: downstream jobs leave the slide out by name."""
    from tiling.stores.atomic_store import building

    with building(path, {**parameters, "failed": str(error)}, keep_partial=False) as partial:
        group = create_group(partial.folder)
        set_attributes(group, {"status": "failed", "error": str(error), "parameters": parameters})
