"""Attributes of stores keep their JSON, and are checked where they are read."""

import json
from pathlib import Path

import numpy as np
import pytest
from example_stores import label_attributes, map_attributes, tile_attributes

from tiling.raster.geometry import Geometry, Window
from tiling.raster.split_parameters import SplitParameters
from tiling.slide_errors import SlideError, StoreError
from tiling.stores.arrays import create_group, read_table
from tiling.stores.attributes import (
    FailedStore,
    StoreAttributes,
    geometry_of,
    record_failure,
    set_attributes,
    stored_json,
)
from tiling.stores.layout import (
    GlandStore,
    LabelStore,
    MapStore,
    PseudoLabelStore,
    StoredRegion,
    TileCounts,
    TileStore,
)
from tiling.stores.manifest import seal_store

GEOMETRY = Geometry.uniform(100, 80, downsample=2.0)
COUNTS = TileCounts(tiles=3, tiles_left_out=1, chunks_read=4, chunks_background=0, chunks_failed=0)
SPLIT = SplitParameters(0.5, 4.0, 0.5, 8.0, 100.0, 20.0)
STORES: list[tuple[StoreAttributes, str]] = [
    (
        tile_attributes(GEOMETRY, counts=COUNTS, parameters={"mpp_um": 1.0}, version=3),
        "status geometry fingerprint source source_bytes reader reader_version mpp_origin "
        "colour_profile tissue_mpp_um tissue_stride_px tissue_um2 tile_px overlap_px slide counts "
        "parameters version",
    ),
    (
        label_attributes(GEOMETRY, [StoredRegion("r", Window(1, 2, 3, 4))]),
        "status slide parameters version geometry regions messages counts",
    ),
    (
        PseudoLabelStore(slide="s", parameters={}, model={}, version=1, geometry=GEOMETRY),
        "status slide parameters model version geometry",
    ),
    (
        map_attributes(GEOMETRY, most_at_once=8),
        "status slide geometry tiles most_at_once parameters model version",
    ),
    (
        GlandStore(slide="s", split=SPLIT, version=1, geometry=GEOMETRY),
        "status slide parameters split version geometry",
    ),
]


@pytest.mark.parametrize(("attributes", "keys"), STORES)
def test_attributes_read_back_and_their_keys_have_a_fixed_order(
    tmp_path: Path, attributes: StoreAttributes, keys: str
) -> None:
    attributes.write(create_group(tmp_path / "x.zarr"))
    seal_store(tmp_path / "x.zarr")
    assert type(attributes).read(tmp_path / "x.zarr") == attributes
    text = json.loads((tmp_path / "x.zarr" / "zarr.json").read_text())
    assert list(text["attributes"]["gland_pipeline"]) == keys.split()


def test_a_region_is_stored_as_name_and_window(tmp_path: Path) -> None:
    region = StoredRegion("r", Window(1, 2, 3, 4))
    label_attributes(GEOMETRY, [region]).write(create_group(tmp_path / "x.zarr"))
    seal_store(tmp_path / "x.zarr")
    assert stored_json(tmp_path / "x.zarr")["regions"] == [{"name": "r", "window": [1, 2, 3, 4]}]
    assert LabelStore.read(tmp_path / "x.zarr").regions == [region]


def test_newer_attributes_may_be_missing(tmp_path: Path) -> None:
    values = {"status": "ok", "slide": "s", "geometry": GEOMETRY.to_dict(), "model": {"a": 1}}
    set_attributes(create_group(tmp_path / "x.zarr"), values)
    seal_store(tmp_path / "x.zarr")
    attributes = MapStore.read(tmp_path / "x.zarr")
    assert (attributes.most_at_once, attributes.parameters, attributes.version) == (None, {}, None)


def test_unknown_attributes_are_ignored(tmp_path: Path) -> None:
    group = create_group(tmp_path / "x.zarr")
    map_attributes(GEOMETRY).write(group)
    set_attributes(group, {"of_a_later_version": 1})
    seal_store(tmp_path / "x.zarr")
    assert MapStore.read(tmp_path / "x.zarr") == map_attributes(GEOMETRY)


@pytest.mark.parametrize("change", [{}, {"tile_px": "large"}])
def test_a_missing_or_wrong_attribute_is_an_error_with_its_name(
    tmp_path: Path, change: dict[str, str]
) -> None:
    values = {"status": "ok", "slide": "s", "geometry": GEOMETRY.to_dict(), "mpp_origin": "sheet"}
    values |= {"tissue_mpp_um": 8.0, "tissue_stride_px": 8, "tissue_um2": 1.0, "overlap_px": 32}
    set_attributes(create_group(tmp_path / "x.zarr"), values | change)
    seal_store(tmp_path / "x.zarr")
    with pytest.raises(StoreError, match=r"x\.zarr: attribute tile_px: .*run again"):
        TileStore.read(tmp_path / "x.zarr")


@pytest.mark.parametrize("kind", [TileStore, LabelStore, PseudoLabelStore, MapStore, GlandStore])
def test_reading_a_failed_store_raises_the_recorded_error(
    tmp_path: Path, kind: type[StoreAttributes]
) -> None:
    record_failure(tmp_path / "x.zarr", SlideError("s.svs: no pixel size"), {"mpp": None})
    expected = {"status": "failed", "error": "s.svs: no pixel size", "parameters": {"mpp": None}}
    assert stored_json(tmp_path / "x.zarr") == expected
    for read in (kind.read, geometry_of):
        with pytest.raises(SlideError, match=r"^s\.svs: no pixel size$"):
            read(tmp_path / "x.zarr")
    assert FailedStore.STATUS == "failed"


def test_a_table_has_the_columns_of_its_kind_of_store(tmp_path: Path) -> None:
    columns = {name: np.zeros(2, dtype) for name, dtype in GlandStore.COLUMNS.items()}
    group = create_group(tmp_path / "x.zarr")
    GlandStore(slide="s", split=SPLIT, geometry=GEOMETRY).write(group)
    GlandStore.write_table(group, columns)
    seal_store(tmp_path / "x.zarr")
    table = read_table(tmp_path / "x.zarr", GlandStore.TABLE, tuple(GlandStore.COLUMNS))
    assert {name: values.dtype.name for name, values in table.items()} == dict(GlandStore.COLUMNS)
    with pytest.raises(ValueError, match="GlandStore: columns"):
        GlandStore.write_table(group, {**columns, "area_px": np.zeros(2, np.int32)})


@pytest.mark.parametrize(
    ("parameters", "drawn"), [({}, False), ({"roi": "checksum"}, True), ({"tissue": "c"}, True)]
)
def test_drawn_tissue_is_recorded_in_the_parameters(
    parameters: dict[str, str], drawn: bool
) -> None:
    assert tile_attributes(GEOMETRY, parameters=parameters).tissue_was_drawn == drawn
