"""Outlines on the stored grid, block by block: a pixel belongs to what holds its centre; where outlines overlap the smaller one wins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import Block, Geometry

_SLIVER_PX = 1.0


class Raster:
    """Reads any block of outlines as numbers: outline i is number i + 1, in the order given.

    Parameters
    ----------
    shapes : shapely polygons, (x, y) in stored pixel edges
    """

    def __init__(self, shapes: Sequence[Any]) -> None:
        area = np.array([shape.area for shape in shapes])
        # Larger first: what is drawn last stays. An outline inside another one would vanish otherwise.
        self.order = np.argsort(-area, kind="stable")
        self.shapes = [shapes[index] for index in self.order]
        self.tree = shapely.STRtree(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        y, x = block
        shape = (y.stop - y.start, x.stop - x.start)
        here = np.sort(self.tree.query(shapely.box(x.start, y.start, x.stop, y.stop)))
        if not len(here):
            return np.zeros(shape, np.int32)
        values = ((self.shapes[index], int(self.order[index]) + 1) for index in here)
        burned = rasterize(
            values,
            out_shape=shape,
            transform=Affine.translation(x.start, y.start),
            fill=0,
            dtype=np.int32,
        )
        return np.asarray(burned, np.int32)

    def overlaps(self) -> tuple[int, float]:
        """Pairs that share more than a sliver, and the largest area shared, stored pixels."""
        if not len(self):
            return 0, 0.0
        first, second = self.tree.query(self.shapes, predicate="intersects")
        once = first < second
        shapes = np.array(self.shapes, object)
        area = shapely.area(shapely.intersection(shapes[first[once]], shapes[second[once]]))
        return int((area > _SLIVER_PX).sum()), float(area.max(initial=0))


def to_stored(shape: Any, geometry: Geometry, offset: tuple[int, int]) -> Any:  # noqa: ANN401  # shapely has no types
    """A shape from level-0 pixels counted from `offset` (x, y) to stored pixel edges."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    return shapely.transform(shape, lambda points: (points + np.array(offset)) / scale)
