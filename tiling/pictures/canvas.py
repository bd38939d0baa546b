"""What all pictures of a slide use: a thumbnail, text, a scale bar, outlines, and PNG bytes."""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tiling.pictures.unstored_glass import StoredChunks, stored_chunks, with_glass
from tiling.raster.geometry import Block, Geometry, Window
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of

Colour = tuple[int, int, int]

TEXT_COLOUR: Colour = (30, 30, 30)
# Blue and yellow differ for colour-blind people too, and from tissue. Missed and false glands
# differ in lightness and in the direction of their stripes.
OUTLINE_COLOUR: Colour = (0, 190, 255)
REGION_COLOUR: Colour = (20, 60, 220)
ANNOTATED_COLOUR: Colour = (255, 215, 0)
MISSED_COLOUR: Colour = (240, 90, 0)
FALSE_COLOUR: Colour = (0, 0, 0)
IGNORED_COLOUR: Colour = (90, 60, 40)
TISSUE_COLOUR: Colour = (0, 130, 150)
LEFT_OUT_COLOUR: Colour = (220, 110, 0)
PEN_COLOUR: Colour = (200, 0, 160)
ERROR_COLOUR: Colour = (190, 20, 20)
# The report shows pictures of up to 1700 px at 1172 px: letters must then have 12 px.
SCALE_BAR_HEIGHT_PX = 34
SCALE_BAR_FONT_PX = 19
_MIN_BAR_PX = 30


class Thumbnail(NamedTuple):
    """A small picture of a complete slide.

    Attributes
    ----------
    image : RGB; where no pixels are stored, it has the colour of the nearest glass
    px_per_pixel : (y, x), stored pixels per pixel of the picture
    geometry : of the store
    chunks : which pixels are stored
    """

    image: Image.Image
    px_per_pixel: tuple[float, float]
    geometry: Geometry
    chunks: StoredChunks

    def fill_missing(self, image: Image.Image, window: Window) -> Image.Image:
        """A picture of a window at full resolution, with this thumbnail where nothing is stored."""
        is_missing = self.chunks.are_missing(
            np.arange(window.y, window.bottom), np.arange(window.x, window.right)
        )
        if not is_missing.any():
            return image
        per_row, per_column = self.px_per_pixel
        box = (
            window.x / per_column,
            window.y / per_row,
            min(window.right / per_column, self.image.width),
            min(window.bottom / per_row, self.image.height),
        )
        part = np.asarray(self.image.resize(image.size, Image.Resampling.BILINEAR, box=box))
        return Image.fromarray(np.where(is_missing[..., None], part, np.asarray(image)))


def slide_thumbnail(tiles: Path, max_px: int) -> Thumbnail:
    """The slide with its longer side at most `max_px`.

    It is made from the smallest level of the pyramid that is large enough, and never enlarged.

    Raises
    ------
    SlideError
        The store records that its slide failed.
    """
    geometry = geometry_of(tiles)
    group = open_store(tiles)
    longest_px = max(geometry.height_px, geometry.width_px)
    names = sorted(int(name) for name in group.array_keys() if name.isdigit())
    levels = [open_array(group, str(name)) for name in names]
    large_enough = [level for level in levels if max(level.shape[-2:]) >= min(max_px, longest_px)]
    image = rgb_image(np.asarray(large_enough[-1][...]))
    factor = min(max_px / longest_px, 1.0)
    size = (max(round(geometry.width_px * factor), 1), max(round(geometry.height_px * factor), 1))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX)
    per_row, per_column = geometry.height_px / size[1], geometry.width_px / size[0]
    chunks = stored_chunks(tiles)
    is_missing = chunks.are_missing(
        ((np.arange(size[1]) + 0.5) * per_row).astype(np.int64),
        ((np.arange(size[0]) + 0.5) * per_column).astype(np.int64),
    )
    tissue = np.asarray(open_array(group, "tissue")[...]) > 0
    image = with_glass(image, is_missing, tissue)
    return Thumbnail(image, (per_row, per_column), geometry, chunks)


def rgb_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture of stored pixels, uint8 (3, h, w)."""
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))


def mark_pixels(
    marked: NDArray[np.bool_], mask: NDArray[np.bool_], block: Block, thumbnail: Thumbnail
) -> None:
    """Mark the pixels of a thumbnail that contain the centre of a pixel of a mask, in place.

    Parameters
    ----------
    marked : bool, on the grid of the thumbnail
    mask : bool, a block of the stored grid
    block : place of the mask
    thumbnail : gives the scale
    """
    y, x = np.nonzero(mask)
    rows = ((y + block[0].start + 0.5) / thumbnail.px_per_pixel[0]).astype(np.int64)
    columns = ((x + block[1].start + 0.5) / thumbnail.px_per_pixel[1]).astype(np.int64)
    marked[np.minimum(rows, marked.shape[0] - 1), np.minimum(columns, marked.shape[1] - 1)] = True


def colour_mask(image: Image.Image, mask: NDArray[np.bool_], colour: Colour) -> Image.Image:
    """A copy of the picture with one colour where the mask, bool (height, width), is true."""
    pixels = np.array(image)
    pixels[mask] = colour
    return Image.fromarray(pixels)


def enlarged(image: Image.Image, max_px: int) -> Image.Image:
    """The picture repeated pixel by pixel, as often as its longer side stays within `max_px`.

    Pictures that are larger already stay as they are.
    """
    times = max(max_px // max(image.size), 1)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib: the one font on every machine that has µ and ²."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)


def round_length_um(max_um: float) -> float:
    """The largest of 1, 2, 5, 10, ... um that is not longer than `max_um`.

    >>> round_length_um(730.0), round_length_um(0.3)
    (500.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(max_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= max_um * (1 + 1e-9)))


def text_width(text: str, size: int) -> int:
    """Width of a line of text in pixels."""
    return int(np.ceil(font(size).getlength(text)))


def truncated_text(text: str, size: int, max_px: float) -> str:
    """The longest start of a text that fits, with an ellipsis; "" if not even one letter fits.

    >>> truncated_text("abc", 16, 1000), truncated_text("W" * 100, 16, 50)
    ('abc', 'WW…')
    >>> truncated_text("abc", 16, 3)
    ''
    """
    if text_width(text, size) <= max_px:
        return text
    # Bisection, because names of slides and regions may be very long.
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + "…", size) <= max_px:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…" if low else ""


def with_scale_bar(image: Image.Image, um_per_pixel: float, min_width_px: int = 120) -> Image.Image:
    """The picture with a labelled bar below it, at most about a quarter of its width.

    The bar is below the picture, because a biopsy may be thinner than the label.
    """
    height = image.height + SCALE_BAR_HEIGHT_PX
    page = Image.new("RGB", (max(image.width, min_width_px), height), "white")
    page.paste(image, (0, 0))
    draw = ImageDraw.Draw(page)
    length_um = round_length_um(um_per_pixel * max(image.width / 4, _MIN_BAR_PX))
    length = round(length_um / um_per_pixel)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    middle = image.height + SCALE_BAR_HEIGHT_PX // 2
    draw.rectangle((0, middle - 2, length - 1, middle + 2), fill=TEXT_COLOUR)
    draw.text(
        (length + 8, middle), text, fill=TEXT_COLOUR, font=font(SCALE_BAR_FONT_PX), anchor="lm"
    )
    return page


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
