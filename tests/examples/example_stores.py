"""Attributes of stores that tests write by hand: valid ones, of which a test names what it needs."""

from typing import Any

from tiling.raster.geometry import Geometry
from tiling.stores.layout import LabelStore, MapStore, StoredRegion, TileStore


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
