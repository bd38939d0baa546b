"""Whole shards of a sharded Zarr array, encoded, written and read back directly.

Zarr's own way costs about twice the compression it is asked for (benchmarks/store_codec.py); one shard, one writer is our rule anyway.
The format is the `sharding_indexed` codec of the Zarr v3 specification: chunks, then an index of (offset, length) with its CRC-32C.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import imagecodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from tiling.slide_errors import StoreError
from tiling.stores.arrays import ZSTD_LEVEL

_ABSENT = np.iinfo(np.uint64).max


class ShardReader:
    """Reader of an array made by `create_array`; safe to call from several threads.

    Attributes
    ----------
    shape : of the array
    shape_px, chunk_px, shard_px : (y, x) sides of the array, of its chunks and of its shards
    fill : value of what is not stored
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        if array.shards is None or not isinstance(array.store, LocalStore):
            raise ValueError(f"{array.store_path}: not a sharded array on a disk")
        self.shape = array.shape
        self.shape_px = (int(array.shape[-2]), int(array.shape[-1]))
        self.chunk_px = (int(array.chunks[-2]), int(array.chunks[-1]))
        self.shard_px = (int(array.shards[-2]), int(array.shards[-1]))
        self.fill = array.dtype.type(array.fill_value)
        self._lead = array.shape[:-2]
        self._folder = Path(array.store.root) / array.path / "c" / "/".join("0" for _ in self._lead)

    def read(self, shard: tuple[int, int]) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
        """Stored chunks of a shard: (row, column) within it, and its whole chunk; what reaches over the array's edges is fill.

        Raises
        ------
        StoreError
            The index or a chunk is damaged.
        """
        path = self._path(shard)
        if not path.is_file():
            return
        with path.open("rb") as file:
            index = self._index(file)
            for row, column in np.argwhere(index[..., 0] != _ABSENT).tolist():
                yield (row, column), self._chunk(file, index[row, column])

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        """Pixels of a window (y, x) inside the array, (..., h, w); only the chunks it meets are read.

        Raises
        ------
        StoreError
            The index or a chunk is damaged.
        """
        y, x = window
        out = np.full((*self._lead, y.stop - y.start, x.stop - x.start), self.fill)
        for shard in _met(y, x, self.shard_px):
            if not (path := self._path(shard)).is_file():
                continue
            with path.open("rb") as file:
                index = self._index(file)
                first = [place * side for place, side in zip(shard, self.shard_px, strict=True)]
                rows, columns = (
                    slice(max(axis.start - start, 0), min(axis.stop - start, side))
                    for axis, start, side in zip((y, x), first, self.shard_px, strict=True)
                )
                for chunk in _met(rows, columns, self.chunk_px):
                    if index[chunk][0] == _ABSENT:
                        continue
                    top, left = (
                        start + place * side
                        for start, place, side in zip(first, chunk, self.chunk_px, strict=True)
                    )
                    bottom, right = top + self.chunk_px[0], left + self.chunk_px[1]
                    here = np.s_[
                        ...,
                        max(top - y.start, 0) : bottom - y.start,
                        max(left - x.start, 0) : right - x.start,
                    ]
                    there = np.s_[
                        ...,
                        max(y.start - top, 0) : y.stop - top,
                        max(x.start - left, 0) : x.stop - left,
                    ]
                    out[here] = self._chunk(file, index[chunk])[there]
        return out

    def _path(self, shard: tuple[int, int]) -> Path:
        return self._folder / str(shard[0]) / str(shard[1])

    def _index(self, file: BinaryIO) -> NDArray[np.uint64]:
        """Where each chunk lies: uint64 (rows, columns, 2), offset and length."""
        rows, columns = (
            side // chunk for side, chunk in zip(self.shard_px, self.chunk_px, strict=True)
        )
        file.seek(-min(16 * rows * columns + 4, os.fstat(file.fileno()).st_size), os.SEEK_END)
        data = file.read()
        table, checksum = data[:-4], data[-4:]
        if len(table) != 16 * rows * columns or google_crc32c.value(table) != int.from_bytes(
            checksum, "little"
        ):
            raise StoreError(
                f"{file.name}: the index of the shard is damaged; remove the store and run again"
            )
        return np.frombuffer(table, "<u8").reshape(rows, columns, 2)

    def _chunk(self, file: BinaryIO, place: NDArray[np.uint64]) -> NDArray[Any]:
        file.seek(int(place[0]))
        try:
            pixels = np.frombuffer(
                imagecodecs.zstd_decode(file.read(int(place[1]))), self.fill.dtype
            )
            return pixels.reshape(*self._lead, *self.chunk_px)
        except (imagecodecs.ZstdError, ValueError) as error:
            raise StoreError(
                f"{file.name}: a chunk of the shard is damaged ({error}); remove the store and run again"
            ) from error


class ShardWriter(ShardReader):
    """Writer of such an array; safe to call from several threads for different shards."""

    def encode(self, pixels: NDArray[Any]) -> bytes | None:
        """Compressed bytes of one chunk; None where all of it is fill, which is not stored.

        Parameters
        ----------
        pixels : (..., h, w), at most a chunk; what is missing at the array's far edges is filled
        """
        height, width = pixels.shape[-2:]
        chunk = np.ascontiguousarray(pixels)
        if (height, width) != self.chunk_px:
            chunk = np.full((*self._lead, *self.chunk_px), self.fill)
            chunk[..., :height, :width] = pixels
        if chunk.flat[0] == self.fill and bool((chunk == self.fill).all()):
            return None
        return bytes(imagecodecs.zstd_encode(chunk.data, level=ZSTD_LEVEL))  # type: ignore[arg-type]  # any buffer

    def write(self, shard: tuple[int, int], chunks: Mapping[tuple[int, int], bytes | None]) -> None:
        """Write a shard; without any chunk there is no file.

        Parameters
        ----------
        shard : (row, column) on the grid of shards
        chunks : encoded chunks by (row, column) within the shard; None is not stored
        """
        path = self._path(shard)
        stored = {place: data for place, data in sorted(chunks.items()) if data is not None}
        if not stored:
            path.unlink(missing_ok=True)
            return
        rows, columns = (
            side // chunk for side, chunk in zip(self.shard_px, self.chunk_px, strict=True)
        )
        index = np.full((rows, columns, 2), _ABSENT, "<u8")
        offset = 0
        for place, data in stored.items():
            index[place] = offset, len(data)
            offset += len(data)
        table = index.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            file.writelines(stored.values())
            file.write(table + google_crc32c.value(table).to_bytes(4, "little"))
            file.flush()
            os.fsync(
                file.fileno()
            )  # the journal is on the disk at once: after a power cut it must not name what never got there
        os.replace(partial, path)

    def write_pixels(self, shard: tuple[int, int], pixels: NDArray[Any]) -> None:
        """Encode and write one shard.

        Parameters
        ----------
        shard : (row, column) on the grid of shards
        pixels : (..., h, w), the shard, cut at the array's far edges
        """
        height, width = self.chunk_px
        rows, columns = (
            range(-(-side // chunk))
            for side, chunk in zip(pixels.shape[-2:], self.chunk_px, strict=True)
        )
        chunks = {
            (row, column): self.encode(
                pixels[
                    ..., row * height : (row + 1) * height, column * width : (column + 1) * width
                ]
            )
            for row in rows
            for column in columns
        }
        self.write(shard, chunks)


def _met(y: slice, x: slice, side_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Places (row, column) on a grid of rectangles that a window meets, in raster order."""
    rows, columns = (
        range(axis.start // side, -(-axis.stop // side))
        for axis, side in zip((y, x), side_px, strict=True)
    )
    return [(row, column) for row in rows for column in columns]
