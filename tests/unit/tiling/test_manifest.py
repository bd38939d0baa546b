"""Stores whose bytes were lost or changed after they were written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from example_stores import map_attributes
from flipped_bits import flipped_bit
from kinds_of_stores import GEOMETRY, content, write_kind

from tiling.slide_errors import StoreError
from tiling.stores.arrays import create_array, create_group, open_array, open_store
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import StoreAttributes, geometry_of, record_failure, recorded_error
from tiling.stores.layout import GlandStore, LabelStore, MapStore, TileStore
from tiling.stores.manifest import MANIFEST_KEY, seal_store
from tiling.stores.shards import ShardReader

FLIPS = 110  # of each kind of store


@pytest.mark.parametrize("kind", [TileStore, LabelStore, MapStore, GlandStore])
def test_a_flipped_bit_is_an_error_with_the_store_and_the_remedy_or_has_no_effect(
    tmp_path: Path, kind: type[StoreAttributes]
) -> None:
    store = write_kind(tmp_path / "x.zarr", kind)
    expected, rng = content(store, kind), np.random.default_rng(0)
    messages: list[str] = []
    for _ in range(FLIPS):
        with flipped_bit(store, rng) as path:
            try:
                assert content(store, kind) == expected, path
            except StoreError as error:
                messages.append(str(error))
    assert content(store, kind) == expected
    assert all(str(store) in message and "run again" in message for message in messages)
    assert len(messages) > FLIPS * 0.9  # of white space in JSON, few


@pytest.mark.parametrize("kind", [TileStore, LabelStore, MapStore, GlandStore])
def test_a_lost_or_cut_file_is_an_error_with_the_store_the_file_and_the_remedy(
    tmp_path: Path, kind: type[StoreAttributes]
) -> None:
    store = write_kind(tmp_path / "x.zarr", kind)
    files = sorted(path for path in store.rglob("*") if path.is_file())
    assert len(files) > 2 * len(kind.ARRAYS)
    for file in files:
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(StoreError, match=rf"x\.zarr: .*{file.name}.*run again"):
            open_store(store)
        file.write_bytes(data[:-1])
        with pytest.raises(StoreError, match=rf"x\.zarr: .*{file.name}.*run again"):
            open_store(store)
        file.write_bytes(data)
    open_store(store)


def test_a_shard_that_is_lost_while_a_job_reads_is_an_error(tmp_path: Path) -> None:
    store = write_kind(tmp_path / "x.zarr", MapStore)
    array = open_array(open_store(store), "gland")
    (store / "gland" / "c" / "0" / "0").unlink()
    for read in (lambda: array[...], lambda: ShardReader(array)[slice(0, 9), slice(0, 9)]):
        with pytest.raises(StoreError, match=r"the file gland/c/0/0 is missing; .*run again"):
            read()
    with pytest.raises(StoreError, match="the file gland/c/0/0 is missing"):
        list(ShardReader(array).read_chunks((0, 0)))


def test_a_shard_of_background_is_not_stored_and_not_missed(tmp_path: Path) -> None:
    with write_store(tmp_path / "x.zarr", {}) as unfinished:
        group = create_group(unfinished.folder)
        create_array(group, "gland", (600, 2600), np.uint8)[:, 2100:] = 7
        map_attributes(GEOMETRY).write(group)
    array = open_array(open_store(tmp_path / "x.zarr"), "gland")
    assert not (tmp_path / "x.zarr" / "gland" / "c" / "0" / "0").exists()
    assert (np.asarray(array[:, :2100]) == 0).all()
    assert (ShardReader(array)[slice(0, 600), slice(2000, 2600)][:, 100:] == 7).all()


def test_files_of_other_programs_in_a_store_are_no_error(tmp_path: Path) -> None:
    store = write_kind(tmp_path / "x.zarr", MapStore)
    (store / ".snakemake_timestamp").touch()
    MapStore.read(store)


def test_a_store_without_the_list_of_its_files_is_an_error(tmp_path: Path) -> None:
    map_attributes(GEOMETRY).write(create_group(tmp_path / "x.zarr"))
    with pytest.raises(StoreError, match=r"no list of its files.*remove the store and run again"):
        open_store(tmp_path / "x.zarr")
    seal_store(tmp_path / "x.zarr")
    open_store(tmp_path / "x.zarr")


def test_the_store_of_a_failed_slide_is_listed_too(tmp_path: Path) -> None:
    record_failure(tmp_path / "x.zarr", StoreError("no pixel size"), {})
    text = (tmp_path / "x.zarr" / "zarr.json").read_text()
    (tmp_path / "x.zarr" / "zarr.json").write_text(text.replace("no pixel", "no Pixel"))
    with pytest.raises(StoreError, match=r"zarr\.json is damaged"):
        recorded_error(tmp_path / "x.zarr")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"a"', '{"attributes": 3}', "{}", "\ufffe[" * 9])
def test_damaged_metadata_is_one_message_with_the_store_and_the_remedy(
    tmp_path: Path, text: str
) -> None:
    store = write_kind(tmp_path / "x.zarr", MapStore)
    (store / "zarr.json").write_text(text)
    with pytest.raises(StoreError, match=r"x\.zarr: .*remove the store and run again"):
        MapStore.read(store)


def test_the_bytes_of_a_store_do_not_depend_on_its_place(tmp_path: Path) -> None:
    first, second = (write_kind(tmp_path / f"{n}.zarr", LabelStore) for n in (1, 2))
    assert (first / "zarr.json").read_bytes() == (second / "zarr.json").read_bytes()
    shutil.copytree(first, tmp_path / "copy.zarr")
    open_store(tmp_path / "copy.zarr")
    assert geometry_of(tmp_path / "copy.zarr") == GEOMETRY


@pytest.mark.parametrize(
    "changed", [{"status": "x"}, {"status": []}, {"status": "failed"}, {"geometry": {"mpp_x": 1}}]
)
def test_attributes_of_other_values_with_a_correct_list_of_files_are_an_error(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    store = write_kind(tmp_path / "x.zarr", MapStore)
    root = json.loads((store / "zarr.json").read_bytes())
    root["attributes"]["gland_pipeline"] |= changed
    del root["attributes"][MANIFEST_KEY]
    (store / "zarr.json").write_text(json.dumps(root))
    seal_store(store)
    with pytest.raises(StoreError, match=r"x\.zarr: .*remove the store and run again"):
        geometry_of(store)
