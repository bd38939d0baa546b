"""Outlines on the stored grid, read block by block.

A pixel belongs to the outline that contains its centre; where outlines overlap, to the smallest.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import Block, Geometry

_MIN_OVERLAP_PX2 = 1.0


class NumberedBlocks(Protocol):
    """Anything that gives a block of the stored grid as int32 numbers, 0 = background."""

    def __getitem__(self, block: Block, /) -> NDArray[np.int32]: ...


class OutlineRaster:
    """Gives any block of outlines as numbers: outline i has the number i + 1.

    Parameters
    ----------
    shapes : shapely polygons, (x, y) in stored pixel edges
    """

    def __init__(self, shapes: Sequence[Any]) -> None:
        area = np.array([shape.area for shape in shapes])
        # The largest is drawn first, because the last one drawn covers the others: otherwise an
        # outline inside another one would be lost.
        self.order = np.argsort(-area, kind="stable")
        self.shapes = [shapes[index] for index in self.order]
        self.tree = shapely.STRtree(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        rows, columns = block
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        box = shapely.box(columns.start, rows.start, columns.stop, rows.stop)
        indices = np.sort(self.tree.query(box))
        if not len(indices):
            return np.zeros(shape, np.int32)
        numbered_shapes = ((self.shapes[index], int(self.order[index]) + 1) for index in indices)
        pixels = rasterize(
            numbered_shapes,
            out_shape=shape,
            transform=Affine.translation(columns.start, rows.start),
            fill=0,
            dtype=np.int32,
        )
        return np.asarray(pixels, np.int32)

    def overlaps(self) -> tuple[int, float]:
        """Number of pairs that share more than one pixel's area, and the largest shared area.

        Returns
        -------
        pairs, and area in stored pixels (0 without any shared area)
        """
        if not len(self):
            return 0, 0.0
        first, second = self.tree.query(self.shapes, predicate="intersects")
        is_once = first < second
        shapes = np.array(self.shapes, object)
        area = shapely.area(shapely.intersection(shapes[first[is_once]], shapes[second[is_once]]))
        return int((area > _MIN_OVERLAP_PX2).sum()), float(area.max(initial=0))


def to_stored_px(
    shape: Any,  # noqa: ANN401  # shapely has no types
    geometry: Geometry,
    offset: tuple[int, int],
) -> Any:  # noqa: ANN401  # shapely has no types
    """A shape from level-0 pixels relative to `offset` (x, y) to stored pixel edges."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    return shapely.transform(shape, lambda points: (points + np.array(offset)) / scale)
