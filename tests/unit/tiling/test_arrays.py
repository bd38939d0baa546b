from pathlib import Path

import numpy as np
import pytest

from tiling.raster.geometry import Geometry, blocks, halo
from tiling.slide_errors import SlideError, StoreError
from tiling.stores.arrays import (
    create_array,
    create_group,
    create_table,
    open_array,
    open_store,
    read_table,
)
from tiling.stores.attributes import (
    geometry_of,
    record_failure,
    recorded_error,
    set_attributes,
    stored_json,
)
from tiling.stores.manifest import seal_store

GEOMETRY = Geometry(
    width_px=100,
    height_px=80,
    slide_width_px=401,
    slide_height_px=320,
    downsample_x=401 / 100,
    downsample_y=4.0,
    mpp_x=1.0025,
    mpp_y=1.0,
    bounds_x=0,
    bounds_y=0,
    bounds_width_px=401,
    bounds_height_px=320,
)


def test_empty_shards_are_not_stored(tmp_path: Path) -> None:
    group = create_group(tmp_path / "x.zarr")
    array = create_array(group, "labels", (5000, 5000), np.int32)
    array[2048:2100, 0:10] = 7
    assert (
        len([path for path in (tmp_path / "x.zarr" / "labels").rglob("*") if path.is_file()]) == 2
    )  # one shard and zarr.json
    assert array[2048, 0] == 7
    assert array[0, 0] == 0


@pytest.mark.parametrize("shape", [(1, 1), (63, 700), (512, 512), (3, 600, 2100)])
def test_arrays_of_any_size_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    array = create_array(create_group(tmp_path / "x.zarr"), "a", shape, np.uint8)
    array[...] = values
    np.testing.assert_array_equal(
        create_array(create_group(tmp_path / "x.zarr"), "a", shape, np.uint8)[...], values
    )


def test_geometry_and_tables_read_back(tmp_path: Path) -> None:
    group = create_group(tmp_path / "x.zarr")
    set_attributes(group, {"status": "ok", "geometry": GEOMETRY.to_dict()})
    create_table(
        group, "tiles", {"origin": np.arange(6).reshape(3, 2), "empty": np.zeros((0, 4), np.int64)}
    )
    seal_store(tmp_path / "x.zarr")
    assert geometry_of(tmp_path / "x.zarr") == GEOMETRY
    table = read_table(tmp_path / "x.zarr", "tiles", ("origin", "empty"))
    assert table["origin"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert table["empty"].shape == (0, 4)


def test_the_error_of_a_failed_slide_is_recorded(tmp_path: Path) -> None:
    record_failure(tmp_path / "x.zarr", SlideError("x.svs: cut off"), {})
    assert recorded_error(tmp_path / "x.zarr") == "x.svs: cut off"
    assert stored_json(tmp_path / "x.zarr")["status"] == "failed"
    with pytest.raises(SlideError, match="cut off"):
        geometry_of(tmp_path / "x.zarr")


def test_missing_and_foreign_stores_are_errors_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such store"):
        open_store(tmp_path / "gone.zarr")
    create_group(tmp_path / "foreign.zarr")
    with pytest.raises(StoreError, match="not a store of this pipeline"):
        open_store(tmp_path / "foreign.zarr")
    create_array(set_group(tmp_path), "a", (3, 3), np.uint8)
    seal_store(tmp_path / "ours.zarr")
    with pytest.raises(StoreError, match="is not an array"):
        open_array(open_store(tmp_path / "ours.zarr"), "folder")


def set_group(tmp_path: Path):
    group = create_group(tmp_path / "ours.zarr")
    set_attributes(group, {"status": "ok"})
    group.require_group("folder")
    return group


def test_blocks_cover_every_pixel_once_and_halos_return_to_their_block() -> None:
    count = np.zeros((37, 53), int)
    for block in blocks(37, 53, 16):
        outer, inner = halo(block, 5, 37, 53)
        count[block] += 1
        assert count[outer][inner].shape == count[block].shape
        assert outer[0].start + inner[0].start == block[0].start
    assert (count == 1).all()
