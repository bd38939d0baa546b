import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.raster.atomic_files import partial_path
from tiling.raster.geometry import blocks
from tiling.slide_errors import StoreError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.shards import ShardReader, ShardWriter


def written(folder, values, fill=255):
    """The array after all its shards were written directly."""
    array = create_array(create_group(folder), "a", values.shape, values.dtype, fill=fill)
    writer = ShardWriter(array)
    for rows, columns in blocks(*writer.shape_px, writer.shard_px[0]):
        chunks = {}
        for y, x in blocks(
            rows.stop - rows.start, columns.stop - columns.start, writer.chunk_px[0]
        ):
            part = values[..., rows, columns][..., y, x]
            encoded = writer.encode(part)
            if encoded is not None:
                chunks[y.start // writer.chunk_px[0], x.start // writer.chunk_px[1]] = encoded
        writer.write(
            (rows.start // writer.shard_px[0], columns.start // writer.shard_px[1]), chunks
        )
    return array


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> zarr.Array[Any]:
    """Two shards, a chunk and most of the second shard's rows of which are fill."""
    values = np.random.default_rng(0).integers(0, 250, (3, 1100, 2600), np.uint8)
    values[:, :512, 512:1024] = 255
    values[:, 512:, 2048:] = 255
    return written(tmp_path_factory.mktemp("sharded") / "x.zarr", values)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 2100, 4500), np.uint8), ((2500, 700), np.int32), ((3, 600, 513), np.uint8)],
)
def test_zarr_reads_what_was_written(tmp_path, shape, dtype):
    values = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
    values[..., :512, :512] = 255
    array = written(tmp_path / "x.zarr", values)
    np.testing.assert_array_equal(array[...], values)
    np.testing.assert_array_equal(array[..., 500:530, 505:513], values[..., 500:530, 505:513])


def test_empty_shards_leave_no_file_and_zarr_can_write_over_all(tmp_path):
    values = np.full((3, 2100, 2100), 255, np.uint8)
    values[:, 2050, 2050] = 7
    array = written(tmp_path / "x.zarr", values)
    files = [
        path
        for path in (tmp_path / "x.zarr" / "a").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    ]
    assert [path.relative_to(tmp_path / "x.zarr" / "a").as_posix() for path in files] == ["c/0/1/1"]
    array[:, 2060, 2060] = 9
    assert array[:, 2049:2052, 2050].tolist() == [[255, 7, 255]] * 3


def test_zarr_rejects_a_damaged_index(tmp_path):
    values = np.arange(600 * 600, dtype=np.int32).reshape(600, 600)
    array = written(tmp_path / "x.zarr", values, fill=0)
    path = tmp_path / "x.zarr" / "a" / "c" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="checksum"):
        array[...]


def test_a_shard_is_synced_to_disk_before_it_is_renamed(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: (
            order.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().name}")
            or fsync(handle)
        ),
    )
    monkeypatch.setattr(
        os,
        "replace",
        lambda source, target: (
            order.append(f"rename to {Path(target).name}") or replace(source, target)
        ),
    )
    array = create_array(create_group(tmp_path / "x.zarr"), "a", (600, 600), np.uint8)
    writer = ShardWriter(array)
    order.clear()
    writer.write((0, 0), {(0, 0): writer.encode(np.ones((512, 512), np.uint8))})
    assert order == [f"fsync {partial_path(Path('0'), os.getpid())}", "rename to 0"]


def test_shards_are_read_back_chunk_by_chunk(tmp_path):
    values = np.random.default_rng(0).integers(0, 250, (3, 1100, 2600), np.uint8)
    values[:, :512, 512:1024] = 255
    writer = ShardWriter(written(tmp_path / "x.zarr", values))
    padded = np.pad(values, ((0, 0), (0, 1536 - 1100), (0, 3072 - 2600)), constant_values=255)
    read_origins = set()
    for shard in ((0, 0), (0, 1)):
        for (row, column), pixels in writer.read_chunks(shard):
            y, x = row * 512, shard[1] * 2048 + column * 512
            np.testing.assert_array_equal(pixels, padded[:, y : y + 512, x : x + 512])
            read_origins.add((y, x))
    assert read_origins == {(y, x) for y in (0, 512, 1024) for x in range(0, 2600, 512)} - {
        (0, 512)
    }
    assert list(writer.read_chunks((5, 5))) == []


def test_the_reader_rejects_a_damaged_index_and_names_the_file(tmp_path):
    writer = ShardWriter(
        written(tmp_path / "x.zarr", np.arange(600 * 600, dtype=np.int32).reshape(600, 600), fill=0)
    )
    path = tmp_path / "x.zarr" / "a" / "c" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="index of the shard is damaged"):
        list(writer.read_chunks((0, 0)))


def test_the_reader_rejects_a_damaged_chunk_and_names_the_file(tmp_path):
    writer = ShardWriter(
        written(tmp_path / "x.zarr", np.arange(600 * 600, dtype=np.int32).reshape(600, 600), fill=0)
    )
    path = tmp_path / "x.zarr" / "a" / "c" / "0" / "0"
    path.write_bytes(b"broken" + path.read_bytes()[6:])
    with pytest.raises(StoreError, match="a chunk of the shard is damaged"):
        writer[0:10, 0:10]


@settings(max_examples=30, deadline=None)
@given(
    top=st.integers(0, 1099),
    left=st.integers(0, 2599),
    height=st.integers(1, 1100),
    width=st.integers(1, 2600),
)
def test_any_block_equals_that_of_zarr(
    sharded: zarr.Array[Any], top: int, left: int, height: int, width: int
) -> None:
    block = (slice(top, min(top + height, 1100)), slice(left, min(left + width, 2600)))
    np.testing.assert_array_equal(ShardReader(sharded)[block], sharded[:, *block])
