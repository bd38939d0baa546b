"""Zarr v3 arrays and tables of stores: creating them and opening them by name.

Arrays are opened by name because a workflow engine may leave files of its own in the folder.
What each kind of store contains is in `tiling.stores.attributes`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.abc.store import ByteRequest
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from tiling.slide_errors import StoreError
from tiling.stores.manifest import StoreManifest, check_files

# Our attributes of a store are under this one key.
ATTRIBUTES_KEY = "gland_pipeline"
CHUNK_PX = 512
# One shard holds 4 x 4 chunks. With a file per chunk a large slide would be 40 000 files, and
# clusters limit the number of files.
SHARD_PX = 2048
ZSTD_LEVEL = 1  # higher levels take longer and do not make images of tissue smaller
_CHUNK_MULTIPLE = 64
# The checksum is of the compressed bytes, and Zarr's reader checks it.
_COMPRESSORS = (ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec())


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
        compressors=_COMPRESSORS,
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
            compressors=_COMPRESSORS,
            overwrite=True,
        )
        if values.size:
            array[...] = values


def read_table(path: Path, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Columns of a table that `create_table` wrote."""
    group = open_store(path)
    return {column: np.asarray(open_array(group, f"{name}/{column}")[...]) for column in columns}


def open_store(path: Path) -> zarr.Group:
    """A finished store, read-only, after all its files were compared with its list of files.

    Raises
    ------
    StoreError
        The store is missing, a file of it is missing or damaged, or it was not written by this
        pipeline. A file that is lost later is an error when it is read.
    """
    return zarr.open_group(FinishedStore(path, check_files(path)), mode="r", zarr_format=3)


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group by name.

    Raises
    ------
    StoreError
        There is no array of that name. Reading the array raises it where a chunk is damaged.
    """
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise StoreError(
            f"{group.store_path}: {name} is not an array; remove the store and run again"
        )
    return _CheckedArray(array.async_array)


class FinishedStore(LocalStore):
    """The files of a finished store: one that is lost is an error and does not read as fill."""

    def __init__(self, root: Path, manifest: StoreManifest) -> None:
        super().__init__(root, read_only=True)
        self._manifest = manifest

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """See `zarr.abc.store.Store.get`; raises StoreError as `check_absent` does."""
        buffer = await super().get(key, prototype, byte_range)
        if buffer is None:
            self.check_absent(key)
        return buffer

    def check_absent(self, key: str) -> None:
        """Raise a StoreError where the list of files has a file that does not exist."""
        if key in self._manifest.chunk_bytes or key in self._manifest.metadata_checksums:
            raise StoreError(
                f"{self.root}: the file {key} is missing; remove the store and run again"
            )


class _CheckedArray(zarr.Array[Any]):
    """A Zarr array whose errors of damaged chunks name the store and the remedy."""

    def __getitem__(self, selection: Any) -> Any:  # noqa: ANN401  # as in Zarr
        try:
            return super().__getitem__(selection)
        except (ValueError, RuntimeError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"{self.store_path}: a chunk is damaged ({error}); remove the store and run again"
            ) from error
