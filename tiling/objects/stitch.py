"""Maps -> one label per gland, out of core and exact: the result depends neither on the block size nor on the number of workers.

The rule (docs/architecture.md, "The split rule"): seeds, growth inside the mask, what is left joins what it touches most.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from tiling.objects.block_cache import Borders, Scratch
from tiling.objects.components import (
    Grid,
    Joined,
    Pieces,
    Seen,
    join,
    label_runs,
    merge,
    seen,
)
from tiling.objects.runs import runs
from tiling.parallel import JobSettings, for_each
from tiling.raster.geometry import Block, Geometry, blocks
from tiling.raster.growth import FREE, assign_components, count_contacts, grow
from tiling.raster.split_rule import SplitParameters, gland_mask, seed_mask
from tiling.stores.arrays import (
    SHARD_PX,
    create_array,
    create_group,
    open_array,
    open_store,
)
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import geometry_of
from tiling.stores.layout import GlandStore
from tiling.stores.shards import ShardReader, ShardWriter

_SCRATCH = "scratch"
Result = TypeVar("Result")


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
    with write_store(store, given, resume=False) as partial:
        work = _Work(
            maps,
            partial.folder / _SCRATCH,
            geometry,
            parameters,
            block_px=block_px,
            workers=workers,
            progress=progress,
        )
        seeds = work.seeds()
        grown = work.each(lambda index: work.grow(index, seeds.numbers), "growth")
        rest = join(work.grid, [None if part is None else part.rest for part in grown])
        owner = _owners(grown, rest, len(seeds.first_px))
        bodies = [
            None if part is None else _bodies(part, rest.numbers[index], owner)
            for index, part in enumerate(grown)
        ]
        parts = [
            (body, part.seen)
            for body, part in zip(bodies, grown, strict=True)
            if body is not None and part is not None
        ]
        objects = merge(parts, max(len(seeds.first_px), int(owner.max(initial=0))))
        glands, number = _select(objects, geometry.um2_per_px, parameters)

        def final(index: int) -> NDArray[np.int32]:
            """Final number of each label of a block."""
            part, body = grown[index], bodies[index]
            assert part is not None
            assert body is not None
            table = np.zeros(int(part.labels.max(initial=0)) + 1, np.int32)
            table[part.labels] = number[body]
            return table

        group = create_group(partial.folder)
        work.write(create_array(group, "labels", shape, np.int32, shard_px=SHARD_PX), final)
        GlandStore.write_table(group, _table(glands, shape))
        GlandStore(slide=slide, split=parameters, version=code_version, geometry=geometry).write(
            group
        )
        shutil.rmtree(partial.folder / _SCRATCH)
    return len(glands.area_px)


class _Grown(NamedTuple):
    """One block after growth: its labels are those of grown objects, and above them the pieces of what growth left.

    Attributes
    ----------
    labels : int64 (a + r,), those that occur, ascending, the last r are pieces of what is left
    objects : int64 (a,), numbers of the grown objects
    rest : the pieces of what is left, or None
    contacts : int64 (n, 3), piece of what is left, object beside it, pairs of pixels
    seen : of `labels`
    """

    labels: NDArray[np.int64]
    objects: NDArray[np.int64]
    rest: Pieces | None
    contacts: NDArray[np.int64]
    seen: Seen


class _Work:
    """The passes over the blocks; the array of work in progress lies in a folder that goes before the store appears."""

    def __init__(
        self,
        maps: Path,
        scratch: Path,
        geometry: Geometry,
        parameters: SplitParameters,
        *,
        block_px: int,
        workers: int,
        progress: bool,
    ) -> None:
        self.shape = (geometry.height_px, geometry.width_px)
        self.steps = parameters.growth_steps(geometry.mpp)
        # A step carries a number one pixel far: with a halo of R + 1 a block and the ring of pixels around it are exact.
        self.grid = Grid(self.shape, max(block_px, self.steps + 1))
        self.borders = Borders(self.grid, self.steps + 1)
        self.scratch = Scratch(scratch, self.grid)
        self.parameters = parameters
        self.job = JobSettings(workers, progress)
        source = open_store(maps)
        self.gland, self.sdf, self.boundary = (
            ShardReader(open_array(source, name)) for name in ("gland", "sdf", "boundary")
        )

    def each(self, function: Callable[[int], Result], nouns: str) -> list[Result]:
        """A function of every block's index."""
        return for_each(function, range(len(self.grid)), job=self.job, nouns=nouns)

    def seeds(self) -> Joined:
        """Label the seeds of all blocks and join them; numbers by first pixel."""
        return join(self.grid, self.each(self._seed_block, "seeds"))

    def _seed_block(self, index: int) -> Pieces | None:
        """Leave a block's field behind: pieces of seeds, and what is free to grow into."""
        block, p = self.grid.blocks[index], self.parameters
        mask = gland_mask(self.gland[block], p)
        if not mask.any():
            return None
        sdf = self.sdf[block] if p.use_sdf else None
        boundary = self.boundary[block] if p.use_boundary else None
        seed = seed_mask(mask, sdf, boundary, p)
        found = runs(mask.view(np.uint8) + seed)
        piece, pieces = label_runs(found, found.value == 2, block, self.shape[1])
        field = found._replace(value=np.where(found.value == 1, np.int32(FREE), piece))
        self.borders.keep(index, field.painted(mask.shape))
        self.scratch.write(index, field)
        return pieces

    def grow(self, index: int, numbers: list[NDArray[np.int32]]) -> _Grown | None:
        """Grow the seeds into a block, label what is left, and count what it touches.

        Parameters
        ----------
        numbers : number of each piece of seed, per block
        """
        if index not in self.scratch:
            return None
        block, near = self.grid.blocks[index], self.borders.near(index)
        # Places in the list of the numbers near by serve as labels: small, and in the order of the numbers.
        objects = np.unique(np.concatenate([numbers[other][1:] for other in near])).astype(np.int64)
        lookups = {
            # The last entry is what FREE, -1, finds.
            other: np.concatenate(
                [[0], np.searchsorted(objects, numbers[other][1:]) + 1, [FREE]]
            ).astype(np.int32)
            for other in near
        }
        field = self.borders.around(index, lookups, self.scratch.block(index, lookups[index]))
        grow(field, steps=self.steps)
        edge = self.steps + 2
        inner, ring = field[edge:-edge, edge:-edge], field[edge - 1 : 1 - edge, edge - 1 : 1 - edge]
        found = runs(inner)
        left = found.value == FREE
        piece, pieces = label_runs(found, left, block, self.shape[1])
        count, touching = len(objects), np.zeros((0, 3), np.int64)
        if pieces is not None:
            rest = found._replace(value=piece).of(left)
            component = np.repeat(rest.value.astype(np.int64), rest.length)
            touching = count_contacts(component, *rest.pixels(), ring)
            touching[:, 1] = objects[touching[:, 1] - 1]
            found = found._replace(value=np.where(left, piece + np.int32(count), found.value))
            count += len(pieces.first_px)
        self.scratch.write(index, found)
        every = seen(found, count, block, self.shape[1])
        # Most objects near by do not reach into this block: of those nothing is kept.
        labels = np.flatnonzero(every.area_px) + 1
        return _Grown(
            labels,
            objects[labels[labels <= len(objects)] - 1],
            pieces,
            touching,
            Seen(*(column[labels - 1] for column in every)),
        )

    def write(self, labels: zarr.Array[Any], final: Callable[[int], NDArray[np.int32]]) -> None:
        """Write final numbers, one shard at a time whatever the block size."""
        writer = ShardWriter(labels)

        def shard(block: Block) -> None:
            numbers = self.scratch.looked_up(block, final)
            if numbers is not None:
                writer.write_pixels(
                    (block[0].start // SHARD_PX, block[1].start // SHARD_PX), numbers
                )

        for_each(
            shard,
            blocks(*self.shape, SHARD_PX),
            job=self.job,
            nouns="labels",
        )


def _owners(grown: list[_Grown | None], rest: Joined, seeds: int) -> NDArray[np.int32]:
    """Object of each component that growth left, int32 (components + 1,), see `assign_components`."""
    contacts = [np.zeros((0, 3), np.int64)]
    for index, part in enumerate(grown):
        if part is not None:
            component = rest.numbers[index][part.contacts[:, 0]]
            contacts.append(np.column_stack([component, part.contacts[:, 1:]]))
    return assign_components(np.concatenate(contacts), len(rest.first_px), seeds)


def _bodies(
    part: _Grown, numbers: NDArray[np.int32], owner: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Object of each label of a block that occurs."""
    return np.concatenate([part.objects, owner[numbers[1:]]]).astype(np.int64)


def _select(
    objects: Seen, um2_per_px: float, parameters: SplitParameters
) -> tuple[Seen, NDArray[np.int32]]:
    """The objects that stay, by first pixel, and the lookup from object to final number (0: gone)."""
    dropped = parameters.is_too_small(objects.area_px, um2_per_px)
    kept = np.flatnonzero((objects.area_px > 0) & ~dropped)
    kept = kept[np.argsort(objects.first_px[kept])]
    number = np.zeros(len(objects.area_px) + 1, np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1, dtype=np.int32)
    return Seen(objects.first_px[kept], objects.area_px[kept], objects.box_px[kept]), number


def _table(glands: Seen, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    top, left, bottom, right = glands.box_px.T
    border = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    window = np.stack([top, left, bottom - top, right - left], axis=1)
    return {
        "first_px": glands.first_px,
        "window_px": window,
        "area_px": glands.area_px,
        "touches_border": border.astype(np.uint8),
    }
