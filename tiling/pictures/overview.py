"""One picture of a slide with its glands.

It shows the slide with outlines, close-ups, and where the model is certain and uncertain. Labels
and maps are read block by block: memory does not grow with the slide.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.messages import counted
from tiling.pictures.canvas import Thumbnail, png_bytes, slide_thumbnail
from tiling.pictures.close_ups import (
    ChosenObject,
    CloseUpPlaces,
    choose_close_ups,
    draw_close_up,
)
from tiling.pictures.drawn_annotation import annotation_on_thumbnail, stored_annotation
from tiling.pictures.heat_maps import draw_heat_map
from tiling.pictures.label_scan import LabelScan, scan_labels
from tiling.pictures.overview_page import (
    MARGIN_PX,
    MIN_WIDTH_PX,
    Panel,
    PlacedAnnotation,
    draw_main_panel,
    draw_page,
    letter_of,
)
from tiling.pictures.truth_comparison import compare_glands
from tiling.raster.atomic_files import write_atomic
from tiling.raster.geometry import Window
from tiling.raster.quantise import restore_probability
from tiling.stores.arrays import SHARD_PX, open_array, open_store, read_table
from tiling.stores.attributes import recorded_error
from tiling.stores.layout import LabelStore
from tiling.stores.shards import ShardReader
from tiling.stores.slide_stores import SlideStores

_PANEL_PX = 480
_MIN_PANEL_PX = 320


class _GlandScan(NamedTuple):
    """The object table of a slide, and one pass over its labels."""

    windows_px: NDArray[np.int64]
    area_px: NDArray[np.int64]
    scan: LabelScan


def write_overview(
    stores: SlideStores,
    out: Path,
    *,
    title: str,
    max_px: int = 1600,
    close_up_count: int = 3,
    block_px: int = SHARD_PX,
) -> None:
    """Write one PNG of the result of a slide.

    Parameters
    ----------
    stores : of the slide; its annotation is drawn if it has a label store
    out : PNG, appears when it is complete
    title : first line of the picture
    max_px : longer side of the slide in the picture
    close_up_count : close-ups: the largest gland, the least certain one, one that touches another,
        then the next of each
    block_px : side of the blocks in which arrays are read, stored pixels

    Raises
    ------
    SlideError
        One of the stores records that the slide failed.
    """
    thumbnail = slide_thumbnail(stores.tiles, max_px)
    glands = _scan_glands(stores, thumbnail, block_px)
    width = max(thumbnail.image.width, MIN_WIDTH_PX)
    gaps_px = (close_up_count - 1) * MARGIN_PX
    panel_px = min(_PANEL_PX, (width - gaps_px) // max(close_up_count, 1))
    close_ups, windows = _close_ups(
        stores, glands, thumbnail, close_up_count, max(panel_px, _MIN_PANEL_PX)
    )
    heat_maps = _heat_maps(stores, thumbnail, (width - MARGIN_PX) // 2, block_px)
    annotation = _annotation(stores, thumbnail, block_px)
    main = draw_main_panel(thumbnail, glands.scan.edges, annotation, windows)
    page = draw_page(
        title,
        _facts(glands, thumbnail, annotation),
        main,
        [close_ups, heat_maps],
        annotated=annotation is not None,
    )
    write_atomic(out, png_bytes(page))


def _scan_glands(stores: SlideStores, thumbnail: Thumbnail, block_px: int) -> _GlandScan:
    objects = read_table(stores.glands, "objects", ("window_px", "area_px"))
    windows_px, area_px = objects["window_px"], objects["area_px"]
    scan = scan_labels(
        ShardReader(open_array(open_store(stores.glands), "labels")),
        ShardReader(open_array(open_store(stores.maps), "disagreement")),
        windows_px,
        area_px,
        thumbnail,
        block_px=block_px,
    )
    return _GlandScan(windows_px, area_px, scan)


def _close_ups(
    stores: SlideStores, glands: _GlandScan, thumbnail: Thumbnail, count: int, panel_px: int
) -> tuple[list[Panel], list[Window]]:
    """Panels of close-ups, and what they show of the slide."""
    tiles = open_store(stores.tiles)
    pixels = open_array(tiles, "0")
    labels = open_array(open_store(stores.glands), "labels")
    panels: list[Panel] = []
    windows: list[Window] = []
    scan = glands.scan
    tissue = np.asarray(open_array(tiles, "tissue")[...]) > 0
    places = CloseUpPlaces(glands.windows_px, tissue, thumbnail.geometry, panel_px)
    chosen = choose_close_ups(
        glands.area_px, scan.disagreement, scan.contact_px, count, places.suits
    )
    for index, one in enumerate(chosen):
        window_px, label = glands.windows_px[one.row], one.row + 1
        close_up = draw_close_up(pixels, labels, window_px, thumbnail, panel_px, label=label)
        fact = _reason_value(one, glands, thumbnail)
        caption = f"{letter_of(index)}  {one.reason_text}: gland {label}, {fact}"
        panels.append(Panel(caption, close_up.image))
        windows.append(close_up.window_px)
    return panels, windows


def _reason_value(chosen: ChosenObject, glands: _GlandScan, thumbnail: Thumbnail) -> str:
    """The value for which a gland is shown."""
    reason, row, _ = chosen
    geometry = thumbnail.geometry
    if reason == "least certain":
        return f"disagreement {restore_probability(glands.scan.disagreement[row]):.2f}"
    if reason == "touching":
        return f"along {glands.scan.contact_px[row] * geometry.mpp:.0f} µm"
    return f"{glands.area_px[row] * geometry.um2_per_px:,.0f} µm²".replace(",", " ")


def _heat_maps(
    stores: SlideStores, thumbnail: Thumbnail, width_px: int, block_px: int
) -> list[Panel]:
    """Panels of the gland probability and of the disagreement."""
    tissue = np.asarray(open_array(open_store(stores.tiles), "tissue")[...]) > 0
    maps = open_store(stores.maps)
    gland = draw_heat_map(
        ShardReader(open_array(maps, "gland")),
        tissue,
        thumbnail.geometry,
        palette="viridis",
        max_px=width_px,
        block_px=block_px,
        highest=1.0,
    )
    disagreement = draw_heat_map(
        ShardReader(open_array(maps, "disagreement")),
        tissue,
        thumbnail.geometry,
        palette="magma",
        max_px=width_px,
        block_px=block_px,
    )
    return [Panel("gland probability", gland), Panel("disagreement of the experts", disagreement)]


def _annotation(
    stores: SlideStores, thumbnail: Thumbnail, block_px: int
) -> PlacedAnnotation | None:
    """The annotation in the label store; None without a store, or if it records a failure."""
    labels = stores.labels
    if labels is None or recorded_error(labels) is not None:
        return None
    drawn = annotation_on_thumbnail(stored_annotation(labels), thumbnail, block_px=block_px)
    prediction = open_array(open_store(stores.glands), "labels")
    comparison = compare_glands(open_store(labels), prediction, thumbnail, block_px=block_px)
    return PlacedAnnotation(drawn, LabelStore.read(labels).regions, comparison)


def _facts(glands: _GlandScan, thumbnail: Thumbnail, annotation: PlacedAnnotation | None) -> str:
    """Number and area of the glands, the pixel size, and how they compare with the annotation."""
    geometry = thumbnail.geometry
    area_mm2 = float(glands.area_px.sum()) * geometry.um2_per_px / 1e6
    count = counted(len(glands.area_px), "gland")
    facts = f"{count}, {area_mm2:.3f} mm² of gland; {geometry.mpp:.3g} µm per stored pixel"
    if annotation is None:
        return facts
    true, missed, false = annotation.compared[:3]
    return f"{facts}; of {counted(true, 'annotated gland')} {missed} missed, {false} false"
