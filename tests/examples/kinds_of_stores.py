"""A small store of each kind, and all that jobs read of it."""

from pathlib import Path
from typing import Any

import numpy as np
from example_stores import map_attributes, tile_attributes
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry, Window
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.arrays import create_array, create_group, open_array, open_store, read_table
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import StoreAttributes, geometry_of
from tiling.stores.layout import GlandStore, LabelStore, MapStore, StoredRegion, TileStore
from tiling.stores.shards import ShardReader

SHAPE = (130, 200)
GEOMETRY = Geometry.uniform(SHAPE[1], SHAPE[0])
SPLIT = SplitParameters(
    threshold=0.5,
    seed_depth_um=3.0,
    boundary_level=0.5,
    growth_um=10.0,
    min_area_um2=0.0,
    sdf_um=20.0,
    use_sdf=True,
)
Content = dict[str, Any]


def noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write(
    path: Path,
    attributes: StoreAttributes,
    shapes: dict[str, tuple[int, ...]],
    columns: dict[str, NDArray[Any]] | None = None,
) -> Path:
    with write_store(path, {}) as unfinished:
        group = create_group(unfinished.folder)
        for name, shape in shapes.items():
            dtype = attributes.ARRAYS.get(name, "uint8")
            create_array(group, name, shape, dtype)[...] = noise(shape, dtype)
        if columns is not None:
            attributes.write_table(group, columns)
        attributes.write(group)
    return path


def columns_of(kind: type[StoreAttributes], rows: int) -> dict[str, NDArray[Any]]:
    pairs = {"origin_yx_px": 2, "origin_xy_level0": 2, "window_px": 4}
    return {
        name: noise((rows, pairs[name]) if name in pairs else (rows,), dtype)
        for name, dtype in kind.COLUMNS.items()
    }


def write_kind(path: Path, kind: type[StoreAttributes]) -> Path:
    """A small store of each kind, with all arrays and the table of its kind."""
    if kind is TileStore:
        shapes: dict[str, tuple[int, ...]] = {"0": (3, *SHAPE), "tissue": (17, 25), "pen": (17, 25)}
        return write(path, tile_attributes(GEOMETRY), shapes, columns_of(kind, 6))
    plain: dict[str, tuple[int, ...]] = dict.fromkeys(kind.ARRAYS, SHAPE)
    if kind is MapStore:
        return write(path, map_attributes(GEOMETRY, model={"threshold": 0.5}), plain)
    if kind is LabelStore:
        region = StoredRegion("r", Window(0, 0, *SHAPE))
        return write(path, LabelStore(slide="s", geometry=GEOMETRY, regions=[region]), plain)
    glands = GlandStore(slide="s", split=SPLIT, geometry=GEOMETRY)
    return write(path, glands, plain, columns_of(kind, 30))


def content(path: Path, kind: type[StoreAttributes]) -> Content:
    """All that later jobs read of a store."""
    group = open_store(path)
    values: Content = {"attributes": kind.read(path), "geometry": geometry_of(path)}
    for name in [*kind.ARRAYS, *(["0"] if kind is TileStore else [])]:
        array = open_array(group, name)
        values[name] = np.asarray(array[...]).tolist()
        block = tuple(slice(0, side) for side in array.shape[-2:])
        assert ShardReader(array)[block].tolist() == values[name]
    if kind.TABLE:
        table = read_table(path, kind.TABLE, tuple(kind.COLUMNS))
        values |= {f"column {name}": column.tolist() for name, column in table.items()}
    return values
