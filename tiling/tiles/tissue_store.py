"""The tissue mask of a tile store, read by windows of stored pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.geometry import Window
from tiling.stores.arrays import open_array, open_store
from tiling.stores.layout import TileStore
from tiling.stores.window_reading import read_window


class StoredTissue:
    """Where a slide has tissue and, with a margin, the glass next to it.

    Predictions further away from tissue are not valid: no training slide has labels on glass.

    Parameters
    ----------
    tiles : tile store
    margin_um : glass at most this far from tissue counts as tissue, except under pen marks
    """

    def __init__(self, tiles: Path, *, margin_um: float = 0.0) -> None:
        attributes, store = TileStore.read(tiles), open_store(tiles)
        self._stride_px = attributes.tissue_stride_px
        self._tissue = np.asarray(open_array(store, "tissue")[...]) > 0
        self._pen: NDArray[np.bool_] | None = None
        self._margin = 0.0  # in pixels of the coarse grid
        if margin_um:
            self._pen = np.asarray(open_array(store, "pen")[...]) > 0
            self._margin = margin_um / (attributes.geometry.mpp * self._stride_px)

    def read(self, window: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tissue in a window of stored pixels; False outside the slide.

        Parameters
        ----------
        window : y, x, height, width

        Returns
        -------
        bool (height, width)
        """
        y, x, height, width = (int(value) for value in window)
        # Coarse row and column of each stored row and column.
        rows = np.arange(y, y + height) // self._stride_px
        columns = np.arange(x, x + width) // self._stride_px
        top, left = int(rows[0]), int(columns[0])
        coarse_window = Window(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)
        coarse = self._read_coarse(coarse_window)
        return np.asarray(coarse[rows - top][:, columns - left])

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie on tissue, without the margin.

        Parameters
        ----------
        points : (N, 2), (x, y) in stored pixels, inside the slide
        """
        columns, rows = (points // self._stride_px).astype(np.int64).T
        height, width = self._tissue.shape
        return np.asarray(
            self._tissue[np.minimum(rows, height - 1), np.minimum(columns, width - 1)]
        )

    def _read_coarse(self, window: Window) -> NDArray[np.bool_]:
        """Tissue in a window of the coarse grid."""
        if self._pen is None:
            return read_window(self._tissue, window, fill=False)
        reach = int(np.ceil(self._margin))
        y, x, height, width = window
        grown = Window(y - reach, x - reach, height + 2 * reach, width + 2 * reach)
        tissue = read_window(self._tissue, grown, fill=False)
        close = tissue
        if tissue.any():
            close = np.asarray(ndimage.distance_transform_edt(~tissue)) <= self._margin
        inner = (slice(reach, reach + height), slice(reach, reach + width))
        pen = read_window(self._pen, window, fill=True)
        return np.asarray(tissue[inner] | (close[inner] & ~pen))
