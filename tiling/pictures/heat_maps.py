"""Maps of a slide as pictures: means over squares, in colours that grow lighter with the value.

Lightness alone shows the value, so that the picture can be read without seeing colours.
"""

from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.pictures.canvas import (
    SCALE_BAR_FONT_PX,
    SCALE_BAR_HEIGHT_PX,
    TEXT_COLOUR,
    Colour,
    font,
    text_width,
    with_scale_bar,
)
from tiling.raster.cell_sums import cell_sums
from tiling.raster.geometry import Geometry, blocks
from tiling.raster.quantise import PROBABILITY_SCALE
from tiling.stores.shards import ShardReader

_GLASS_COLOUR: Colour = (235, 235, 235)
_COLOUR_BAR_PX = (110, 12)
_MIN_WIDTH_PX = 360
_HIGHEST_VALUES = (0.05, 0.1, 0.2, 0.5, 1.0)
Palette = Literal["viridis", "magma"]


def draw_heat_map(
    quantised: zarr.Array[Any] | ShardReader,
    tissue: NDArray[np.bool_],
    geometry: Geometry,
    *,
    palette: Palette,
    max_px: int,
    block_px: int,
    highest: float | None = None,
) -> Image.Image:
    """A map as a picture with scale bar and colour bar; glass is grey, nothing was predicted there.

    Parameters
    ----------
    quantised : uint8 (y, x), a quantised probability or disagreement
    tissue : bool, on any coarser grid over the complete slide
    geometry : of the map
    palette : name in matplotlib
    max_px : longer side of the slide in the picture
    block_px : side of the blocks in which the map is read
    highest : value of the lightest colour; None: the next round number above the largest mean
    """
    import matplotlib

    step = max(-(-max(geometry.height_px, geometry.width_px) // max_px), 1)
    mean = reduced_mean(quantised, step, block_px, tissue)
    if not highest:
        highest = next(
            value for value in _HIGHEST_VALUES if mean.max(initial=0) <= PROBABILITY_SCALE * value
        )
    table = (matplotlib.colormaps[palette](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    pixels = table[np.minimum(np.rint(mean / highest), 255).astype(np.uint8)]
    rows, columns = (
        ((np.arange(count) + 0.5) * side / count).astype(int)
        for count, side in zip(mean.shape, tissue.shape, strict=True)
    )
    pixels[~tissue[np.ix_(rows, columns)]] = _GLASS_COLOUR
    image = Image.fromarray(pixels)
    factor = max_px / max(image.size)
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    image = image.resize(size, Image.Resampling.NEAREST)
    um_per_pixel = geometry.mpp_x * geometry.width_px / image.width
    page = with_scale_bar(image, um_per_pixel, _MIN_WIDTH_PX)
    _draw_colour_bar(page, table, highest)
    return page


def reduced_mean(
    array: zarr.Array[Any] | ShardReader,
    step_px: int,
    block_px: int,
    within: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Means over squares of step x step pixels, read in blocks.

    Squares at the far edges are means of the pixels inside the array.

    Parameters
    ----------
    array : (h, w)
    step_px : side of a square
    block_px : about the side of a block
    within : bool, on any coarser grid over the array; a block without any is not read and stays 0

    Returns
    -------
    float64 (ceil(h / step), ceil(w / step))
    """
    height, width = array.shape
    side = max(block_px // step_px, 1) * step_px
    result = np.zeros((-(-height // step_px), -(-width // step_px)))
    for rows, columns in blocks(height, width, side):
        if within is not None:
            coarse_rows = _coarse_cells(rows, height, within.shape[0])
            coarse_columns = _coarse_cells(columns, width, within.shape[1])
            if not within[coarse_rows, coarse_columns].any():
                continue
        part = np.asarray(array[rows, columns])
        sums = cell_sums(part, step_px)
        row_counts, column_counts = (
            np.diff(np.append(np.arange(0, length, step_px), length)) for length in part.shape
        )
        top, left = rows.start // step_px, columns.start // step_px
        mean = sums / np.outer(row_counts, column_counts)
        result[top : top + sums.shape[0], left : left + sums.shape[1]] = mean
    return result


def _coarse_cells(side: slice, total_px: int, cells: int) -> slice:
    """Cells of a coarse grid that a part of an axis touches.

    >>> _coarse_cells(slice(10, 20), 100, 10), _coarse_cells(slice(11, 21), 100, 10)
    (slice(1, 2, None), slice(1, 3, None))
    """
    return slice(side.start * cells // total_px, -(-side.stop * cells // total_px))


def _draw_colour_bar(page: Image.Image, table: NDArray[np.uint8], highest: float) -> None:
    """The palette from 0 to its highest value, in the lower right corner."""
    draw = ImageDraw.Draw(page)
    label, middle = f"{highest:g}", page.height - SCALE_BAR_HEIGHT_PX // 2
    bar_width, bar_height = _COLOUR_BAR_PX
    left = page.width - text_width(label, SCALE_BAR_FONT_PX) - 6 - bar_width
    colours = table[np.linspace(0, 255, bar_width).astype(int)]
    bar = np.ascontiguousarray(np.broadcast_to(colours, (bar_height, bar_width, 3)))
    page.paste(Image.fromarray(bar), (left, middle - bar_height // 2))
    text_font = font(SCALE_BAR_FONT_PX)
    draw.text((left - 6, middle), "0", fill=TEXT_COLOUR, font=text_font, anchor="rm")
    right = left + bar_width
    draw.text((right + 6, middle), label, fill=TEXT_COLOUR, font=text_font, anchor="lm")
