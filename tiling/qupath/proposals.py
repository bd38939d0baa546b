"""Regions that are worth annotating next: squares in which the prediction is most uncertain.

The predicted glands inside are written as annotations, because it is faster to correct outlines
than to draw them. A person corrects the glands, changes the class of the square to that of a region
(`tiling.qupath.class_names.REGION`), and runs the pipeline again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
import zarr
from numpy.typing import NDArray

from tiling.objects.trace import trace_object
from tiling.qupath.class_names import GLAND, PROPOSED
from tiling.qupath.doubt_cells import MAX_DOUBT_PER_PX, sum_cells
from tiling.qupath.geojson_writer import (
    GLAND_COLOUR,
    OutlineStyle,
    geojson_file,
    object_id,
    to_viewer_px,
)
from tiling.raster.geometry import CoordinateFrame, Geometry, Window, blocks
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.slide_stores import SlideStores

_CELLS_PER_SIDE = 16
_MIN_TISSUE = 0.25
_BLOCK_PX = 2048
_SQUARE_STYLE = OutlineStyle(PROPOSED, colour=(255, 165, 0), object_type="annotation")


@dataclass(frozen=True)
class ProposalSettings:
    """How many regions are proposed, and how large.

    Attributes
    ----------
    count : largest number of regions; there are fewer when no other square contains enough tissue
    size_um : side of a region
    """

    count: int
    size_um: float


class Proposal(NamedTuple):
    """A square of stored pixels and how uncertain its prediction is.

    Attributes
    ----------
    window_px : of the square
    doubt : mean over the square of the disagreement of the experts and of the entropy of the gland
        probability (bits), 0..1; pixels without tissue count as 0
    """

    window_px: Window
    doubt: float


def propose_regions(
    stores: SlideStores,
    out: Path,
    *,
    slide: str,
    settings: ProposalSettings,
    gland_class: str = GLAND,
    origin: CoordinateFrame = "bounds",
) -> int:
    """Write `proposals/{slide}.geojson`; returns the number of proposed regions.

    Parameters
    ----------
    stores : of the slide; proposals overlap no region and no outlined gland of its label store,
        and a failed label store counts as none
    out : GeoJSON of annotations: the squares, and the complete predicted glands that reach into
        them, without those that a person has outlined already
    slide : its name, from which the ids of the objects are made
    settings : number and size of the regions
    gland_class : class of the glands
    origin : what the coordinates are relative to; "bounds" as in QuPath

    Raises
    ------
    SlideError
        One of the stores records that the slide failed.
    """
    geometry = geometry_of(stores.maps)
    geometry_of(stores.tiles)  # raises the recorded error of a failed slide
    labels = stores.labels
    if labels is not None and recorded_error(labels):
        labels = None
    proposals = choose_squares(stores.maps, stores.tiles, labels, geometry, settings)
    outlined = None if labels is None else open_array(open_store(labels), "labels")
    glands = _GlandOutlines(stores.glands, outlined)
    gland_style = OutlineStyle(gland_class, colour=GLAND_COLOUR, object_type="annotation")
    place = to_viewer_px(geometry, origin)
    with geojson_file(out, geometry, origin) as writer:
        for number, proposal in enumerate(proposals, start=1):
            window = proposal.window_px
            square = place(shapely.box(window.x, window.y, window.right, window.bottom))
            first_px = window.y * geometry.width_px + window.x
            writer.write(
                square,
                object_id(f"{slide}/proposal", first_px),
                _SQUARE_STYLE,
                name=f"proposed {number}",
                measurements={"doubt": proposal.doubt},
            )
        for row in glands.rows_inside([proposal.window_px for proposal in proposals]):
            # These ids differ from those of the exported glands: a person will change the outline.
            identity = object_id(f"{slide}/proposal/gland", int(glands.first_px[row]))
            writer.write(place(glands.outline(row)), identity, gland_style)
    return len(proposals)


def choose_squares(
    maps: Path, tiles: Path, labels: Path | None, geometry: Geometry, settings: ProposalSettings
) -> list[Proposal]:
    """The squares of largest doubt that do not overlap, in descending order.

    Of squares of equal doubt, the upper left one comes first.

    Parameters
    ----------
    maps, tiles : stores of the slide
    labels : label store whose regions and glands no square may overlap, None without one
    geometry : of the maps
    settings : number and size of the squares
    """
    height = min(round(settings.size_um / geometry.mpp_y), geometry.height_px)
    width = min(round(settings.size_um / geometry.mpp_x), geometry.width_px)
    height, width = max(height, 1), max(width, 1)
    cell_px = max(min(height, width) // _CELLS_PER_SIDE, 1)
    cells = sum_cells(maps, tiles, labels, geometry, cell_px=cell_px)
    # A square begins at the corner of a cell. It counts with all cells that it touches.
    cells_across = (-(-height // cell_px), -(-width // cell_px))
    last_row = max((geometry.height_px - height) // cell_px, 0)
    last_column = max((geometry.width_px - width) // cell_px, 0)
    doubt, tissue, labelled = (
        _square_sums(values, cells_across)[: last_row + 1, : last_column + 1] for values in cells
    )
    area_px = cells_across[0] * cells_across[1] * cell_px**2
    is_allowed = (labelled == 0) & (tissue >= _MIN_TISSUE * area_px)
    score = np.where(is_allowed, doubt, 0)
    chosen: list[Proposal] = []
    while len(chosen) < settings.count and score.any():
        row, column = (int(value) for value in np.unravel_index(np.argmax(score), score.shape))
        window = Window(row * cell_px, column * cell_px, height, width)
        chosen.append(Proposal(window, float(doubt[row, column]) / (MAX_DOUBT_PER_PX * area_px)))
        # No other square may overlap this one.
        score[
            max(row - cells_across[0] + 1, 0) : row + cells_across[0],
            max(column - cells_across[1] + 1, 0) : column + cells_across[1],
        ] = 0
    return chosen


class _GlandOutlines:
    """The predicted glands of a slide, without those that a person has outlined already.

    Parameters
    ----------
    glands : gland store
    outlined : labels of the annotation, int32 (y, x); None without one

    Attributes
    ----------
    first_px : int64 (N,), first pixel of each gland of the store
    """

    def __init__(self, glands: Path, outlined: zarr.Array[Any] | None) -> None:
        self._labels = open_array(open_store(glands), "labels")
        self._outlined = outlined
        objects = read_table(glands, "objects", ("first_px", "window_px"))
        self.first_px, self._window_px = objects["first_px"], objects["window_px"]

    def rows_inside(self, windows: list[Window]) -> list[int]:
        """Rows of the glands that reach into one of the windows, each once, ascending."""
        rows: set[int] = set()
        for window in windows:
            rows.update((np.unique(self._labels[window.slices]) - 1).tolist())
        rows.discard(-1)  # background
        return [row for row in sorted(rows) if not self._is_outlined(row)]

    def outline(self, row: int) -> Any:  # noqa: ANN401  # shapely has no types
        """Polygon of a gland in stored pixel edges."""
        return trace_object(self._labels, row, self._window_px[row])

    def _is_outlined(self, row: int) -> bool:
        """Whether most of a gland lies on outlined ones.

        It is read in blocks: a gland may be as large as the slide.
        """
        if self._outlined is None:
            return False
        window = Window(*(int(value) for value in self._window_px[row]))
        covered_px = total_px = 0
        for rows, columns in blocks(window.height, window.width, _BLOCK_PX):
            block = (
                slice(window.y + rows.start, window.y + rows.stop),
                slice(window.x + columns.start, window.x + columns.stop),
            )
            inside = np.asarray(self._labels[block]) == row + 1
            total_px += int(inside.sum())
            covered_px += int((np.asarray(self._outlined[block])[inside] > 0).sum())
        return 2 * covered_px > total_px


def _square_sums(values: NDArray[np.int64], cells_across: tuple[int, int]) -> NDArray[np.int64]:
    """Sums over all rectangles of (rows, columns) cells, by their upper left cell.

    Rectangles that reach beyond the grid are clipped.

    >>> _square_sums(np.ones((2, 3), np.int64), (2, 2)).tolist()
    [[4, 4, 2], [2, 2, 1]]
    """
    rows, columns = values.shape
    table = np.zeros((rows + 1, columns + 1), np.int64)
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    bottom = np.minimum(np.arange(rows) + cells_across[0], rows)
    right = np.minimum(np.arange(columns) + cells_across[1], columns)
    inside = table[np.ix_(bottom, right)] - table[:-1, right] - table[bottom, :-1] + table[:-1, :-1]
    return np.asarray(inside, np.int64)
