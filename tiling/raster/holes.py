"""Small holes of glands: parts of the background that one gland encloses.

A part of the background is 4-connected, as glands are 8-connected. `fill_small_holes` fills holes
in arrays that fit in memory; `tiling.objects.hole_pass` applies the same rule block by block.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Lowest label of a part of the background that no gland touches.
_NO_LABEL = np.iinfo(np.int32).max


class BackgroundParts(NamedTuple):
    """What decides whether parts 1..n of the background are holes.

    Attributes
    ----------
    area_px : int64 (n,)
    lowest, highest : int32 (n,), smallest and largest label among the 4-neighbours
    at_border : bool (n,), whether a part reaches the border of the image
    """

    area_px: NDArray[np.int64]
    lowest: NDArray[np.int32]
    highest: NDArray[np.int32]
    at_border: NDArray[np.bool_]

    @classmethod
    def empty(cls, count: int) -> "BackgroundParts":
        """Parts without pixels, to be merged with others."""
        return cls(
            np.zeros(count, np.int64),
            np.full(count, _NO_LABEL, np.int32),
            np.zeros(count, np.int32),
            np.zeros(count, bool),
        )

    def merge(self, numbers: NDArray[np.int64], other: "BackgroundParts") -> None:
        """Add pixels of other parts in place; numbers : int64 (m,), index of each in these."""
        np.add.at(self.area_px, numbers, other.area_px)
        np.minimum.at(self.lowest, numbers, other.lowest)
        np.maximum.at(self.highest, numbers, other.highest)
        np.logical_or.at(self.at_border, numbers, other.at_border)

    def enclosing_gland(self, min_hole_px: float) -> NDArray[np.int32]:
        """The gland of which each part is a small hole, int32 (n,); 0: it is none.

        Parameters
        ----------
        min_hole_px : smallest area of a hole that is not small
        """
        is_hole = ~self.at_border & (self.area_px < min_hole_px) & (self.lowest == self.highest)
        return np.where(is_hole, self.lowest, 0).astype(np.int32)


def measure_parts(
    parts: NDArray[np.int32],
    count: int,
    around: NDArray[np.int32],
    place: tuple[int, int],
    shape: tuple[int, int],
) -> BackgroundParts:
    """Measure parts of the background in a block.

    Parameters
    ----------
    parts : int32 (h, w), parts 1..count, 0 elsewhere
    around : int32 (h + 2, w + 2), labels of the block and one pixel around it; 0 beyond the image
    place : (y, x) of the block in the image
    shape : (H, W) of the image
    """
    measured = BackgroundParts.empty(count + 1)
    y, x = np.nonzero(parts)
    part = parts[y, x]
    measured.area_px[:] = np.bincount(part, minlength=count + 1)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        neighbour = around[y + dy, x + dx]
        is_gland = neighbour > 0
        np.minimum.at(measured.lowest, part[is_gland], neighbour[is_gland])
        np.maximum.at(measured.highest, part[is_gland], neighbour[is_gland])
    y, x = y + place[0], x + place[1]
    is_at_border = (y == 0) | (x == 0) | (y == shape[0] - 1) | (x == shape[1] - 1)
    measured.at_border[part[is_at_border]] = True
    area_px, lowest, highest, at_border = measured
    return BackgroundParts(area_px[1:], lowest[1:], highest[1:], at_border[1:])


def fill_small_holes(labels: NDArray[np.int32], min_hole_px: float) -> NDArray[np.int32]:
    """Give the pixels of small holes to the gland around them.

    Parameters
    ----------
    labels : int32 (H, W), 0 background
    min_hole_px : holes of fewer pixels are filled; a hole that contains or touches another gland,
        or reaches the border of the image, stays

    >>> fill_small_holes(np.array([[2, 2, 2, 0], [2, 0, 2, 0], [2, 2, 2, 0]], np.int32), 2)
    array([[2, 2, 2, 0],
           [2, 2, 2, 0],
           [2, 2, 2, 0]], dtype=int32)
    """
    if min_hole_px <= 1:
        return labels
    parts, count = ndimage.label(labels == 0, output=np.int32)
    # Only small parts are measured: the rest of the background has most of the pixels.
    is_small = np.bincount(parts.ravel(), minlength=count + 1) < min_hole_px
    is_small[0] = False
    small = np.where(is_small[parts], parts, 0)
    measured = measure_parts(small, count, np.pad(labels, 1), (0, 0), labels.shape)
    gland = np.concatenate([[0], measured.enclosing_gland(min_hole_px)]).astype(np.int32)
    return np.where(small > 0, gland[small], labels)
