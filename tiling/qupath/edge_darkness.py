"""Whether glands are darker inside their outlines than the tissue just outside.

Epithelium has more nuclei than the tissue around it. Outlines of another slide, or rotated ones,
lie anywhere on tissue: inside and outside are then equally dark.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.geometry import Block, Window
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of
from tiling.tiles.tissue_store import StoredTissue

_RING_UM = 10.0
_LARGEST_PIXEL_UM = 2.6
MIN_GLANDS = 20
_SMALLEST_DIFFERENCE = 0.15


class EdgeDarkness:
    """Collects, block by block, how dark tissue is on both sides of the outlines of glands.

    Darkness is the optical density of red, which nuclei absorb.

    Parameters
    ----------
    tiles : tile store of the slide; a level of its pyramid with pixels of about 2 um is read
    tissue : of the slide
    """

    def __init__(self, tiles: Path, tissue: StoredTissue) -> None:
        group, mpp_um = open_store(tiles), geometry_of(tiles).mpp
        names = sorted(int(name) for name in group.array_keys() if name.isdigit())
        level = max((name for name in names if mpp_um * 2**name <= _LARGEST_PIXEL_UM), default=0)
        self._pixels, self._step = open_array(group, str(level)), 2**level
        self._ring_px = _RING_UM / (mpp_um * self._step)
        self._tissue = tissue
        self._glands: set[int] = set()
        # Number, sum, and sum of squares of the darkness: inside, outside, and in all tissue.
        self._sums = np.zeros((3, 3))

    def add(self, block: Block, glands: NDArray[np.int32], regions: NDArray[np.int32]) -> None:
        """Add the tissue of the regions in one block of the stored grid.

        Parameters
        ----------
        block : begins at a multiple of the step between the pixels of the level
        glands, regions : numbers of the block, 0: none
        """
        step = self._step
        rows, columns = (slice(side.start // step, -(-side.stop // step)) for side in block)
        red = np.asarray(self._pixels[0, rows, columns])
        labels, is_counted = (
            values[step // 2 :: step, step // 2 :: step]
            for values in (glands, (regions > 0) & self._tissue.read(Window.from_block(block)))
        )
        height, width = labels.shape
        darkness = -np.log((red[:height, :width] + 1.0) / 256)
        is_edge = np.zeros(labels.shape, bool)
        is_edge[1:] |= labels[1:] != labels[:-1]
        is_edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
        if not is_edge.any():
            return
        self._glands.update(np.unique(labels[labels > 0]).tolist())
        is_near = is_counted & (ndimage.distance_transform_edt(~is_edge) < self._ring_px)
        for row, mask in enumerate((is_near & (labels > 0), is_near & (labels == 0), is_counted)):
            values = darkness[mask]
            self._sums[row] += len(values), values.sum(), (values**2).sum()

    def difference(self) -> float | None:
        """Mean darkness inside minus outside, in standard deviations of the tissue.

        None where there are too few glands, or no tissue, to tell.
        """
        counts, totals, squares = self._sums.T
        if len(self._glands) < MIN_GLANDS or not counts.all():
            return None
        inside, outside, mean = totals / counts
        deviation = np.sqrt(max(squares[2] / counts[2] - mean**2, 0.0))
        return float((inside - outside) / deviation) if deviation else None

    def message(self) -> str | None:
        """What a person should check; None: nothing."""
        difference = self.difference()
        if difference is None or difference >= _SMALLEST_DIFFERENCE:
            return None
        return (
            "the glands are not darker at their edges than the tissue beside them "
            f"({difference:.2f} standard deviations, expected at least {_SMALLEST_DIFFERENCE}): "
            "the outlines may be those of another slide, or shifted; compare them with the slide "
            "in the preview"
        )
