"""From the glands of a slide to outlines for QuPath and a table of measurements."""

import logging
from pathlib import Path

from tiling.qupath.export_glands import export_glands
from tiling.qupath.geojson_writer import OutlineStyle
from workflow.config.option_groups import ExportOptions

log = logging.getLogger(__name__)
_LARGE_MB = 200


def export_slide(
    glands: Path,
    maps: Path,
    geojson: Path,
    csv: Path,
    *,
    slide: str,
    options: ExportOptions,
    workers: int,
) -> None:
    """Write GeoJSON and csv of a slide (`tiling.qupath.export_glands.export_glands`)."""
    style = OutlineStyle(
        class_name=options.gland_class,
        colour=(options.color[0], options.color[1], options.color[2]),
        object_type=options.object_type,
        smooth_um=options.smooth_um,
        simplify_um=options.simplify_um,
    )
    count = export_glands(
        glands,
        maps,
        geojson,
        csv,
        slide=slide,
        style=style,
        origin=options.origin,
        workers=workers,
    )
    # Outlines of an earlier run with another `export.compress` would contradict these.
    for suffix in ("geojson", "geojson.gz"):
        other = geojson.parent / f"{slide}.{suffix}"
        if other != geojson:
            other.unlink(missing_ok=True)
    size_mb = geojson.stat().st_size / 1e6
    if geojson.suffix != ".gz" and size_mb > _LARGE_MB:
        log.info(
            "%s: the outlines take %.0f MB; `export.compress: true` writes about a seventh of that,"
            " and QuPath reads it as well",
            slide,
            size_mb,
        )
    if count == 0:
        log.warning(
            "%s: NO GLANDS FOUND. Likely causes: the slide has another stain or organ than the"
            " slides of the model; the pixel size is wrong (column mpp); glands.threshold or"
            " glands.min_area_um2 is too high; the tissue was not detected (see the preview)",
            slide,
        )
