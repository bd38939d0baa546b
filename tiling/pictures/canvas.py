"""What every picture of a slide needs: a thumbnail from the stored pyramid, text, a scale bar, outlines, and bytes of a PNG."""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiling.raster.geometry import Geometry
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of

INK = (30, 30, 30)
GLAND = (40, 225, 60)
REGION = (20, 60, 220)
TISSUE = (0, 130, 150)
LEFT_OUT = (220, 110, 0)
PEN = (200, 0, 160)
ERROR = (190, 20, 20)
RULER_PX = 30
_LEAST_BAR_PX = 30


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
    levels = [
        open_array(group, str(level))
        for level in sorted(int(name) for name in group.array_keys() if name.isdigit())
    ]
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


def magnified(image: Image.Image, least_px: int) -> Image.Image:
    """The picture a whole number of times as large, its longer side at most `least_px`; larger ones as they are: no slide is a stamp."""
    times = max(least_px // max(image.size), 1)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: the one font at hand everywhere that has µ and ²."""
    import matplotlib

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )


def round_length_um(longest_um: float) -> float:
    """The largest of 1, 2, 5, 10, ... um that is not longer.

    >>> round_length_um(730.0), round_length_um(0.3)
    (500.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(longest_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest_um * (1 + 1e-9)))


def text_width(text: str, size: int) -> int:
    """Pixels across a line of text."""
    return int(np.ceil(font(size).getlength(text)))


def cut_text(text: str, size: int, most_px: float) -> str:
    """As much of a line as fits, with an ellipsis where something is missing; "" where not even that fits.

    >>> cut_text("abc", 16, 1000), cut_text("W" * 100, 16, 50), cut_text("abc", 16, 3)
    ('abc', 'WW…', '')
    """
    if text_width(text, size) <= most_px:
        return text
    # Bisection: names of slides and regions may be as long as their makers like.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high)
            if text_width(text[:middle] + "…", size) <= most_px
            else (low, middle - 1)
        )
    return text[:low] + "…" if low else ""


def with_scale_bar(
    image: Image.Image, um_per_pixel: float, least_width_px: int = 120
) -> Image.Image:
    """The picture with a labelled bar below it, about a quarter of it long at most: below, for a biopsy is thinner than a label."""
    page = Image.new("RGB", (max(image.width, least_width_px), image.height + RULER_PX), "white")
    page.paste(image, (0, 0))
    draw = ImageDraw.Draw(page)
    length_um = round_length_um(um_per_pixel * max(image.width / 4, _LEAST_BAR_PX))
    length = round(length_um / um_per_pixel)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    middle = image.height + RULER_PX // 2
    draw.rectangle((0, middle - 2, length - 1, middle + 2), fill=INK)
    draw.text((length + 8, middle), text, fill=INK, font=font(15), anchor="lm")
    return page


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
