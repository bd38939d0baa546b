"""Connected components of an array that is too large for memory.

Blocks are labelled independently. The pairs of components that touch across faces and corners of
blocks form a graph; its connected components are those of the whole array. They are numbered by
their first pixel in raster order, so the numbers do not depend on the blocks.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tiling.raster.geometry import Block, blocks
from tiling.raster.runs import Runs, connect_runs, find_runs

# First pixel of an object without pixels: larger than that of any object.
NO_PIXEL = np.iinfo(np.int64).max


class BlockGrid:
    """An array divided into square blocks, in raster order.

    >>> len(BlockGrid((5, 9), 4))
    6
    """

    def __init__(self, shape: tuple[int, int], block_px: int) -> None:
        self.shape = shape
        self.block_px = block_px
        self.blocks = blocks(*shape, block_px)
        self.columns = -(-shape[1] // block_px)

    def __len__(self) -> int:
        return len(self.blocks)


class BlockComponents(NamedTuple):
    """Components 1..n of one block, as far as joining needs them.

    Attributes
    ----------
    first_px : int64 (n,), first pixel (y * width + x of the whole array) of each component
    top, bottom, left, right : int32, components of the pixels along the sides of the block
    """

    first_px: NDArray[np.int64]
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


class JoinedComponents(NamedTuple):
    """Components 1..N of the whole array.

    Attributes
    ----------
    numbers : for each block int32 (n + 1,), the component of the whole array that each component of
        the block belongs to; entry 0 is 0
    first_px : int64 (N,), first pixel of each component, ascending
    """

    numbers: list[NDArray[np.int32]]
    first_px: NDArray[np.int64]


def label_block(
    mask: NDArray[np.bool_], block: Block, width_px: int
) -> tuple[NDArray[np.int32], BlockComponents | None]:
    """8-connected components of one block.

    Parameters
    ----------
    mask : bool (h, w), pixels of the block
    block : its place in the whole array
    width_px : width of the whole array

    Returns
    -------
    ndarray
        int32 (h, w), components 1..n, 0 outside the mask.
    BlockComponents or None
        What joining needs; None without components.
    """
    runs = find_runs(mask)
    component, components = label_runs(runs, runs.value, block, width_px)
    return runs._replace(value=component).to_array(mask.shape), components


def label_runs(
    runs: Runs,
    chosen: NDArray[np.bool_],
    block: Block,
    width_px: int,
    *,
    diagonal: bool = True,
    one_value: bool = False,
) -> tuple[NDArray[np.int32], BlockComponents | None]:
    """Components of some runs of one block.

    Parameters
    ----------
    runs : runs that cover the block
    chosen : bool (n,), runs that belong to components
    block, width_px : as in `label_block`
    diagonal : components are 8-connected; otherwise 4-connected
    one_value : a component has one value; otherwise values do not count

    Returns
    -------
    ndarray
        int32 (n,), component of each run, 0 for runs that were not chosen.
    BlockComponents or None
        What joining needs; None without components.
    """
    component = np.zeros(len(chosen), np.int32)
    chosen_runs = runs.select(chosen)
    count, component[chosen] = connect_runs(chosen_runs, diagonal=diagonal, one_value=one_value)
    if not count:
        return component, None
    height, width = (side.stop - side.start for side in block)
    top, bottom = (
        np.repeat(component[row], runs.length[row]) for row in (runs.y == 0, runs.y == height - 1)
    )
    left, right = component[runs.x == 0], component[runs.x + runs.length == width]
    labelled = chosen_runs._replace(value=component[chosen])
    first_px = first_pixels(labelled, count, block, width_px)
    return component, BlockComponents(first_px, top, bottom, left, right)


def first_pixels(labels: Runs, count: int, block: Block, width_px: int) -> NDArray[np.int64]:
    """First pixel in raster order of the labels 1..count of a block.

    Returns
    -------
    ndarray
        int64 (count,), y * width + x of the whole array; NO_PIXEL for labels that do not occur.
    """
    first = np.full(count + 1, NO_PIXEL)
    position = (labels.y + block[0].start) * width_px + labels.x + block[1].start
    first[labels.value[::-1]] = position[::-1]  # the last assignment wins
    return first[1:]


def join_components(
    grid: BlockGrid,
    components: Sequence[BlockComponents | None],
    *,
    diagonal: bool = True,
    values: Sequence[NDArray[np.int32] | None] | None = None,
) -> JoinedComponents:
    """Components of the whole array from those of its blocks.

    Parameters
    ----------
    components : for each block of the grid; None without components
    diagonal : they are 8-connected; otherwise 4-connected
    values : for each block int32 (n,), the value of each component: only equal ones are joined

    >>> grid = BlockGrid((2, 4), 2)
    >>> masks = [np.array([[0, 0], [0, 1]]), np.array([[1, 0], [0, 0]])]
    >>> parts = [label_block(mask > 0, block, 4)[1] for mask, block in zip(masks, grid.blocks)]
    >>> [numbers.tolist() for numbers in join_components(grid, parts).numbers]
    [[0, 1], [0, 1]]
    """
    counts = [0 if part is None else len(part.first_px) for part in components]
    offset = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    total = int(offset[-1])
    if not total:
        return JoinedComponents([np.zeros(1, np.int32) for _ in components], np.zeros(0, np.int64))
    pairs = [np.zeros((2, 0), np.int64)]
    for index in range(len(grid)):
        pairs.extend(_touching_pairs(grid, components, offset, index, diagonal=diagonal))
    a, b = np.concatenate(pairs, axis=1)
    if values is not None:
        value = np.concatenate([part for part in values if part is not None])
        is_equal = value[a] == value[b]
        a, b = a[is_equal], b[is_equal]
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(total, total))
    count, joined = connected_components(graph, directed=False)
    first = np.full(count, NO_PIXEL)
    first_of_parts = [part.first_px for part in components if part is not None]
    np.minimum.at(first, joined, np.concatenate(first_of_parts))
    order = np.argsort(first)
    number = np.empty(count, np.int32)
    number[order] = np.arange(1, count + 1)
    numbers = [
        np.concatenate([np.zeros(1, np.int32), number[joined[start:stop]]])
        for start, stop in pairwise(offset)
    ]
    return JoinedComponents(numbers, first[order])


class _Face(NamedTuple):
    """Pixels of a block that face a neighbour: a side, or one pixel at a corner."""

    neighbour: int  # index of the neighbouring block
    components: NDArray[np.int32]  # of this block along the face
    side: Literal["left", "top"]  # of the neighbour
    part: slice  # of that side


def _faces(grid: BlockGrid, index: int, components: BlockComponents) -> Iterator[_Face]:
    """Faces of a block to its neighbours on the right and below."""
    column, below = index % grid.columns, index + grid.columns
    has_right = column < grid.columns - 1
    if has_right:
        yield _Face(index + 1, components.right, "left", slice(None))
    if below < len(grid):
        yield _Face(below, components.bottom, "top", slice(None))
        if has_right:
            yield _Face(below + 1, components.bottom[-1:], "top", slice(0, 1))
        if column:
            yield _Face(below - 1, components.bottom[:1], "top", slice(-1, None))


def _touching_pairs(
    grid: BlockGrid,
    components: Sequence[BlockComponents | None],
    offset: NDArray[np.int64],
    index: int,
    *,
    diagonal: bool,
) -> Iterator[NDArray[np.int64]]:
    """Pairs (2, n) of components that touch across the faces of a block.

    The numbers count the components of all blocks from 0: that of component c of block i is
    offset[i] + c - 1.
    """
    own = components[index]
    if own is None:
        return
    for face in _faces(grid, index, own):
        if face.part != slice(None) and not diagonal:
            continue
        other = components[face.neighbour]
        if other is None:
            continue
        facing = getattr(other, face.side)[face.part]
        length = len(face.components)
        for shift in (-1, 0, 1) if diagonal else (0,):
            a = face.components[max(-shift, 0) : length - max(shift, 0)]
            b = facing[max(shift, 0) : length - max(-shift, 0)]
            both = (a > 0) & (b > 0)
            pair = np.stack([a[both] - 1 + offset[index], b[both] - 1 + offset[face.neighbour]])
            # A pair repeats along a face: keep its first pixel only.
            changes = np.diff(pair, axis=1, prepend=-1).any(axis=0)
            yield pair[:, np.flatnonzero(changes)]
