"""Maps -> one label per gland, out of core and exact: the result depends neither on the block size nor on the number of workers.

The rule (docs/architecture.md, "The split rule"): seeds, growth inside the mask, what is left joins what it touches most.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.geometry import Geometry, blocks, halo
from tiling.glands.components import Block, Grid, Joined, JoinedLabels, Pieces, Seen, join, label_block, merge, seen
from tiling.glands.growth import contacts, grow
from tiling.parallel import for_each
from tiling.store.arrays import SHARD_PX, create_array, create_group, create_table, geometry_of, open_array, open_store, set_attributes
from tiling.store.atomic import building

_SCRATCH = "scratch"
Result = TypeVar("Result")


@dataclass(frozen=True)
class SplitParameters:
    """How maps are cut into glands.

    Attributes
    ----------
    threshold : gland probability from which a pixel belongs to the mask
    seed_depth_um : signed distance from which a pixel may be seed, um
    boundary_level : boundary probability from which a pixel cannot be seed; above 1: not used
    growth_um : reach of the growth of seeds, um
    min_area_um2 : smaller objects go, um2
    sdf_um : distance at which the stored signed distance saturates, um
    use_sdf : False when the distance was normalised per tile: seeds then come from mask and boundary alone
    """

    threshold: float
    seed_depth_um: float
    boundary_level: float
    growth_um: float
    min_area_um2: float
    sdf_um: float
    use_sdf: bool = True


def stitch(
    maps: Path,
    store: Path,
    *,
    parameters: SplitParameters,
    slide: str,
    workers: int = 1,
    block_px: int = 2048,
    code_version: int,
    progress: bool = False,
) -> int:
    """Cut a slide's maps into glands and write `glands/{slide}.zarr`; returns their number.

    Parameters
    ----------
    maps : map store (uint8 codes, see docs/architecture.md)
    store : gland store; appears whole or not at all
    block_px : side of the blocks worked on, stored pixels; the result does not depend on it
    workers : threads; the result does not depend on it
    """
    geometry = geometry_of(maps)
    given = {"split": asdict(parameters), "version": code_version, "geometry": geometry.to_dict()}
    shape = (geometry.height_px, geometry.width_px)
    with building(store, given, keep_partial=False) as partial:
        work = _Work(maps, partial.folder / _SCRATCH, Grid(shape, block_px), geometry, parameters, workers=workers, progress=progress)
        seeds = work.seeds()
        grown = work.each(lambda index: work.grow(index, seeds), "growth")
        rest = join(work.grid, [None if part is None else part.rest for part in grown])
        owner = _owners(grown, rest, seeds.total)
        bodies = [None if part is None else _bodies(part, rest.numbers[index], owner) for index, part in enumerate(grown)]
        parts = [(body, part.seen) for body, part in zip(bodies, grown, strict=True) if body is not None and part is not None]
        objects = merge(parts, max(seeds.total, int(owner.max(initial=0))))
        glands, number = _select(objects, geometry.um2_per_px, parameters.min_area_um2)
        lookup = [np.zeros(1, np.int32) if body is None else np.concatenate([[0], number[body]]).astype(np.int32) for body in bodies]
        group = create_group(partial.folder)
        work.write(create_array(group, "labels", shape, np.int32), lookup)
        create_table(group, "objects", _table(glands, shape))
        set_attributes(group, {"status": "ok", "slide": slide, "parameters": {}, **given})
        shutil.rmtree(partial.folder / _SCRATCH)
    return len(glands.area_px)


class _Grown(NamedTuple):
    """One block after growth; its labels 1..a are grown objects, a + 1..a + r what growth left.

    Attributes
    ----------
    objects : int64 (a,), numbers of the grown objects
    rest : the pieces of what is left, or None
    contacts : int64 (n, 3), piece of what is left, object beside it, pairs of pixels
    seen : of labels 1..a + r
    """

    objects: NDArray[np.int64]
    rest: Pieces | None
    contacts: NDArray[np.int64]
    seen: Seen


class _Seeds(NamedTuple):
    labels: JoinedLabels
    total: int


class _Work:
    """The passes over the blocks; two arrays of work in progress lie in a folder that goes before the store appears."""

    def __init__(
        self, maps: Path, scratch: Path, grid: Grid, geometry: Geometry, parameters: SplitParameters, *, workers: int, progress: bool
    ) -> None:
        self.grid, self.shape = grid, grid.shape
        self.reach_px = round(parameters.growth_um / geometry.mpp)
        self.parameters = parameters
        self.workers, self.progress = workers, progress
        source = open_store(maps)
        self.gland, self.sdf, self.boundary = (open_array(source, name) for name in ("gland", "sdf", "boundary"))
        root = create_group(scratch)
        self.seed_pieces, self.pieces = grid.scratch(root, "seeds"), grid.scratch(root, "pieces")

    def each(self, function: Callable[[int], Result], what: str) -> list[Result]:
        """A function of every block's index."""
        return for_each(function, range(len(self.grid)), workers=self.workers, what=what, progress=self.progress)

    def seeds(self) -> _Seeds:
        """Label the seeds of all blocks and join them; numbers by first pixel."""
        joined = join(self.grid, self.each(self._seed_block, "seeds"))
        return _Seeds(JoinedLabels(self.seed_pieces, self.grid, joined.numbers), len(joined.first_px))

    def _seed_block(self, index: int) -> Pieces | None:
        block = self.grid.blocks[index]
        seed = self._mask(block)
        if not seed.any():
            return None
        p = self.parameters
        seed &= np.asarray(self.boundary[block]) < round(255 * p.boundary_level)
        if p.use_sdf:
            seed &= np.asarray(self.sdf[block]) > round((p.seed_depth_um / p.sdf_um + 1) * 127.5)
        labels, pieces = label_block(seed, block, self.shape[1])
        if pieces is not None:
            self.seed_pieces[block] = labels
        return pieces

    def grow(self, index: int, seeds: _Seeds) -> _Grown | None:
        """Grow the seeds into a block, label what is left, and count what it touches.

        A step carries a number one pixel far: with a halo of R + 1 the block and the ring of pixels around it are exact.
        """
        block = self.grid.blocks[index]
        if not self._mask(block).any():
            return None
        outer, inner = halo(block, self.reach_px + 1, *self.shape)
        mask = self._mask(outer)
        labels = grow(seeds.labels[outer], mask, steps=self.reach_px)
        ring = np.pad(labels, 1)[inner[0].start : inner[0].stop + 2, inner[1].start : inner[1].stop + 2]
        body = labels[inner]
        rest, pieces = label_block(mask[inner] & (body == 0), block, self.shape[1])
        present = np.flatnonzero(np.bincount(body.ravel()))
        objects = present[present > 0]
        local = np.zeros(int(body.max()) + 1, np.int32)
        local[objects] = np.arange(1, len(objects) + 1)
        combined = local[body]
        combined[rest > 0] = rest[rest > 0] + len(objects)
        self.pieces[block] = combined
        count = len(objects) + (0 if pieces is None else len(pieces.first_px))
        touching = np.zeros((0, 3), np.int64) if pieces is None else contacts(rest, ring)
        return _Grown(objects, pieces, touching, seen(combined, count, block, self.shape[1]))

    def write(self, labels: zarr.Array[Any], lookup: list[NDArray[np.int32]]) -> None:
        """Write final numbers, one shard at a time whatever the block size."""
        final = JoinedLabels(self.pieces, self.grid, lookup)

        def shard(block: Block) -> None:
            numbers = final[block]
            if numbers.any():
                labels[block] = numbers

        for_each(shard, blocks(*self.shape, SHARD_PX), workers=self.workers, what="labels", progress=self.progress)

    def _mask(self, block: Block) -> NDArray[np.bool_]:
        return np.asarray(self.gland[block]) >= round(255 * self.parameters.threshold)


def _owners(grown: list[_Grown | None], rest: Joined, seeds: int) -> NDArray[np.int32]:
    """Object of each component that growth left, int32 (components + 1,): the one it touches most, else a new one."""
    owner = np.zeros(len(rest.first_px) + 1, np.int32)
    found = [
        np.column_stack([rest.numbers[index][part.contacts[:, 0]], part.contacts[:, 1:]])
        for index, part in enumerate(grown)
        if part is not None and len(part.contacts)
    ]
    if found:
        every = np.concatenate(found)
        pairs, where = np.unique(every[:, :2], axis=0, return_inverse=True)
        touching = np.bincount(where.ravel(), weights=every[:, 2]).astype(np.int64)
        order = np.lexsort((-pairs[:, 1], touching, pairs[:, 0]))  # last of each component: most contacts, then the smaller number
        owner[pairs[order, 0]] = pairs[order, 1]
    alone = np.flatnonzero(owner[1:] == 0) + 1
    owner[alone] = seeds + 1 + np.arange(len(alone))
    return owner


def _bodies(part: _Grown, numbers: NDArray[np.int32], owner: NDArray[np.int32]) -> NDArray[np.int64]:
    """Object of each label 1..n of a block."""
    return np.concatenate([part.objects, owner[numbers[1:]]]).astype(np.int64)


def _select(objects: Seen, um2_per_px: float, min_area_um2: float) -> tuple[Seen, NDArray[np.int32]]:
    """The objects that stay, by first pixel, and the lookup from object to final number (0: gone)."""
    kept = np.flatnonzero((objects.area_px > 0) & ~(objects.area_px * um2_per_px < min_area_um2))
    kept = kept[np.argsort(objects.first_px[kept])]
    number = np.zeros(len(objects.area_px) + 1, np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1, dtype=np.int32)
    return Seen(objects.first_px[kept], objects.area_px[kept], objects.box_px[kept]), number


def _table(glands: Seen, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    top, left, bottom, right = glands.box_px.T
    border = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    window = np.stack([top, left, bottom - top, right - left], axis=1)
    return {"first_px": glands.first_px, "window_px": window, "area_px": glands.area_px, "touches_border": border.astype(np.uint8)}
