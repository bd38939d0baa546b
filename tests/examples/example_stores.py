"""Stores that tests write by hand: valid attributes, of which a test names only what it needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry, Window
from tiling.stores.arrays import create_array, create_group, create_table
from tiling.stores.layout import LabelStore, MapStore, StoredRegion, TileStore
from tiling.stores.manifest import seal_store


def tile_attributes(geometry: Geometry, **changes: Any) -> TileStore:
    """Attributes of a tile store whose coarse grid has pixels of 8 stored pixels."""
    values: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "mpp_origin": "sheet",
        "tissue_mpp_um": 8.0 * geometry.mpp,
        "tissue_stride_px": 8,
        "tissue_um2": 0.0,
        "tile_px": 128,
        "overlap_px": 32,
        "slide": "s",
    }
    return TileStore(geometry=geometry, **{**values, **changes})


def label_attributes(geometry: Geometry, regions: list[StoredRegion]) -> LabelStore:
    """Attributes of a label store with these regions."""
    return LabelStore(slide="s", geometry=geometry, regions=regions)


def map_attributes(geometry: Geometry, **changes: Any) -> MapStore:
    """Attributes of a map store of a model without a card."""
    return MapStore(**{"slide": "s", "geometry": geometry, "model": {}, **changes})


def write_tiles(
    path: Path,
    image: NDArray[np.uint8],
    origins: Sequence[tuple[int, int]] = ((0, 0), (0, 96), (192, 288)),
    status: Sequence[int] = (0, 1, 0),
    **changes: Any,
) -> Path:
    """A tile store of an image, uint8 (3, y, x), with the tiles at these origins (y, x)."""
    group = create_group(path)
    create_array(group, "0", image.shape, np.uint8, fill=255)[...] = image
    columns = {"origin_yx_px": np.array(origins, np.int64), "status": np.array(status, np.uint8)}
    create_table(group, "tiles", columns)
    geometry = Geometry.uniform(image.shape[2], image.shape[1])
    tile_attributes(geometry, **changes).write(group)
    seal_store(path)
    return path


def write_labels(
    path: Path,
    weight: NDArray[np.uint8],
    windows: Sequence[tuple[int, int, int, int]],
    labels: NDArray[np.int32] | None = None,
) -> Path:
    """A label store with regions of these windows; without labels the weights are the labels."""
    group = create_group(path)
    values = weight if labels is None else labels
    create_array(group, "labels", weight.shape, np.int32)[...] = values
    create_array(group, "weight", weight.shape, np.uint8)[...] = weight
    regions = [StoredRegion(f"r{number}", Window(*window)) for number, window in enumerate(windows)]
    numbers = np.zeros(weight.shape, np.uint16)
    for number, region in enumerate(regions, start=1):
        numbers[region.window.slices] = number
    create_array(group, "region", weight.shape, np.uint16)[...] = numbers
    geometry = Geometry.uniform(weight.shape[1], weight.shape[0])
    label_attributes(geometry, regions).write(group)
    seal_store(path)
    return path
