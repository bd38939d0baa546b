"""Where stored pixels lie on the slide.

Stored pixel i covers level-0 pixels [i d, (i + 1) d) on its axis, where d is the number of level-0
pixels per stored pixel. Coordinates are those of pixel *edges* everywhere.
Arrays are (y, x); slides, tables and GeoJSON are (x, y).
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

# What the coordinates of GeoJSON are relative to: the corner of the part of the slide that the
# viewer shows (openslide.bounds-*; QuPath does this), or the corner of level 0.
CoordinateFrame = Literal["bounds", "slide"]
# Side of a tile, stored pixels: a bound against typing errors.
MOST_TILE_PX = 8192
# Rows and columns of an array that one thread works on at a time.
Block = tuple[slice, slice]


class Window(NamedTuple):
    """A rectangle of an array, in stored pixels or in pixels of a level of a slide.

    It may reach beyond the array.

    Attributes
    ----------
    y, x : first row and column
    height, width : number of rows and columns
    """

    y: int
    x: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The row below the last one."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """The column behind the last one."""
        return self.x + self.width

    @property
    def slices(self) -> Block:
        """Rows and columns as an index of an array; only for windows with y >= 0 and x >= 0.

        >>> Window(2, 3, 4, 5).slices
        (slice(2, 6, None), slice(3, 8, None))
        """
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def overlaps(self, other: "Window") -> bool:
        """Whether the two rectangles share a pixel.

        >>> Window(0, 0, 2, 2).overlaps(Window(1, 1, 2, 2))
        True
        >>> Window(0, 0, 2, 2).overlaps(Window(2, 0, 2, 2))
        False
        """
        rows = self.y < other.bottom and other.y < self.bottom
        return rows and self.x < other.right and other.x < self.right

    @classmethod
    def from_block(cls, block: Block) -> "Window":
        """The window of a block.

        >>> Window.from_block((slice(2, 6), slice(3, 8)))
        Window(y=2, x=3, height=4, width=5)
        """
        rows, columns = block
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return cls(rows.start, columns.start, height, width)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Frame of a store: how its pixels map to level 0 of its slide.

    Attributes
    ----------
    width_px, height_px : size of the stored arrays, in stored pixels
    slide_width_px, slide_height_px : size of level 0, in level-0 pixels
    downsample_x, downsample_y : d, level-0 pixels per stored pixel
    mpp_x, mpp_y : um per *stored* pixel (actual, not nominal)
    bounds_x, bounds_y, bounds_width_px, bounds_height_px : the viewer's crop (openslide.bounds-*),
        in level-0 pixels; 0, 0 and the full size when the slide has none
    """

    width_px: int
    height_px: int
    slide_width_px: int
    slide_height_px: int
    downsample_x: float
    downsample_y: float
    mpp_x: float
    mpp_y: float
    bounds_x: int
    bounds_y: int
    bounds_width_px: int
    bounds_height_px: int

    @property
    def um2_per_px(self) -> float:
        """Area of one stored pixel in um2."""
        return self.mpp_x * self.mpp_y

    @property
    def mpp(self) -> float:
        """Geometric mean of the two pixel sizes in um."""
        return float(self.um2_per_px**0.5)

    def viewer_offset(self, origin: CoordinateFrame) -> tuple[int, int]:
        """Level-0 pixel (x, y) that has the coordinates (0, 0) in GeoJSON."""
        return (self.bounds_x, self.bounds_y) if origin == "bounds" else (0, 0)

    def viewer_size(self, origin: CoordinateFrame) -> tuple[int, int]:
        """Width and height of what the viewer shows, in level-0 pixels."""
        if origin == "bounds":
            return self.bounds_width_px, self.bounds_height_px
        return self.slide_width_px, self.slide_height_px

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for store attributes."""
        return asdict(self)

    @classmethod
    def uniform(
        cls,
        width_px: int,
        height_px: int,
        *,
        downsample: float = 1.0,
        mpp_um: float = 1.0,
        bounds_xy: tuple[int, int] = (0, 0),
    ) -> "Geometry":
        """Geometry with the same scale on both axes.

        Parameters
        ----------
        width_px, height_px : size of the stored arrays, in stored pixels
        downsample : level-0 pixels per stored pixel
        mpp_um : um per stored pixel
        bounds_xy : upper left corner of the viewer's crop, in level-0 pixels; the crop ends where
            the slide ends

        >>> Geometry.uniform(100, 80, downsample=2.0).slide_width_px
        200
        """
        slide_width, slide_height = round(width_px * downsample), round(height_px * downsample)
        left, top = bounds_xy
        return cls(
            width_px=width_px,
            height_px=height_px,
            slide_width_px=slide_width,
            slide_height_px=slide_height,
            downsample_x=downsample,
            downsample_y=downsample,
            mpp_x=mpp_um,
            mpp_y=mpp_um,
            bounds_x=left,
            bounds_y=top,
            bounds_width_px=slide_width - left,
            bounds_height_px=slide_height - top,
        )


def blocks(height_px: int, width_px: int, block_px: int) -> list[Block]:
    """Non-overlapping (y, x) blocks that cover an array, in raster order.

    >>> blocks(3, 5, 4)
    [(slice(0, 3, None), slice(0, 4, None)), (slice(0, 3, None), slice(4, 5, None))]
    """
    return [
        (slice(y, min(y + block_px, height_px)), slice(x, min(x + block_px, width_px)))
        for y in range(0, height_px, block_px)
        for x in range(0, width_px, block_px)
    ]


def halo(block: Block, halo_px: int, height_px: int, width_px: int) -> tuple[Block, Block]:
    """The block with a halo around it, clipped to the array, and the block's place inside that.

    >>> halo((slice(4, 8), slice(0, 4)), 2, 20, 20)
    ((slice(2, 10, None), slice(0, 6, None)), (slice(2, 6, None), slice(0, 4, None)))
    """
    y, x = block
    outer = (
        slice(max(y.start - halo_px, 0), min(y.stop + halo_px, height_px)),
        slice(max(x.start - halo_px, 0), min(x.stop + halo_px, width_px)),
    )
    inner = (
        slice(y.start - outer[0].start, y.stop - outer[0].start),
        slice(x.start - outer[1].start, x.stop - outer[1].start),
    )
    return outer, inner
