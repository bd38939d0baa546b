"""What every picture of a slide needs: a thumbnail from the stored pyramid, text, a scale bar, outlines, and bytes of a PNG."""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiling.geometry import Geometry
from tiling.store.arrays import geometry_of, open_array, open_store

INK = (30, 30, 30)
GLAND = (40, 225, 60)
REGION = (20, 60, 220)
TISSUE = (0, 130, 150)
LEFT_OUT = (220, 110, 0)
PEN = (200, 0, 160)
ERROR = (190, 20, 20)


class Thumbnail(NamedTuple):
    """A whole slide, small.

    Attributes
    ----------
    image : RGB
    px_per_pixel : (y, x), stored pixels per pixel of the picture
    geometry : of the store
    """

    image: Image.Image
    px_per_pixel: tuple[float, float]
    geometry: Geometry


def thumbnail(tiles: Path, max_px: int) -> Thumbnail:
    """The slide with its longer side at most `max_px`, from the smallest pyramid level that is large enough.

    Raises
    ------
    SlideError
        The store records that its slide failed.
    """
    geometry = geometry_of(tiles)
    group = open_store(tiles)
    longest = max(geometry.height_px, geometry.width_px)
    levels = [open_array(group, str(level)) for level in sorted(int(name) for name in group.array_keys() if name.isdigit())]
    enough = [array for array in levels if max(array.shape[-2:]) >= min(max_px, longest)]
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(enough[-1][...]), 0, -1)))
    factor = min(max_px / longest, 1.0)
    size = (max(round(geometry.width_px * factor), 1), max(round(geometry.height_px * factor), 1))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX)
    return Thumbnail(image, (geometry.height_px / size[1], geometry.width_px / size[0]), geometry)


def inner_edges(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels of an object with a 4-neighbour outside it; the array's border is no edge.

    >>> inner_edges(np.array([[1, 1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 2]])).astype(int)
    array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [0, 0, 1, 1]])
    """
    edges = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        before, after = np.zeros((2, *labels.shape), bool)
        before[(slice(None),) * axis + (slice(None, -1),)] = differs
        after[(slice(None),) * axis + (slice(1, None),)] = differs
        edges |= before | after
    return np.asarray(edges & (labels != 0))


def tint(image: Image.Image, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Image.Image:
    """A copy of the picture with the masked pixels in one colour; mask bool (height, width)."""
    pixels = np.array(image)
    pixels[mask] = colour
    return Image.fromarray(pixels)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: the one font at hand everywhere that has µ and ²."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def round_length_um(longest_um: float) -> float:
    """The largest of 1, 2, 5, 10, ... um that is not longer.

    >>> round_length_um(730.0), round_length_um(0.3)
    (500.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(longest_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest_um * (1 + 1e-9)))


def draw_scale_bar(image: Image.Image, um_per_pixel: float) -> None:
    """A labelled bar in the lower left corner, at most a quarter of the picture long."""
    draw = ImageDraw.Draw(image)
    length_um = round_length_um(um_per_pixel * image.width / 4)
    length = round(length_um / um_per_pixel)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    left, bottom = 12, image.height - 12
    size = 16
    width = max(length, int(draw.textlength(text, font=font(size))))
    draw.rectangle((left - 6, bottom - size - 16, left + width + 6, bottom + 6), fill="white")
    draw.text((left, bottom - size - 14), text, fill=INK, font=font(size))
    draw.rectangle((left, bottom - 4, left + length - 1, bottom), fill=INK)


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
