"""Regions where another look would teach most: squares of high doubt, with the predicted glands inside as outlines to correct.

Correcting outlines is quicker than drawing them: in QuPath, mend the glands, give the square the class `Region*`, and run again.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import CoordinateFrame, Geometry, blocks
from tiling.stores.arrays import SHARD_PX, open_array, open_store, read_table
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.layout import TileStore

_CELLS_A_SIDE = 16
_LEAST_TISSUE = 0.25
_REGION_COLOR = (255, 165, 0)
_GLAND_COLOR = (200, 0, 0)
_BLOCK_PX = 2048


def _entropy_codes() -> NDArray[np.int32]:
    """round(255 H(code / 255)), H the entropy of a yes-or-no question in bits."""
    p = np.arange(1, 255) / 255
    return np.pad(np.rint(-255 * (p * np.log2(p) + (1 - p) * np.log2(1 - p))), 1).astype(np.int32)


ENTROPY = _entropy_codes()


class Proposal(NamedTuple):
    """A square of stored pixels and how doubtful it is.

    Attributes
    ----------
    window_px : y, x, height, width
    doubt : mean over the square of the experts' disagreement and the entropy of the gate's probability (bits), both 0..1, on tissue only
    """

    window_px: tuple[int, int, int, int]
    doubt: float


class Cells(NamedTuple):
    """Sums over square cells of the slide, each (rows, columns) int64.

    Attributes
    ----------
    doubt : disagreement code + entropy code of the gland probability, over tissue pixels
    tissue : tissue pixels
    labelled : pixels of a region or of a drawn gland
    """

    doubt: NDArray[np.int64]
    tissue: NDArray[np.int64]
    labelled: NDArray[np.int64]


def propose_regions(
    maps: Path,
    tiles: Path,
    labels: Path | None,
    glands: Path,
    out: Path,
    *,
    slide: str,
    count: int,
    size_um: float,
    gland_class: str = "Gland",
    origin: CoordinateFrame = "bounds",
) -> int:
    """Write `proposals/{slide}.geojson`; returns the number of proposed regions.

    Parameters
    ----------
    maps, tiles, glands : stores of the slide
    labels : label store, or None; proposals stay away from regions and drawn glands; a failed one counts as none
    out : GeoJSON of annotations, `Proposed*` squares and the glands that reach into them, whole; not those that somebody has drawn already
    count : most regions; fewer where no further square holds tissue
    size_um : side of a region
    origin : "bounds" subtracts the offset of the viewer's crop, as QuPath does

    Raises
    ------
    SlideError
        One of the stores records that the slide failed.
    """
    import shapely

    from tiling.objects.trace import outline_of
    from tiling.qupath.export_glands import FeatureWriter, appearing, gland_id, to_viewer

    geometry = geometry_of(maps)
    geometry_of(tiles)
    known = None if labels is None or recorded_error(labels) else labels
    proposals = choose(maps, tiles, known, geometry, count=count, size_um=size_um)
    array = open_array(open_store(glands), "labels")
    drawn = None if known is None else open_array(open_store(known), "labels")
    objects = read_table(glands, "objects", ("first_px", "window_px"))
    place = to_viewer(geometry, origin)
    with appearing(out) as text:
        write = FeatureWriter(text, geometry, origin)
        rows: set[int] = set()
        for number, proposal in enumerate(proposals, start=1):
            y, x, h, w = proposal.window_px
            write.feature(
                place(shapely.box(x, y, x + w, y + h)),
                gland_id(f"{slide}/proposal", y * geometry.width_px + x),
                name="Proposed*",
                color=_REGION_COLOR,
                object_type="annotation",
                measurements={"doubt": proposal.doubt},
                label=f"proposed {number}",
            )
            rows.update((np.unique(array[y : y + h, x : x + w]) - 1).tolist())
        # A gland between two squares is written once.
        for row in sorted(rows - {-1}):
            window = objects["window_px"][row]
            if drawn is not None and _is_drawn(array, drawn, row, window):
                continue
            # Not the exported gland's id: this outline will be changed.
            identity = gland_id(f"{slide}/proposal/gland", int(objects["first_px"][row]))
            shape = place(outline_of(array, row, window))
            write.feature(
                shape, identity, name=gland_class, color=_GLAND_COLOR, object_type="annotation"
            )
        write.close()
    return len(proposals)


def choose(
    maps: Path, tiles: Path, labels: Path | None, geometry: Geometry, *, count: int, size_um: float
) -> list[Proposal]:
    """The most doubtful squares that do not overlap, most doubtful first; ties to the upper left."""
    side = (
        min(round(size_um / geometry.mpp_y), geometry.height_px),
        min(round(size_um / geometry.mpp_x), geometry.width_px),
    )
    side = (max(side[0], 1), max(side[1], 1))
    cell_px = max(min(side) // _CELLS_A_SIDE, 1)
    cells = reduce_cells(maps, tiles, labels, geometry, cell_px=cell_px)
    # Whole cells that a square touches; squares begin at a cell's corner.
    reach = (-(-side[0] // cell_px), -(-side[1] // cell_px))
    fits = [
        max((total - length) // cell_px + 1, 1)
        for total, length in zip((geometry.height_px, geometry.width_px), side, strict=True)
    ]
    doubt, tissue, labelled = (
        _square_sums(values, reach)[: fits[0], : fits[1]] for values in cells
    )
    area = reach[0] * reach[1] * cell_px**2
    score = np.where((labelled == 0) & (tissue >= _LEAST_TISSUE * area), doubt, 0)
    chosen: list[Proposal] = []
    while len(chosen) < count and score.any():
        row, column = (int(value) for value in np.unravel_index(np.argmax(score), score.shape))
        window = (row * cell_px, column * cell_px, *side)
        chosen.append(Proposal(window, float(doubt[row, column]) / (2 * 255 * area)))
        score[
            max(row - reach[0] + 1, 0) : row + reach[0],
            max(column - reach[1] + 1, 0) : column + reach[1],
        ] = 0
    return chosen


def reduce_cells(
    maps: Path,
    tiles: Path,
    labels: Path | None,
    geometry: Geometry,
    *,
    cell_px: int,
    block_px: int = SHARD_PX,
) -> Cells:
    """Sums over cells, read block by block: memory grows with the number of cells only.

    Parameters
    ----------
    cell_px : side of a cell, stored pixels
    block_px : about the side of a block; rounded to whole cells
    """
    shape = (geometry.height_px, geometry.width_px)
    gland, disagreement = (open_array(open_store(maps), name) for name in ("gland", "disagreement"))
    tissue, stride = (
        np.asarray(open_array(open_store(tiles), "tissue")[...]) > 0,
        TileStore.read(tiles).tissue_stride_px,
    )
    known = (
        []
        if labels is None
        else [open_array(open_store(labels), name) for name in ("region", "labels")]
    )
    sums = Cells(
        *(
            np.zeros((-(-shape[0] // cell_px), -(-shape[1] // cell_px)), np.int64)
            for _ in Cells._fields
        )
    )
    for block in blocks(*shape, max(block_px // cell_px, 1) * cell_px):
        rows, columns = (
            np.minimum(np.arange(part.start, part.stop) // stride, n - 1)
            for part, n in zip(block, tissue.shape, strict=True)
        )
        here = tuple(slice(part.start // cell_px, -(-part.stop // cell_px)) for part in block)
        if known:
            sums.labelled[here] = _cell_sums(
                np.any([np.asarray(array[block]) > 0 for array in known], axis=0), cell_px
            )
        if not tissue[
            rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
        ].any():  # most of a slide is glass
            continue
        on_tissue = tissue[rows[:, None], columns]
        sums.tissue[here] = _cell_sums(on_tissue, cell_px)
        doubt = np.asarray(disagreement[block]).astype(np.int32) + ENTROPY[np.asarray(gland[block])]
        # Where no tile was predicted, probability 0 is certain: no doubt.
        sums.doubt[here] = _cell_sums(np.where(on_tissue, doubt, 0), cell_px)
    return sums


def _is_drawn(labels: Any, drawn: Any, row: int, window_px: NDArray[np.int64]) -> bool:  # noqa: ANN401  # zarr arrays
    """Whether most of a predicted gland lies on drawn ones; one may be as large as the slide, so it is read in blocks."""
    y, x, h, w = (int(value) for value in window_px)
    covered = total = 0
    for rows, columns in blocks(h, w, _BLOCK_PX):
        place = (slice(y + rows.start, y + rows.stop), slice(x + columns.start, x + columns.stop))
        inside = np.asarray(labels[place]) == row + 1
        total += int(inside.sum())
        covered += int((np.asarray(drawn[place])[inside] > 0).sum())
    return 2 * covered > total


def _cell_sums(values: NDArray[Any], cell_px: int) -> NDArray[np.int64]:
    """Sums over cells of a block that begins at a cell's corner; cells at the far edges may be cut.

    >>> _cell_sums(np.ones((3, 5), bool), 2).tolist()
    [[4, 4, 2], [2, 2, 1]]
    """
    down = np.add.reduceat(values, np.arange(0, values.shape[0], cell_px), axis=0, dtype=np.int64)
    return np.asarray(
        np.add.reduceat(down, np.arange(0, values.shape[1], cell_px), axis=1), np.int64
    )


def _square_sums(values: NDArray[np.int64], reach: tuple[int, int]) -> NDArray[np.int64]:
    """Sums over all rectangles of `reach` cells, by their upper left cell; those that leave the grid are cut.

    >>> _square_sums(np.ones((2, 3), np.int64), (2, 2)).tolist()
    [[4, 4, 2], [2, 2, 1]]
    """
    rows, columns = values.shape
    table = np.zeros((rows + 1, columns + 1), np.int64)
    table[1:, 1:] = values.cumsum(0).cumsum(1)
    bottom = np.minimum(np.arange(rows) + reach[0], rows)
    right = np.minimum(np.arange(columns) + reach[1], columns)
    inside = table[np.ix_(bottom, right)] - table[:-1, right] - table[bottom, :-1] + table[:-1, :-1]
    return np.asarray(inside, np.int64)
