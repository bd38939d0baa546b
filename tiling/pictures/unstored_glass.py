"""The colour of glass where a tile store has no pixels: no tile lies there.

Such pixels are white in the store, and glass is not: pictures would have white strips.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.layout import TileStore
from tiling.tiles.tile_grid import chunks_under

_GRID_PX = 128  # longer side of the grid of glass colours
_BLUR = 4.0  # in pixels of that grid
_MIN_WEIGHT = 1e-3
_LARGEST_SLOPE = 15  # levels between the median glass and the darkest, by uneven light
_TISSUE_MARGIN = 2  # pixels of the coarse grid: the edge of tissue has another colour than glass


class StoredChunks(NamedTuple):
    """Which chunks of the full resolution a tile store has.

    Attributes
    ----------
    is_stored : bool (chunk rows, chunk columns)
    chunk_px : (y, x) sides of a chunk, stored pixels
    """

    is_stored: NDArray[np.bool_]
    chunk_px: tuple[int, int]

    def are_missing(
        self, rows_px: NDArray[np.integer], columns_px: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Which pixels are not stored, bool (rows, columns), of these rows and columns."""
        rows, columns = rows_px // self.chunk_px[0], columns_px // self.chunk_px[1]
        return np.asarray(~self.is_stored[np.ix_(rows, columns)], bool)


def stored_chunks(tiles: Path) -> StoredChunks:
    """The chunks under the tiles of a store."""
    array = open_array(open_store(tiles), "0")
    height, width = array.shape[-2:]
    chunk_px = (array.chunks[-2], array.chunks[-1])
    origins = read_table(tiles, "tiles", ("origin_yx_px",))["origin_yx_px"]
    grid = chunks_under(origins, TileStore.read(tiles).tile_px, (height, width), chunk_px)
    return StoredChunks(grid, chunk_px)


def with_glass(
    image: Image.Image, is_missing: NDArray[np.bool_], tissue: NDArray[np.bool_]
) -> Image.Image:
    """A picture of a slide with the colour of the nearest glass where its pixels are missing.

    Parameters
    ----------
    image : RGB
    is_missing : bool, on the grid of the picture
    tissue : bool, on any coarser grid over the slide
    """
    pixels = np.array(image)
    grown_tissue = ndimage.binary_dilation(tissue, iterations=_TISSUE_MARGIN)
    rows, columns = (
        ((np.arange(count) + 0.5) * cells / count).astype(int)
        for count, cells in zip(pixels.shape[:2], tissue.shape, strict=True)
    )
    # A reduced pixel at the edge is a mean with white.
    is_missing = ndimage.binary_dilation(is_missing)
    is_glass = ~grown_tissue[np.ix_(rows, columns)] & ~is_missing
    if not is_missing.any() or not is_glass.any():
        return image
    # Pen and dirt are darker than glass.
    brightness = pixels.min(axis=-1)
    is_glass &= brightness >= np.median(brightness[is_glass]) - _LARGEST_SLOPE
    step = max(-(-max(is_glass.shape) // _GRID_PX), 1)
    weight = ndimage.gaussian_filter(_sums(is_glass.astype(float), step), _BLUR)
    box = (0, 0, image.width / step, image.height / step)
    average = pixels[is_glass].mean(axis=0)
    for channel in range(3):
        values = np.where(is_glass, pixels[..., channel], 0).astype(float)
        total = ndimage.gaussian_filter(_sums(values, step), _BLUR)
        # Far from all glass the mean colour takes over.
        colour = (total + _MIN_WEIGHT * average[channel]) / (weight + _MIN_WEIGHT)
        smooth = Image.fromarray(colour.astype(np.float32)).resize(
            image.size, Image.Resampling.BILINEAR, box=box
        )
        pixels[..., channel][is_missing] = np.rint(np.asarray(smooth))[is_missing]
    return Image.fromarray(pixels)


def _sums(values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Sums over squares of step x step values."""
    rows, columns = (np.arange(0, side, step) for side in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    return np.asarray(sums, np.float64)
