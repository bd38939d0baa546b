"""Outlines on the stored grid, read block by block.

A pixel belongs to the outline that contains its centre; where outlines overlap, to the smallest.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.outlines.segment_pairs import has_too_many_pairs
from tiling.outlines.shape_pieces import drawing_pieces
from tiling.raster.geometry import Block, Geometry

_MIN_OVERLAP_PX2 = 1.0
_MIN_DRAWN_POINTS = 50
_SHAPES_AT_ONCE = 64
# Points of all pairs that are measured: enough for outlines with a few neighbours each.
_MIN_MEASURED_POINTS, _MEASURED_PER_POINT, _MAX_MEASURED_POINTS = 200_000, 20, 5_000_000


class NumberedBlocks(Protocol):
    """Anything that gives a block of the stored grid as int32 numbers, 0 = background."""

    def __getitem__(self, block: Block, /) -> NDArray[np.int32]: ...


class Overlaps(NamedTuple):
    """Pairs of outlines that share area.

    Attributes
    ----------
    pairs : number of pairs that share more than one pixel's area
    largest_px : largest shared area in stored pixels; 0 without any
    is_complete : whether all pairs were measured; otherwise both numbers are lower bounds
    """

    pairs: int
    largest_px: float
    is_complete: bool

    def text(self, nouns: str) -> str:
        """The number of pairs in words.

        >>> Overlaps(3, 8.0, is_complete=False).text("glands")
        'at least 3 pairs of glands overlap, by up to 8 px or more'
        """
        least, more = ("", "") if self.is_complete else ("at least ", " or more")
        return (
            f"{least}{self.pairs} pairs of {nouns} overlap, by up to {self.largest_px:.0f} px{more}"
        )


def shared_area(first: Any, second: Any) -> float:  # noqa: ANN401  # shapely has no types
    """Area that two shapes share; infinite where its measurement would take too long."""
    if not shapely.intersects(first, second):
        return 0.0
    if has_too_many_pairs(first, second):
        return float("inf")
    return float(shapely.intersection(first, second).area)


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
        pieces = [drawing_pieces(shape) for shape in self.shapes]
        self._pieces = [piece for group in pieces for piece in group]
        self._shape_of_piece = np.repeat(np.arange(len(pieces)), list(map(len, pieces)))
        self._piece_tree = shapely.STRtree(self._pieces)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        rows, columns = block
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        box = shapely.box(columns.start, rows.start, columns.stop, rows.stop)
        indices = np.sort(self._piece_tree.query(box))
        if not len(indices):
            return np.zeros(shape, np.int32)
        numbers = self.order[self._shape_of_piece[indices]] + 1
        numbered_shapes = zip(
            (self._pieces[index] for index in indices), numbers.tolist(), strict=True
        )
        pixels = rasterize(
            numbered_shapes,
            out_shape=shape,
            transform=Affine.translation(columns.start, rows.start),
            fill=0,
            dtype=np.int32,
        )
        return np.asarray(pixels, np.int32)

    def drawn_points(self, block_px: int) -> int:
        """Points that are drawn for all blocks: those of each piece once for each of its blocks.

        A piece counts at least `_MIN_DRAWN_POINTS`, because each takes some time.
        """
        if not self._pieces:
            return 0
        points = np.maximum(shapely.get_num_coordinates(self._pieces), _MIN_DRAWN_POINTS)
        first, last = np.split(np.floor(shapely.bounds(self._pieces) / block_px), 2, axis=1)
        return int((points * (last - first + 1).prod(axis=1)).sum())

    def overlaps(self) -> Overlaps:
        """Pairs of outlines that share more than one pixel's area.

        Only the first pairs are measured when there are very many: all pairs of n outlines that
        lie on each other would take n * n / 2 steps.
        """
        shapes = np.array(self.shapes, object)
        shapely.prepare(shapes)
        points = shapely.get_num_coordinates(shapes)
        areas_px2: list[float] = []
        is_complete = True
        remaining_points = min(
            _MIN_MEASURED_POINTS + _MEASURED_PER_POINT * int(points.sum()), _MAX_MEASURED_POINTS
        )
        for first, second in self._near_pairs():
            remaining_points -= int(points[first] + points[second])
            if remaining_points < 0:
                is_complete = False
                break
            areas_px2.append(shared_area(shapes[first], shapes[second]))
        is_measured = np.isfinite(areas_px2)
        return Overlaps(
            pairs=int((np.array(areas_px2) > _MIN_OVERLAP_PX2).sum()),
            largest_px=float(np.array(areas_px2)[is_measured].max(initial=0)),
            is_complete=is_complete and bool(is_measured.all()),
        )

    def _near_pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of outlines whose bounding boxes overlap, each pair once."""
        for start in range(0, len(self), _SHAPES_AT_ONCE):
            first, second = self.tree.query(self.shapes[start : start + _SHAPES_AT_ONCE])
            first = first + start
            is_once = first < second
            yield from zip(first[is_once].tolist(), second[is_once].tolist(), strict=True)


def to_stored_px(
    shape: Any,  # noqa: ANN401  # shapely has no types
    geometry: Geometry,
    offset: tuple[int, int],
) -> Any:  # noqa: ANN401  # shapely has no types
    """A shape from level-0 pixels relative to `offset` (x, y) to stored pixel edges."""
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    return shapely.transform(shape, lambda points: (points + np.array(offset)) / scale)
