"""From maps to glands: the parameters of the split, and a loud word when a slide has none."""

import logging
from pathlib import Path
from typing import Any

from tiling.objects.stitch import stitch
from tiling.qupath.export_glands import export_glands
from tiling.qupath.geojson_writer import OutlineStyle
from tiling.raster.split_rule import SplitParameters
from tiling.stores.layout import MapStore

log = logging.getLogger(__name__)
_LARGE_MB = 200


def split_parameters(maps: Path, given: dict[str, Any]) -> SplitParameters:
    """The configuration's values, and the model's own where the configuration says null."""
    card = MapStore.read(maps).model
    own = {"threshold": card["threshold"], **card["split"]}
    chosen = {
        key: own[key] if given[key] is None else given[key]
        for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um")
    }
    return SplitParameters(
        **chosen,
        min_area_um2=given["min_area_um2"],
        sdf_um=card["sdf_um"],
        use_sdf=card["sdf_scale"] == "um",
    )


def stitch_slide(
    maps: Path, glands: Path, *, slide: str, given: dict[str, Any], workers: int, code_version: int
) -> None:
    """Cut a slide's maps into glands (`tiling.objects.stitch.stitch`); a label mask of other glands does not stay beside them."""
    (glands.parent / f"{slide}.ome.tiff").unlink(missing_ok=True)
    stitch(
        maps,
        glands,
        parameters=split_parameters(maps, given),
        slide=slide,
        workers=workers,
        code_version=code_version,
        progress=True,
    )


def export_slide(
    glands: Path,
    maps: Path,
    geojson: Path,
    csv: Path,
    *,
    slide: str,
    export: dict[str, Any],
    workers: int,
) -> None:
    """Write a slide's GeoJSON and csv (`tiling.qupath.export_glands.export_glands`)."""
    style = OutlineStyle(
        class_name=export["gland_class"],
        colour=tuple(export["color"]),
        object_type=export["object_type"],
        simplify_um=export["simplify_um"],
    )
    count = export_glands(
        glands,
        maps,
        geojson,
        csv,
        slide=slide,
        style=style,
        origin=export["origin"],
        workers=workers,
    )
    for ending in ("geojson", "geojson.gz"):
        if (other := geojson.parent / f"{slide}.{ending}") != geojson:
            other.unlink(
                missing_ok=True
            )  # outlines of an earlier `export.compress`: two files would disagree
    size_mb = geojson.stat().st_size / 1e6
    if geojson.suffix != ".gz" and size_mb > _LARGE_MB:
        log.info(
            "%s: %.0f MB of outlines; export.compress: true writes about a seventh of that, which QuPath reads as well",
            slide,
            size_mb,
        )
    if count == 0:
        log.warning(
            "%s: NO GLANDS FOUND. Likely causes: another stain or organ than the model's, a wrong pixel size (column mpp), "
            "glands.threshold or glands.min_area_um2 too high, tissue not found (look at the preview)",
            slide,
        )
