"""Whole shards of a sharded Zarr array: encoding, writing and reading them directly.

Zarr's own writer takes about twice the time of the compression (benchmarks/store_codec.py). It also
handles several writers of one shard, which never happens here.
The format is the codec `sharding_indexed` of the Zarr v3 specification: the chunks, each with its
CRC-32C, then an index of (offset, length) with its CRC-32C.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import imagecodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from tiling.raster.atomic_files import partial_file
from tiling.raster.geometry import Block
from tiling.slide_errors import StoreError
from tiling.stores.arrays import ZSTD_LEVEL, FinishedStore

_ABSENT = np.iinfo(np.uint64).max
_INDEX_ENTRY_BYTES = 16
_CHECKSUM_BYTES = 4


class ShardReader:
    """Reader of an array made by `create_array`; several threads may use it.

    Attributes
    ----------
    shape : of the array
    shape_px, chunk_px, shard_px : (y, x) sides of the array, of its chunks and of its shards
    fill : value of chunks that are not stored
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        if array.shards is None or not isinstance(array.store, LocalStore):
            raise ValueError(f"{array.store_path}: not a sharded array on a disk")
        self.shape = array.shape
        self.shape_px = (int(array.shape[-2]), int(array.shape[-1]))
        self.chunk_px = (int(array.chunks[-2]), int(array.chunks[-1]))
        self.shard_px = (int(array.shards[-2]), int(array.shards[-1]))
        self.fill = array.dtype.type(array.fill_value)
        self._leading = array.shape[:-2]
        # All leading axes are in one chunk.
        leading_folders = ["0" for _ in self._leading]
        self._store = array.store
        self._prefix = f"{array.path}/c/" + "".join(f"{axis}/" for axis in leading_folders)

    def read_chunks(self, shard: tuple[int, int]) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
        """Stored chunks of a shard: (row, column) within the shard, and the complete chunk.

        Chunks at the array's edge are filled beyond it.

        Raises
        ------
        StoreError
            The index or a chunk is damaged.
        """
        with self._open(shard) as file:
            if file is None:
                return
            index = self._read_index(file)
            for row, column in np.argwhere(index[..., 0] != _ABSENT).tolist():
                yield (row, column), self._read_chunk(file, index[row, column])

    def __getitem__(self, block: Block) -> NDArray[Any]:
        """Pixels of a block inside the array, (..., h, w); only chunks that overlap it are read.

        Raises
        ------
        StoreError
            The index or a chunk is damaged.
        """
        y, x = block
        out = np.full((*self._leading, y.stop - y.start, x.stop - x.start), self.fill)
        for shard in _overlapping(y, x, self.shard_px):
            with self._open(shard) as file:
                if file is not None:
                    self._copy_shard(file, shard, block, out)
        return out

    def _copy_shard(
        self, file: BinaryIO, shard: tuple[int, int], block: Block, out: NDArray[Any]
    ) -> None:
        """Copy the part of a block that one shard contains into `out`."""
        y, x = block
        index = self._read_index(file)
        shard_top, shard_left = (
            number * side for number, side in zip(shard, self.shard_px, strict=True)
        )
        rows = slice(max(y.start - shard_top, 0), min(y.stop - shard_top, self.shard_px[0]))
        columns = slice(max(x.start - shard_left, 0), min(x.stop - shard_left, self.shard_px[1]))
        for row, column in _overlapping(rows, columns, self.chunk_px):
            if index[row, column][0] == _ABSENT:
                continue
            top = shard_top + row * self.chunk_px[0]
            left = shard_left + column * self.chunk_px[1]
            bottom, right = top + self.chunk_px[0], left + self.chunk_px[1]
            pixels = self._read_chunk(file, index[row, column])[
                ...,
                max(y.start - top, 0) : y.stop - top,
                max(x.start - left, 0) : x.stop - left,
            ]
            out[
                ...,
                max(top - y.start, 0) : bottom - y.start,
                max(left - x.start, 0) : right - x.start,
            ] = pixels

    def path(self, shard: tuple[int, int]) -> Path:
        """The file of a shard; without any chunk there is no file."""
        return Path(self._store.root) / self._key(shard)

    def _key(self, shard: tuple[int, int]) -> str:
        return f"{self._prefix}{shard[0]}/{shard[1]}"

    @contextmanager
    def _open(self, shard: tuple[int, int]) -> Iterator[BinaryIO | None]:
        """The file of a shard; None where no chunk of it is stored."""
        try:
            file = self.path(shard).open("rb")
        except FileNotFoundError:
            if isinstance(self._store, FinishedStore):
                self._store.check_absent(self._key(shard))
            yield None
            return
        with file:
            yield file

    def _chunk_counts(self) -> tuple[int, int]:
        """Rows and columns of chunks in a shard."""
        return self.shard_px[0] // self.chunk_px[0], self.shard_px[1] // self.chunk_px[1]

    def _read_index(self, file: BinaryIO) -> NDArray[np.uint64]:
        """Place of each chunk in the file: uint64 (rows, columns, 2), offset and length."""
        rows, columns = self._chunk_counts()
        index_bytes = _INDEX_ENTRY_BYTES * rows * columns
        file_bytes = os.fstat(file.fileno()).st_size
        file.seek(-min(index_bytes + _CHECKSUM_BYTES, file_bytes), os.SEEK_END)
        data = file.read()
        table, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        stored = int.from_bytes(checksum, "little")
        if len(table) != index_bytes or google_crc32c.value(table) != stored:
            raise StoreError(
                f"{file.name}: the index of the shard is damaged; remove the store and run again"
            )
        return np.frombuffer(table, "<u8").reshape(rows, columns, 2)

    def _read_chunk(self, file: BinaryIO, place: NDArray[np.uint64]) -> NDArray[Any]:
        offset, length = int(place[0]), int(place[1])
        file.seek(offset)
        stored = file.read(length)
        data, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
        if google_crc32c.value(data) != int.from_bytes(checksum, "little"):
            raise StoreError(
                f"{file.name}: a chunk of the shard is damaged (wrong checksum); "
                "remove the store and run again"
            )
        pixels = np.frombuffer(imagecodecs.zstd_decode(data), self.fill.dtype)
        return pixels.reshape(*self._leading, *self.chunk_px)


class ShardWriter(ShardReader):
    """Writer of such an array; several threads may use it for different shards."""

    def encode(self, pixels: NDArray[Any]) -> bytes | None:
        """Compressed bytes of one chunk; None where all of it is fill, which is not stored.

        Parameters
        ----------
        pixels : (..., h, w), at most a chunk; at the array's edge it is completed with fill
        """
        height, width = pixels.shape[-2:]
        chunk = np.ascontiguousarray(pixels)
        if (height, width) != self.chunk_px:
            chunk = np.full((*self._leading, *self.chunk_px), self.fill)
            chunk[..., :height, :width] = pixels
        if chunk.flat[0] == self.fill and bool((chunk == self.fill).all()):
            return None
        return _with_checksum(bytes(imagecodecs.zstd_encode(chunk.data, level=ZSTD_LEVEL)))  # type: ignore[arg-type]  # any buffer

    def write(self, shard: tuple[int, int], chunks: Mapping[tuple[int, int], bytes | None]) -> None:
        """Write a shard; without any chunk there is no file.

        Parameters
        ----------
        shard : (row, column) on the grid of shards
        chunks : encoded chunks by (row, column) within the shard; None is not stored
        """
        path = self.path(shard)
        stored = {place: data for place, data in sorted(chunks.items()) if data is not None}
        if not stored:
            path.unlink(missing_ok=True)
            return
        index = np.full((*self._chunk_counts(), 2), _ABSENT, "<u8")
        offset = 0
        for place, data in stored.items():
            index[place] = offset, len(data)
            offset += len(data)
        # `partial_file` brings it to the disk before the journal lists it.
        with partial_file(path) as partial, partial.open("wb") as file:
            file.writelines(stored.values())
            file.write(_with_checksum(index.tobytes()))

    def write_pixels(self, shard: tuple[int, int], pixels: NDArray[Any]) -> None:
        """Encode and write one shard.

        Parameters
        ----------
        shard : (row, column) on the grid of shards
        pixels : (..., h, w), the part of the shard that is inside the array
        """
        self.write(shard, self.encode_chunks(pixels))

    def encode_chunks(self, pixels: NDArray[Any]) -> dict[tuple[int, int], bytes | None]:
        """The chunks of one shard, encoded, as `write` takes them.

        Parameters
        ----------
        pixels : (..., h, w), the part of the shard that is inside the array
        """
        height, width = self.chunk_px
        rows, columns = slice(0, pixels.shape[-2]), slice(0, pixels.shape[-1])
        chunks = {}
        for row, column in _overlapping(rows, columns, self.chunk_px):
            y, x = row * height, column * width
            chunks[row, column] = self.encode(pixels[..., y : y + height, x : x + width])
        return chunks


def _with_checksum(data: bytes) -> bytes:
    """Bytes and their CRC-32C."""
    checksum: int = google_crc32c.value(data)
    return data + checksum.to_bytes(_CHECKSUM_BYTES, "little")


def _overlapping(y: slice, x: slice, side_px: tuple[int, int]) -> list[tuple[int, int]]:
    """(row, column) of all cells of a grid that overlap a block, in raster order."""
    rows, columns = (
        range(axis.start // side, -(-axis.stop // side))
        for axis, side in zip((y, x), side_px, strict=True)
    )
    return [(row, column) for row in rows for column in columns]
