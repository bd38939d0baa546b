"""Maps of a slide as heat: mean codes over squares in colours that grow lighter, so that they can be read without seeing colour."""

from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.pictures.canvas import INK, RULER_PX, font, text_width, with_scale_bar
from tiling.raster.geometry import Geometry, blocks

_GLASS = (235, 235, 235)
_BAR_PX = (110, 12)
_LEAST_WIDTH_PX = 360
_STEPS = (0.05, 0.1, 0.2, 0.5, 1.0)
Palette = Literal["viridis", "magma"]


def heat_map(
    codes: zarr.Array[Any],
    tissue: NDArray[np.bool_],
    geometry: Geometry,
    *,
    palette: Palette,
    max_px: int,
    block_px: int,
    highest: float | None = None,
) -> Image.Image:
    """A map as a picture with scale bar and colour bar; glass is grey: nothing was predicted there.

    Parameters
    ----------
    codes : uint8 (y, x), code = round(255 value)
    tissue : bool, on any coarser grid over the whole slide
    palette : matplotlib's name
    max_px : longer side of the slide in the picture
    highest : value at the light end; None: the next round number above the largest mean
    """
    import matplotlib

    step = max(-(-max(geometry.height_px, geometry.width_px) // max_px), 1)
    mean = reduced_mean(codes, step, block_px, tissue)
    top = highest or next(value for value in _STEPS if mean.max(initial=0) <= 255 * value)
    table = (matplotlib.colormaps[palette](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    pixels = table[np.minimum(np.rint(mean / top), 255).astype(np.uint8)]
    rows, columns = (
        ((np.arange(n) + 0.5) * total / n).astype(int)
        for n, total in zip(mean.shape, tissue.shape, strict=True)
    )
    pixels[~tissue[np.ix_(rows, columns)]] = _GLASS
    image = Image.fromarray(pixels)
    grow = max_px / max(image.size)
    image = image.resize(
        (max(round(image.width * grow), 1), max(round(image.height * grow), 1)),
        Image.Resampling.NEAREST,
    )
    page = with_scale_bar(image, geometry.mpp_x * geometry.width_px / image.width, _LEAST_WIDTH_PX)
    _draw_colour_bar(page, table, top)
    return page


def reduced_mean(
    array: zarr.Array[Any], step_px: int, block_px: int, within: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Mean over step x step pixels, read in blocks; at the far edges over the pixels there are.

    Parameters
    ----------
    within : bool, on any coarser grid over the whole array; blocks without any are not read and stay 0

    Returns
    -------
    float64 (ceil(h / step), ceil(w / step))
    """
    height, width = array.shape
    side = max(block_px // step_px, 1) * step_px
    result = np.zeros((-(-height // step_px), -(-width // step_px)))
    for rows, columns in blocks(height, width, side):
        if (
            within is not None
            and not within[
                _cells(rows, height, within.shape[0]), _cells(columns, width, within.shape[1])
            ].any()
        ):
            continue
        part = np.asarray(array[rows, columns])
        starts = [np.arange(0, length, step_px) for length in part.shape]
        sums = np.add.reduceat(
            np.add.reduceat(part, starts[0], axis=0, dtype=np.float64), starts[1], axis=1
        )
        counts = [
            np.diff(np.append(start, length))
            for start, length in zip(starts, part.shape, strict=True)
        ]
        top, left = rows.start // step_px, columns.start // step_px
        result[top : top + sums.shape[0], left : left + sums.shape[1]] = sums / np.outer(*counts)
    return result


def _cells(part: slice, total_px: int, cells: int) -> slice:
    """Cells of a coarse grid that a part of an axis touches.

    >>> _cells(slice(10, 20), 100, 10), _cells(slice(11, 21), 100, 10)
    (slice(1, 2, None), slice(1, 3, None))
    """
    return slice(part.start * cells // total_px, -(-part.stop * cells // total_px))


def _draw_colour_bar(page: Image.Image, table: NDArray[np.uint8], top: float) -> None:
    """The palette from 0 to its highest value, in the lower right corner."""
    draw = ImageDraw.Draw(page)
    label, middle = f"{top:g}", page.height - RULER_PX // 2
    left = page.width - text_width(label, 15) - 6 - _BAR_PX[0]
    ramp = np.broadcast_to(
        table[np.linspace(0, 255, _BAR_PX[0]).astype(int)], (_BAR_PX[1], _BAR_PX[0], 3)
    )
    page.paste(Image.fromarray(np.ascontiguousarray(ramp)), (left, middle - _BAR_PX[1] // 2))
    draw.text((left - 6, middle), "0", fill=INK, font=font(15), anchor="rm")
    draw.text((left + _BAR_PX[0] + 6, middle), label, fill=INK, font=font(15), anchor="lm")
