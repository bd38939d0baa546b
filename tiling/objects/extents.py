"""First pixel, area and bounding box of labels, block by block."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import NO_PIXEL, first_pixels
from tiling.raster.geometry import Block
from tiling.raster.runs import Runs


class ObjectExtents(NamedTuple):
    """Where labels 1..n lie and how large they are, in a block or in the whole array.

    A label that does not occur has area 0, and a first pixel and a box that any other replaces.

    Attributes
    ----------
    first_px : int64 (n,), y * width + x of the whole array
    area_px : int64 (n,)
    box_px : int64 (n, 4), top, left, bottom, right in the whole array; bottom and right are the row
        and the column behind the last one
    """

    first_px: NDArray[np.int64]
    area_px: NDArray[np.int64]
    box_px: NDArray[np.int64]

    def select(self, rows: NDArray[np.int64]) -> "ObjectExtents":
        """Some of the objects, in the order of the rows."""
        return ObjectExtents(self.first_px[rows], self.area_px[rows], self.box_px[rows])


def object_extents(labels: Runs, count: int, block: Block, width_px: int) -> ObjectExtents:
    """Extents of the labels 1..count in a block.

    Parameters
    ----------
    labels : runs of the block, values are labels
    block : its place in the whole array
    width_px : width of the whole array

    >>> from tiling.raster.runs import find_runs
    >>> runs = find_runs(np.array([[0, 1], [2, 1]]))
    >>> object_extents(runs, 2, (slice(10, 12), slice(20, 22)), 100).box_px.tolist()
    [[10, 21, 12, 22], [11, 20, 12, 21]]
    """
    runs = labels.select(labels.value > 0)
    box = _empty_boxes(count + 1)
    y, x = runs.y + block[0].start, runs.x + block[1].start
    box[runs.value[::-1], 0] = y[::-1]  # the last assignment wins: the first row
    box[runs.value, 2] = y + 1
    np.minimum.at(box[:, 1], runs.value, x)
    np.maximum.at(box[:, 3], runs.value, x + runs.length)
    area = np.bincount(runs.value, runs.length, count + 1)[1:].astype(np.int64)
    return ObjectExtents(first_pixels(runs, count, block, width_px), area, box[1:])


def merge_extents(
    parts: Sequence[tuple[NDArray[np.int64], ObjectExtents]], count: int
) -> ObjectExtents:
    """Extents of the objects 1..count of the whole array.

    Parameters
    ----------
    parts : for each block the objects in it, int64 (n,), and their extents there
    """
    merged = ObjectExtents(np.full(count, NO_PIXEL), np.zeros(count, np.int64), _empty_boxes(count))
    for objects, part in parts:
        rows = objects - 1
        np.minimum.at(merged.first_px, rows, part.first_px)
        np.add.at(merged.area_px, rows, part.area_px)
        np.minimum.at(merged.box_px[:, :2], rows, part.box_px[:, :2])
        np.maximum.at(merged.box_px[:, 2:], rows, part.box_px[:, 2:])
    return merged


def _empty_boxes(count: int) -> NDArray[np.int64]:
    return np.tile(np.array([NO_PIXEL, NO_PIXEL, -1, -1]), (count, 1))
