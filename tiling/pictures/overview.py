"""One picture of a slide with its glands: the whole slide with outlines, where the experts disagree, and close-ups at stored resolution.

Label and map arrays are read block by block: memory does not grow with the slide.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from tiling.geometry import Geometry, blocks, halo
from tiling.pictures.canvas import GLAND, INK, REGION, Thumbnail, draw_scale_bar, font, inner_edges, png_bytes, thumbnail, tint
from tiling.store.arrays import SHARD_PX, attributes, open_array, open_store, read_table
from tiling.store.atomic import write_atomic

_MARGIN = 20
_LEAST_WIDTH = 1000
_PANEL_PX = 480
_LEAST_MAIN_PX = 800


class Survey(NamedTuple):
    """What one pass over the labels finds.

    Attributes
    ----------
    edges : bool (h, w) on the thumbnail's grid, outlines
    disagreement : float64 (N,), mean code 0..255 of each object
    contact_px : int64 (N,), pixel edges shared with other objects
    """

    edges: NDArray[np.bool_]
    disagreement: NDArray[np.float64]
    contact_px: NDArray[np.int64]


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
    zoom_panels : close-ups, 1:1 stored pixels: the largest gland, the least certain one, touching ones, then the next of each
    block_px : side of the blocks in which arrays are read, stored pixels

    Raises
    ------
    SlideError
        One of the stores records that the slide failed.
    """
    small = thumbnail(tiles, max_px)
    objects = read_table(glands, "objects", ("window_px", "area_px"))
    label_array = open_array(open_store(glands), "labels")
    disagreement = open_array(open_store(maps), "disagreement")
    survey = survey_labels(label_array, disagreement, objects["window_px"], objects["area_px"], small, block_px=block_px)
    main = _main_panel(small, survey.edges, _regions(labels))
    panel_px = min(_PANEL_PX, (max(main.width, _LEAST_WIDTH) - zoom_panels * _MARGIN) // (zoom_panels + 1))
    panels = [_heat_panel(disagreement, small.geometry, panel_px, block_px)]
    pixels = open_array(open_store(tiles), "0")
    for caption, row in choose_close_ups(objects["area_px"], survey.disagreement, survey.contact_px, zoom_panels):
        close = _close_up(pixels, label_array, objects["window_px"][row], small.geometry, panel_px)
        panels.append((f"{caption}: gland {row + 1}", close))
    area_um2 = float(objects["area_px"].sum()) * small.geometry.um2_per_px
    facts = f"{len(objects['area_px'])} glands, {area_um2 / 1e6:.3f} mm² of gland; {small.geometry.mpp:.3g} µm per stored pixel"
    write_atomic(out, png_bytes(_page(title, facts, main, panels, regions=labels is not None)))


def survey_labels(
    labels: zarr.Array[Any],
    disagreement: zarr.Array[Any],
    windows_px: NDArray[np.int64],
    area_px: NDArray[np.int64],
    small: Thumbnail,
    *,
    block_px: int,
) -> Survey:
    """Outlines on the thumbnail's grid and measures of each object, in one pass over the blocks that hold objects.

    Parameters
    ----------
    labels : int32 (y, x), 0 background, 1..N
    disagreement : uint8 (y, x)
    windows_px, area_px : of the object table, row i = label i + 1
    small : thumbnail, gives the grid
    block_px : side of a block
    """
    height, width = labels.shape
    edges = np.zeros((small.image.height, small.image.width), bool)
    total = np.zeros(len(area_px) + 1)
    contact = np.zeros(len(area_px) + 1, np.int64)
    for block in _occupied(blocks(height, width, block_px), windows_px, block_px, width):
        outer, inner = halo(block, 1, height, width)
        part = np.asarray(labels[outer])
        y, x = np.nonzero(inner_edges(part)[inner])
        # The centre of a stored pixel decides where on the thumbnail it falls.
        rows = ((y + block[0].start + 0.5) / small.px_per_pixel[0]).astype(np.int64)
        columns = ((x + block[1].start + 0.5) / small.px_per_pixel[1]).astype(np.int64)
        edges[np.minimum(rows, edges.shape[0] - 1), np.minimum(columns, edges.shape[1] - 1)] = True
        total += np.bincount(part[inner].ravel(), np.asarray(disagreement[block]).ravel(), minlength=len(total))
        _count_contact(contact, part, inner)
    return Survey(edges, total[1:] / np.maximum(area_px, 1), contact[1:])


def choose_close_ups(
    area_px: NDArray[np.int64], disagreement: NDArray[np.float64], contact_px: NDArray[np.int64], count: int
) -> list[tuple[str, int]]:
    """Captions and rows of the objects worth a close look, each object once.

    Fragments below a quarter of the median area are never the least certain one: they would fill every picture.

    >>> choose_close_ups(np.array([100, 900, 110, 5]), np.array([3.0, 1, 9, 200]), np.array([7, 0, 2, 0]), 3)
    [('largest', 1), ('least certain', 2), ('touching', 0)]
    """
    if not len(area_px):
        return []
    fair = area_px >= np.median(area_px) / 4
    orders = {
        "largest": [int(i) for i in np.argsort(-area_px, kind="stable")],
        "least certain": [int(i) for i in np.argsort(-disagreement, kind="stable") if fair[i]],
        "touching": [int(i) for i in np.argsort(-contact_px, kind="stable") if contact_px[i]],
    }
    chosen: dict[int, str] = {}
    while len(chosen) < min(count, len(area_px)):
        before = len(chosen)
        for caption, order in orders.items():
            row = next((i for i in order if i not in chosen), None)
            if row is not None and len(chosen) < count:
                chosen[row] = caption
        if len(chosen) == before:
            break
    return [(caption, row) for row, caption in chosen.items()]


def reduced_mean(array: zarr.Array[Any], step_px: int, block_px: int) -> NDArray[np.float64]:
    """Mean over step x step pixels, read in blocks; at the far edges over the pixels there are.

    Returns
    -------
    float64 (ceil(h / step), ceil(w / step))
    """
    height, width = array.shape
    side = max(block_px // step_px, 1) * step_px
    result = np.zeros((-(-height // step_px), -(-width // step_px)))
    for rows, columns in blocks(height, width, side):
        part = np.asarray(array[rows, columns])
        if not part.any():  # most of a slide is glass
            continue
        starts = [np.arange(0, length, step_px) for length in part.shape]
        sums = np.add.reduceat(np.add.reduceat(part, starts[0], axis=0, dtype=np.float64), starts[1], axis=1)
        counts = [np.diff(np.append(start, length)) for start, length in zip(starts, part.shape, strict=True)]
        top, left = rows.start // step_px, columns.start // step_px
        result[top : top + sums.shape[0], left : left + sums.shape[1]] = sums / np.outer(*counts)
    return result


def _occupied(parts: list[tuple[slice, slice]], windows_px: NDArray[np.int64], block_px: int, width: int) -> list[tuple[slice, slice]]:
    """Blocks that an object's window reaches into, raster order."""
    across = -(-width // block_px)
    hit: set[int] = set()
    for y, x, h, w in windows_px.tolist():
        for row in range(y // block_px, (y + h - 1) // block_px + 1):
            hit.update(range(row * across + x // block_px, row * across + (x + w - 1) // block_px + 1))
    return [parts[index] for index in sorted(hit)]


def _count_contact(contact: NDArray[np.int64], part: NDArray[np.int32], inner: tuple[slice, slice]) -> None:
    """Add each object's pixel edges with other objects; an edge across two blocks is counted by each for its own pixel."""
    for axis in (0, 1):
        low = part[:-1] if axis == 0 else part[:, :-1]
        high = part[1:] if axis == 0 else part[:, 1:]
        y, x = np.nonzero((low != high) & (low != 0) & (high != 0))
        for label, dy, dx in ((low[y, x], 0, 0), (high[y, x], 1 - axis, axis)):
            row, column = y + dy, x + dx
            mine = (row >= inner[0].start) & (row < inner[0].stop) & (column >= inner[1].start) & (column < inner[1].stop)
            np.add.at(contact, label[mine], 1)


def _regions(labels: Path | None) -> list[dict[str, Any]]:
    """Annotated regions of a label store; none where it records a failure."""
    if labels is None:
        return []
    return list(attributes(labels).get("regions", []))


def _main_panel(small: Thumbnail, edges: NDArray[np.bool_], regions: list[dict[str, Any]]) -> Image.Image:
    times = _times(small.image.size, _LEAST_MAIN_PX)
    image = _magnified(tint(small.image, ndimage.binary_dilation(edges) if times == 1 else edges, GLAND), times)
    draw = ImageDraw.Draw(image)
    down, right = (px / times for px in small.px_per_pixel)
    for region in regions:
        y, x, h, w = region["window"]
        draw.rectangle((x / right, y / down, (x + w) / right - 1, (y + h) / down - 1), outline=REGION, width=2)
        draw.text((x / right + 5, y / down + 3), str(region["name"]), fill=REGION, font=font(15), stroke_width=2, stroke_fill="white")
    draw_scale_bar(image, small.geometry.mpp_x * right)
    return image


def _heat_panel(disagreement: zarr.Array[Any], geometry: Geometry, panel_px: int, block_px: int) -> tuple[str, Image.Image]:
    """The disagreement of the experts over the slide, dark = none."""
    import matplotlib

    step = max(-(-max(geometry.height_px, geometry.width_px) // panel_px), 1)
    mean = reduced_mean(disagreement, step, block_px) / 255
    highest = float(mean.max()) or 1.0
    colours = matplotlib.colormaps["magma"](mean / highest, bytes=True)[..., :3]
    image = Image.fromarray(np.ascontiguousarray(colours))
    grow = panel_px / max(image.size)
    image = image.resize((max(round(image.width * grow), 1), max(round(image.height * grow), 1)), Image.Resampling.NEAREST)
    return f"disagreement 0..{highest:.2f}", image


def _close_up(
    pixels: zarr.Array[Any], labels: zarr.Array[Any], window_px: NDArray[np.int64], geometry: Geometry, panel_px: int
) -> Image.Image:
    """The surroundings of one object, a stored pixel per pixel (more where the slide is smaller than the panel), with outlines."""
    y, x, h, w = window_px.tolist()
    top = max(min(y + h // 2 - panel_px // 2, geometry.height_px - panel_px), 0)
    left = max(min(x + w // 2 - panel_px // 2, geometry.width_px - panel_px), 0)
    place = (slice(top, min(top + panel_px, geometry.height_px)), slice(left, min(left + panel_px, geometry.width_px)))
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(pixels[:, place[0], place[1]]), 0, -1)))
    times = _times(image.size, panel_px)
    image = _magnified(tint(image, _two_px(np.asarray(labels[place])), GLAND), times)
    draw_scale_bar(image, geometry.mpp_x / times)
    return image


def _times(size: tuple[int, int], least_px: int) -> int:
    """How many times a picture can be magnified until its longer side is about `least_px`; small slides must not be stamps."""
    return max(least_px // max(size), 1)


def _magnified(image: Image.Image, times: int) -> Image.Image:
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _two_px(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Outlines two pixels wide that stay inside their objects, so that touching ones can be told apart."""
    edges = inner_edges(labels)
    return np.asarray(edges | (ndimage.binary_dilation(edges) & (labels != 0)))


def _page(title: str, facts: str, main: Image.Image, panels: list[tuple[str, Image.Image]], *, regions: bool) -> Image.Image:
    """Title, slide, and the strip of panels below it, on white."""
    # A narrow panel keeps the width of its caption: captions must not run into each other.
    columns = [max(panel.width, round(_text_width(caption, 17))) for caption, panel in panels]
    strip_width = sum(columns) + _MARGIN * (len(panels) - 1)
    width = max(main.width, strip_width, _LEAST_WIDTH) + 2 * _MARGIN
    top = 92
    strip_top = top + main.height + _MARGIN + 26
    page = Image.new("RGB", (width, strip_top + max(panel.height for _, panel in panels) + _MARGIN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 12), title, fill=INK, font=font(28))
    draw.text((_MARGIN, 56), facts, fill=INK, font=font(18))
    legend = _MARGIN + _text_width(facts, 18) + 30
    for text, colour in (("gland", GLAND), *((("annotated region", REGION),) if regions else ())):
        draw.rectangle((legend, 60, legend + 22, 74), outline=colour, width=3)
        draw.text((legend + 30, 56), text, fill=INK, font=font(18))
        legend += 50 + _text_width(text, 18)
    page.paste(main, (_MARGIN, top))
    left = _MARGIN
    for (caption, panel), column in zip(panels, columns, strict=True):
        draw.text((left, strip_top - 26), caption, fill=INK, font=font(17))
        page.paste(panel, (left, strip_top))
        left += column + _MARGIN
    return page


def _text_width(text: str, size: int) -> float:
    return float(font(size).getlength(text))
