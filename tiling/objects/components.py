"""8-connected components of an array too large for memory: label block by block, join across faces and corners.

Blocks are labelled on their own; the pairs of touching pieces form a graph, and its connected components are the answer.
Numbers follow the first pixel in raster order, so they do not depend on the blocks.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tiling.objects.runs import Runs, connected, runs
from tiling.raster.geometry import Block, blocks

_NEVER = np.iinfo(np.int64).max


class Pieces(NamedTuple):
    """What joining needs to know of one block.

    Attributes
    ----------
    first_px : int64 (n,), first pixel (y * width + x of the whole array) of pieces 1..n
    top, bottom, left, right : int32, the pieces along the block's sides
    """

    first_px: NDArray[np.int64]
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


class Joined(NamedTuple):
    """Components of the whole array.

    Attributes
    ----------
    numbers : per block int32 (n + 1,), component of each piece; entry 0 is 0
    first_px : int64 (N,), first pixel of components 1..N, ascending
    """

    numbers: list[NDArray[np.int32]]
    first_px: NDArray[np.int64]


class Grid:
    """An array cut into square blocks, in raster order.

    >>> len(Grid((5, 9), 4))
    6
    """

    def __init__(self, shape: tuple[int, int], block_px: int) -> None:
        self.shape = shape
        self.block_px = block_px
        self.blocks = blocks(*shape, block_px)
        self.columns = -(-shape[1] // block_px)

    def __len__(self) -> int:
        return len(self.blocks)


def label_block(
    mask: NDArray[np.bool_], block: Block, width_px: int
) -> tuple[NDArray[np.int32], Pieces | None]:
    """8-connected pieces of one block.

    Parameters
    ----------
    mask : bool (h, w), the block
    block : its place in the whole array
    width_px : of the whole array

    Returns
    -------
    int32 (h, w), pieces 1..n; and what joins them, None when there is none
    """
    found = runs(mask)
    piece, pieces = label_runs(found, found.value, block, width_px)
    return found._replace(value=piece).painted(mask.shape), pieces


def label_runs(
    found: Runs, inside: NDArray[np.bool_], block: Block, width_px: int
) -> tuple[NDArray[np.int32], Pieces | None]:
    """8-connected pieces of some runs of one block.

    Parameters
    ----------
    found : runs that cover the block
    inside : bool (n,), runs that belong to pieces
    block, width_px : as for `label_block`

    Returns
    -------
    int32 (n,), piece of each run, 0 of those outside; and what joins the pieces, None when there is none
    """
    piece = np.zeros(len(inside), np.int32)
    wanted = found.of(inside)
    count, piece[inside] = connected(wanted)
    if not count:
        return piece, None
    height, width = (side.stop - side.start for side in block)
    top, bottom = (
        np.repeat(piece[row], found.length[row]) for row in (found.y == 0, found.y == height - 1)
    )
    left, right = piece[found.x == 0], piece[found.x + found.length == width]
    return piece, Pieces(
        first_pixels(wanted._replace(value=piece[inside]), count, block, width_px),
        top,
        bottom,
        left,
        right,
    )


def first_pixels(found: Runs, count: int, block: Block, width_px: int) -> NDArray[np.int64]:
    """First pixel in raster order of the values 1..count of runs, as y * width + x of the whole array: int64 (count,)."""
    first = np.full(count + 1, _NEVER)
    first[found.value[::-1]] = ((found.y + block[0].start) * width_px + found.x + block[1].start)[
        ::-1
    ]  # of several the last stays
    return first[1:]


class Seen(NamedTuple):
    """What a block shows of labels 1..n; of one that does not occur: area 0, first pixel and box beyond all others.

    Attributes
    ----------
    first_px : int64 (n,), y * width + x of the whole array
    area_px : int64 (n,)
    box_px : int64 (n, 4), top, left, bottom, right in the whole array; the last two just outside
    """

    first_px: NDArray[np.int64]
    area_px: NDArray[np.int64]
    box_px: NDArray[np.int64]


def seen(labels: Runs, count: int, block: Block, width_px: int) -> Seen:
    """First pixels, areas and bounding boxes of labels 1..count of a block.

    >>> seen(runs(np.array([[0, 1], [2, 1]])), 2, (slice(10, 12), slice(20, 22)), 100).box_px.tolist()
    [[10, 21, 12, 22], [11, 20, 12, 21]]
    """
    found = labels.of(labels.value > 0)
    box = np.tile(np.array([_NEVER, _NEVER, -1, -1]), (count + 1, 1))
    y, x = found.y + block[0].start, found.x + block[1].start
    box[found.value[::-1], 0] = y[::-1]
    box[found.value, 2] = y + 1
    np.minimum.at(box[:, 1], found.value, x)
    np.maximum.at(box[:, 3], found.value, x + found.length)
    area = np.bincount(found.value, found.length, count + 1)[1:].astype(np.int64)
    return Seen(first_pixels(found, count, block, width_px), area, box[1:])


def merge(parts: Sequence[tuple[NDArray[np.int64], Seen]], count: int) -> Seen:
    """What the whole array shows of objects 1..count, from (objects, what was seen of them) of its blocks."""
    whole = Seen(
        np.full(count, _NEVER),
        np.zeros(count, np.int64),
        np.tile(np.array([_NEVER, _NEVER, -1, -1]), (count, 1)),
    )
    for objects, part in parts:
        rows = objects - 1
        np.minimum.at(whole.first_px, rows, part.first_px)
        np.add.at(whole.area_px, rows, part.area_px)
        np.minimum.at(whole.box_px[:, :2], rows, part.box_px[:, :2])
        np.maximum.at(whole.box_px[:, 2:], rows, part.box_px[:, 2:])
    return whole


def join(grid: Grid, pieces: Sequence[Pieces | None]) -> Joined:
    """Components of the whole array from the pieces of its blocks.

    >>> grid = Grid((2, 4), 2)
    >>> masks = [np.array([[0, 0], [0, 1]]), np.array([[1, 0], [0, 0]])]
    >>> [join(grid, [label_block(m > 0, b, 4)[1] for m, b in zip(masks, grid.blocks)]).numbers[i].tolist() for i in (0, 1)]
    [[0, 1], [0, 1]]
    """
    counts = [0 if piece is None else len(piece.first_px) for piece in pieces]
    offset = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    total = int(offset[-1])
    if not total:
        return Joined([np.zeros(1, np.int32) for _ in pieces], np.zeros(0, np.int64))
    pairs = [
        pair
        for index, piece in enumerate(pieces)
        if piece is not None
        for pair in _pairs(grid, pieces, offset, index, piece)
    ]
    a, b = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(total, total))
    count, component = connected_components(graph, directed=False)
    first = np.full(count, _NEVER)
    np.minimum.at(
        first, component, np.concatenate([piece.first_px for piece in pieces if piece is not None])
    )
    order = np.argsort(first)
    number = np.empty(count, np.int32)
    number[order] = np.arange(1, count + 1)
    of_piece = number[component]
    numbers = [
        np.concatenate([np.zeros(1, np.int32), of_piece[start:stop]])
        for start, stop in pairwise(offset)
    ]
    return Joined(numbers, first[order])


def _pairs(
    grid: Grid,
    pieces: Sequence[Pieces | None],
    offset: NDArray[np.int64],
    index: int,
    piece: Pieces,
) -> list[NDArray[np.int64]]:
    """Touching pieces (2, n) between a block and its neighbours to the right and below (global numbers from 0)."""
    column = index % grid.columns
    last_column, below = column == grid.columns - 1, index + grid.columns
    found = []
    # Each neighbour, and the two lines of pixels that face each other; at a corner a line is one pixel long.
    neighbours = [] if last_column else [(index + 1, piece.right, "left", slice(None))]
    if below < len(grid):
        neighbours.append((below, piece.bottom, "top", slice(None)))
        if not last_column:
            neighbours.append((below + 1, piece.bottom[-1:], "top", slice(0, 1)))
        if column:
            neighbours.append((below - 1, piece.bottom[:1], "top", slice(-1, None)))
    for other_index, line, side, part in neighbours:
        other = pieces[other_index]
        if other is None:
            continue
        facing = getattr(other, side)[part]
        n = len(line)
        for shift in (-1, 0, 1):
            mine, yours = (
                line[max(-shift, 0) : n - max(shift, 0)],
                facing[max(shift, 0) : n - max(-shift, 0)],
            )
            both = (mine > 0) & (yours > 0)
            pair = np.stack([mine[both] - 1 + offset[index], yours[both] - 1 + offset[other_index]])
            found.append(
                pair[:, np.flatnonzero(np.diff(pair, axis=1, prepend=-1).any(axis=0))]
            )  # a pair repeats along a face
    return found
