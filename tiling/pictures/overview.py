"""One picture of a slide with its glands: the whole slide with outlines, close-ups, and where the model is sure and where it is not.

Label and map arrays are read block by block: memory does not grow with the slide.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from tiling.messages import counted
from tiling.pictures.canvas import (
    GLAND,
    INK,
    REGION,
    Thumbnail,
    cut_text,
    font,
    magnified,
    png_bytes,
    text_width,
    thumbnail,
    tint,
    with_scale_bar,
)
from tiling.pictures.close_ups import choose_close_ups, close_up
from tiling.pictures.heat_maps import heat_map
from tiling.pictures.label_survey import Survey, survey_labels
from tiling.raster.atomic_files import write_atomic
from tiling.stores.arrays import SHARD_PX, open_array, open_store, read_table
from tiling.stores.attributes import recorded_error
from tiling.stores.layout import LabelStore, StoredRegion

_MARGIN = 20
_CAPTION_PX = 26
_LEAST_WIDTH = 1000
_LEAST_MAIN_PX = 800
_PANEL_PX = 480
_LEAST_PANEL_PX = 320
Window = tuple[int, int, int, int]


class Panel(NamedTuple):
    """A picture with a line above it."""

    caption: str
    image: Image.Image


def overview(
    tiles: Path,
    glands: Path,
    maps: Path,
    out: Path,
    *,
    title: str,
    labels: Path | None = None,
    max_px: int = 1600,
    zoom_panels: int = 3,
    block_px: int = SHARD_PX,
) -> None:
    """Write one PNG of a slide's result.

    Parameters
    ----------
    tiles, glands, maps : stores of the slide
    out : PNG, written whole or not at all
    title : first line of the picture
    labels : label store, to draw the annotated regions
    max_px : longer side of the slide in the picture
    zoom_panels : close-ups: the largest gland, the least certain one, touching ones, then the next of each
    block_px : side of the blocks in which arrays are read, stored pixels

    Raises
    ------
    SlideError
        One of the stores records that the slide failed.
    """
    small = thumbnail(tiles, max_px)
    objects = read_table(glands, "objects", ("window_px", "area_px"))
    label_array = open_array(open_store(glands), "labels")
    gland, disagreement = (open_array(open_store(maps), name) for name in ("gland", "disagreement"))
    survey = survey_labels(
        label_array,
        disagreement,
        objects["window_px"],
        objects["area_px"],
        small,
        block_px=block_px,
    )
    width = max(small.image.width, _LEAST_WIDTH)
    panel_px = max(
        min(_PANEL_PX, (width - (zoom_panels - 1) * _MARGIN) // max(zoom_panels, 1)),
        _LEAST_PANEL_PX,
    )
    pixels = open_array(open_store(tiles), "0")
    shown: list[Window] = []
    close_ups: list[Panel] = []
    for kind, row in choose_close_ups(
        objects["area_px"], survey.disagreement, survey.contact_px, zoom_panels
    ):
        picture = close_up(pixels, label_array, objects["window_px"][row], small.geometry, panel_px)
        shown.append(picture.window_px)
        letter = chr(ord("A") + len(close_ups) % 26)
        close_ups.append(
            Panel(
                f"{letter}  {kind}: gland {row + 1}, {_fact(kind, row, objects['area_px'], survey, small)}",
                picture.image,
            )
        )
    tissue = np.asarray(open_array(open_store(tiles), "tissue")[...]) > 0
    heat_px = (width - _MARGIN) // 2
    heat = [
        Panel("gland probability", heat_map(
            gland, tissue, small.geometry, palette="viridis", max_px=heat_px, block_px=block_px, highest=1.0)),
        Panel("disagreement of the experts", heat_map(
            disagreement, tissue, small.geometry, palette="magma", max_px=heat_px, block_px=block_px)),
    ]  # fmt: skip
    area_um2 = float(objects["area_px"].sum()) * small.geometry.um2_per_px
    facts = f"{counted(len(objects['area_px']), 'gland')}, {area_um2 / 1e6:.3f} mm² of gland; {small.geometry.mpp:.3g} µm per stored pixel"
    main = _main_panel(small, survey.edges, _regions(labels), shown)
    write_atomic(
        out, png_bytes(_page(title, facts, main, [close_ups, heat], regions=labels is not None))
    )


def _fact(kind: str, row: int, area_px: NDArray[np.int64], survey: Survey, small: Thumbnail) -> str:
    """Why a gland is shown."""
    if kind == "least certain":
        return f"disagreement {survey.disagreement[row] / 255:.2f}"
    if kind == "touching":
        return f"along {survey.contact_px[row] * small.geometry.mpp:.0f} µm"
    return f"{area_px[row] * small.geometry.um2_per_px:,.0f} µm²".replace(",", " ")


def _regions(labels: Path | None) -> list[StoredRegion]:
    """Annotated regions of a label store; none where it records a failure."""
    if labels is None or recorded_error(labels) is not None:
        return []
    return LabelStore.read(labels).regions


def _main_panel(
    small: Thumbnail,
    edges: NDArray[np.bool_],
    regions: list[StoredRegion],
    shown: Sequence[Window],
) -> Image.Image:
    """The slide with outlines, regions, and the places of the close-ups."""
    image = small.image
    enlarged = max(image.size) * 2 <= _LEAST_MAIN_PX
    image = magnified(
        tint(image, edges if enlarged else ndimage.binary_dilation(edges), GLAND), _LEAST_MAIN_PX
    )
    times = image.width / small.image.width
    down, right = (px / times for px in small.px_per_pixel)
    draw = ImageDraw.Draw(image)
    taken: list[tuple[float, float, float, float]] = []
    marks: list[tuple[tuple[int, int, int, int], str, tuple[int, int, int], int]] = [
        (region.window, region.name, REGION, 2) for region in regions
    ]
    marks += [(window, chr(ord("A") + index % 26), INK, 1) for index, window in enumerate(shown)]
    for (y, x, h, w), name, colour, line_px in marks:
        box = (x / right, y / down, (x + w) / right - 1, (y + h) / down - 1)
        draw.rectangle(box, outline=colour, width=line_px)
        text = cut_text(name, 15, image.width - box[0] - 8)
        # Names of regions stand inside at the top; one that would cover another is left out. Letters stand at the bottom, and move aside.
        width, letter = text_width(text, 15), colour is INK
        left, top = box[0] + 5, min(box[3], image.height) - 20 if letter else max(box[1] + 3, 0)
        while letter and any(
            _overlap((left, top, left + width, top + 17), other) for other in taken
        ):
            left += width + 4
        place = (left, top, left + width, top + 17)
        if text and not any(_overlap(place, other) for other in taken):
            taken.append(place)
            draw.text(
                (left, top), text, fill=colour, font=font(15), stroke_width=2, stroke_fill="white"
            )
    return with_scale_bar(image, small.geometry.mpp_x * right)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _page(
    title: str, facts: str, main: Image.Image, strips: list[list[Panel]], *, regions: bool
) -> Image.Image:
    """Title, slide, and strips of panels below it, on white."""
    # A narrow panel keeps the width of its caption: captions must not run into each other.
    columns = [
        [max(panel.image.width, text_width(panel.caption, 17)) for panel in strip]
        for strip in strips
    ]
    legend = [
        ("gland", GLAND),
        *((("annotated region", REGION),) if regions else ()),
        ("close-up", INK),
    ]
    legend_width = sum(50 + text_width(text, 18) for text, _ in legend)
    widths = [sum(strip) + _MARGIN * (len(strip) - 1) for strip in columns]
    width = (
        max(main.width, *widths, text_width(facts, 18) + 30 + legend_width, _LEAST_WIDTH)
        + 2 * _MARGIN
    )
    top = 92
    heights = [
        _MARGIN + _CAPTION_PX + max(panel.image.height for panel in strip)
        for strip in strips
        if strip
    ]
    page = Image.new("RGB", (width, top + main.height + sum(heights) + _MARGIN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 12), cut_text(title, 28, width - 2 * _MARGIN), fill=INK, font=font(28))
    draw.text((_MARGIN, 56), facts, fill=INK, font=font(18))
    left = _MARGIN + text_width(facts, 18) + 30
    for text, colour in legend:
        draw.rectangle((left, 60, left + 22, 74), outline=colour, width=1 if colour is INK else 3)
        draw.text((left + 30, 56), text, fill=INK, font=font(18))
        left += 50 + text_width(text, 18)
    page.paste(main, (_MARGIN, top))
    top += main.height
    for strip, wide, height in zip(
        [strip for strip in strips if strip],
        [column for column in columns if column],
        heights,
        strict=True,
    ):
        left = _MARGIN
        for panel, column in zip(strip, wide, strict=True):
            draw.text((left, top + _MARGIN), panel.caption, fill=INK, font=font(17))
            page.paste(panel.image, (left, top + _MARGIN + _CAPTION_PX))
            left += column + _MARGIN
        top += height
    return page
