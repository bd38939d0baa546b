"""Connected components of an image larger than memory: blocks are labelled alone and joined across their faces."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tiling.parallel import for_each

Block = tuple[slice, slice]
EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class _Labelled:
    """One block labelled alone: each component's first pixel (y * width + x of the whole image) and the labels along its faces."""

    first_px: NDArray[np.int64]
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


@dataclass(frozen=True)
class Components:
    """8-connected components of the whole image, numbered from 1 by their first pixel in raster order.

    Attributes
    ----------
    first_px : int64 (N,), y * width + x of each component's first pixel
    number : per block, int32 lookup from the block's own labels (0 = background) to component numbers
    """

    first_px: NDArray[np.int64]
    number: list[NDArray[np.int32]]


def label_blocks(
    foreground: Callable[[Block], NDArray[np.bool_]],
    into: Any,  # noqa: ANN401  # int32 zarr array
    grid: list[Block],
    *,
    workers: int,
    what: str,
    progress: bool,
) -> Components:
    """Label the 8-connected components of an image block by block.

    Parameters
    ----------
    foreground : reads a block of the image, bool (h, w)
    into : int32 (y, x) array of the image's size; receives each block's own labels (translate them with `number`)
    grid : the blocks, in raster order, covering the image (`tiling.geometry.blocks`)
    workers : threads; the result does not depend on it
    """
    width = int(into.shape[1])

    def label(block: Block) -> _Labelled:
        labels, count = ndimage.label(foreground(block), EIGHT, output=np.int32)
        if count:
            into[block] = labels
        pixels = np.flatnonzero(labels)
        _, first = np.unique(labels.ravel()[pixels], return_index=True)
        y, x = np.divmod(pixels[first], labels.shape[1])
        return _Labelled(
            (y + block[0].start).astype(np.int64) * width + x + block[1].start,
            labels[0],
            labels[-1],
            labels[:, 0].copy(),
            labels[:, -1].copy(),
        )

    labelled = for_each(label, grid, workers=workers, what=what, progress=progress)
    counts = np.array([len(part.first_px) for part in labelled], np.int64)
    offsets = np.concatenate([[0], counts.cumsum()])
    pairs = _across_faces(labelled, offsets, columns=len({block[1].start for block in grid}))
    total = int(offsets[-1])
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(total, total))
    joined, component = connected_components(graph, directed=False) if total else (0, np.zeros(0, np.int32))

    first_px = np.full(joined, np.iinfo(np.int64).max)
    np.minimum.at(first_px, component, np.concatenate([part.first_px for part in labelled]))
    order = np.argsort(first_px)
    rank = np.empty(joined, np.int32)
    rank[order] = np.arange(1, joined + 1, dtype=np.int32)
    numbers = rank[component]
    return Components(
        first_px[order],
        [np.concatenate([np.zeros(1, np.int32), numbers[start:stop]]) for start, stop in pairwise(offsets)],
    )


def _across_faces(labelled: list[_Labelled], offsets: NDArray[np.int64], *, columns: int) -> NDArray[np.int64]:
    """Pairs of provisional labels (0-based over all blocks) that touch across a face or a corner: int64 (M, 2)."""
    pairs = [np.zeros((0, 2), np.int64)]

    def touch(a: int, b: int, face_a: NDArray[np.int32], face_b: NDArray[np.int32]) -> None:
        both = (face_a > 0) & (face_b > 0)
        if both.any():
            found = np.stack([face_a[both] - 1 + offsets[a], face_b[both] - 1 + offsets[b]], axis=1)
            pairs.append(np.unique(found, axis=0))

    for a, part in enumerate(labelled):
        has_right, below = (a + 1) % columns != 0, a + columns
        neighbours = [(a + 1, part.right, labelled[a + 1].left)] if has_right else []
        if below < len(labelled):
            neighbours.append((below, part.bottom, labelled[below].top))
        for b, mine, other in neighbours:
            touch(a, b, mine, other)
            touch(a, b, mine[1:], other[:-1])
            touch(a, b, mine[:-1], other[1:])
        if has_right and below < len(labelled):  # the corner that four blocks share
            touch(a, below + 1, part.bottom[-1:], labelled[below + 1].top[:1])
            touch(a + 1, below, labelled[a + 1].bottom[:1], labelled[below].top[-1:])
    return np.concatenate(pairs)
