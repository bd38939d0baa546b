"""From maps to glands: the parameters of the split, and a loud word when a slide has none."""

import logging
from pathlib import Path
from typing import Any

from tiling.glands.export import export_glands
from tiling.glands.instances import SplitParameters
from tiling.store.arrays import attributes

log = logging.getLogger(__name__)


def split_parameters(maps: Path, given: dict[str, Any]) -> SplitParameters:
    """The configuration's values, and the model's own where the configuration says null."""
    card = attributes(maps)["model"]
    own = {"threshold": card["threshold"], **card["split"]}
    chosen = {key: own[key] if given[key] is None else given[key] for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um")}
    return SplitParameters(**chosen, min_area_um2=given["min_area_um2"], sdf_um=card["sdf_um"], use_sdf=card["sdf_scale"] == "um")


def export_slide(glands: Path, maps: Path, geojson: Path, csv: Path, *, slide: str, export: dict[str, Any], workers: int) -> None:
    """Write a slide's GeoJSON and csv (`tiling.glands.export.export_glands`)."""
    count = export_glands(
        glands,
        maps,
        geojson,
        csv,
        slide=slide,
        class_name=export["gland_class"],
        color=tuple(export["color"]),
        origin=export["origin"],
        object_type=export["object_type"],
        simplify_um=export["simplify_um"],
        workers=workers,
    )
    for ending in ("geojson", "geojson.gz"):
        if (other := geojson.parent / f"{slide}.{ending}") != geojson:
            other.unlink(missing_ok=True)  # outlines of an earlier `export.compress`: two files would disagree
    if count == 0:
        log.warning(
            "%s: NO GLANDS FOUND. Likely causes: another stain or organ than the model's, a wrong pixel size (column mpp), "
            "glands.threshold or glands.min_area_um2 too high, tissue not found (look at the preview)",
            slide,
        )
