"""Maps -> one label per gland, out of core and exact: the result depends neither on the block size nor on the number of workers.

The rule (docs/architecture.md, "The split rule"): seeds, growth inside the mask, what is left joins what it touches most.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from zarr.codecs import ZstdCodec

from tiling.geometry import Geometry, blocks, halo
from tiling.glands.components import Block, Components, label_blocks
from tiling.parallel import for_each
from tiling.store.arrays import SHARD_PX, create_array, create_group, create_table, geometry_of, open_array, open_store, set_attributes
from tiling.store.atomic import building

_FAR = np.iinfo(np.int32).max


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


@dataclass(frozen=True)
class _Objects:
    """Per object: first pixel, pixels, and bounding window (top, left, bottom, right), all of the whole image."""

    first_px: NDArray[np.int64]
    area_px: NDArray[np.int64]
    box_px: NDArray[np.int64]


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
    with building(store, given, keep_partial=False) as partial:
        scratch = store.with_name(store.name + ".scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        work = _Work(maps, scratch, geometry, parameters, block_px=block_px, workers=workers, progress=progress)
        objects = work.objects()
        group = create_group(partial.folder)
        glands, number = _select(objects, parameters.min_area_um2 / geometry.um2_per_px)
        work.write(create_array(group, "labels", work.shape, np.int32), number)
        create_table(group, "objects", _table(glands, work.shape))
        set_attributes(group, {"status": "ok", "slide": slide, "parameters": {}, **given})
        shutil.rmtree(scratch)
    return len(glands.area_px)


class _Work:
    """The passes over the blocks; intermediate images lie in a scratch folder beside the store."""

    def __init__(
        self, maps: Path, scratch: Path, geometry: Geometry, parameters: SplitParameters, *, block_px: int, workers: int, progress: bool
    ) -> None:
        self.shape = (geometry.height_px, geometry.width_px)
        self.grid = blocks(*self.shape, block_px)
        self.index = {(block[0].start, block[1].start): number for number, block in enumerate(self.grid)}
        self.reach_px = round(parameters.growth_um / geometry.mpp)
        self.parameters = parameters
        self.workers, self.progress = workers, progress
        source = open_store(maps)
        self.maps = {name: open_array(source, name) for name in ("gland", "sdf", "boundary")}
        root = zarr.open_group(scratch, mode="w", zarr_format=3)
        chunk = (min(block_px, self.shape[0]), min(block_px, self.shape[1]))
        # One chunk a block: two workers never write the same file.
        self.alone, self.seeds, self.grown, self.left, self.body = (
            root.create_array(name, shape=self.shape, dtype=np.int32, chunks=chunk, compressors=ZstdCodec(level=1), fill_value=0)
            for name in ("alone", "seeds", "grown", "left", "body")
        )

    def objects(self) -> _Objects:
        """All objects before the smallest go; their numbers lie in `body`."""
        seeds = label_blocks(self._seed, self.alone, self.grid, workers=self.workers, what="seeds", progress=self.progress)
        self._each(lambda block: self._renumber(block, seeds), "seed numbers")
        self._each(self._grow, "growth")
        left = label_blocks(self._leftover, self.left, self.grid, workers=self.workers, what="leftovers", progress=self.progress)
        joins = self._joins(left, len(seeds.first_px))
        parts = self._each(lambda block: self._join(block, left, joins), "objects")
        return _merge([part for part in parts if part is not None], len(seeds.first_px) + int((joins > len(seeds.first_px)).sum()))

    def write(self, labels: zarr.Array[Any], number: NDArray[np.int32]) -> None:
        """Write final numbers, one shard at a time whatever the block size."""

        def shard(block: Block) -> None:
            body = np.asarray(self.body[block])
            if body.any():
                labels[block] = number[body]

        for_each(shard, blocks(*self.shape, SHARD_PX), workers=self.workers, what="labels", progress=self.progress)

    def _each(self, function: Any, what: str) -> list[Any]:  # noqa: ANN401  # any function of a block
        return for_each(function, self.grid, workers=self.workers, what=what, progress=self.progress)

    def _mask(self, block: Block) -> NDArray[np.bool_]:
        return np.asarray(self.maps["gland"][block]) >= round(255 * self.parameters.threshold)

    def _seed(self, block: Block) -> NDArray[np.bool_]:
        seed = self._mask(block)
        if not seed.any():
            return seed
        p = self.parameters
        seed &= np.asarray(self.maps["boundary"][block]) < round(255 * p.boundary_level)
        if p.use_sdf:
            seed &= np.asarray(self.maps["sdf"][block]) > round((p.seed_depth_um / p.sdf_um + 1) * 127.5)
        return seed

    def _renumber(self, block: Block, seeds: Components) -> None:
        number = seeds.number[self._at(block)]
        if len(number) > 1:
            self.seeds[block] = number[np.asarray(self.alone[block])]

    def _grow(self, block: Block) -> None:
        """R synchronous steps of 8-neighbour propagation; information travels one pixel a step, so a halo of R is exact."""
        outer, inner = halo(block, self.reach_px, *self.shape)
        labels = np.asarray(self.seeds[outer])
        if not labels.any():
            return
        free = self._mask(outer) & (labels == 0)
        labels = np.where(labels == 0, _FAR, labels)
        for _ in range(self.reach_px):
            least = ndimage.minimum_filter(labels, size=3, mode="constant", cval=_FAR)
            reached = free & (least < _FAR)
            if not reached.any():
                break
            labels[reached] = least[reached]
            free &= ~reached
        self.grown[block] = np.where(labels == _FAR, 0, labels)[inner]

    def _leftover(self, block: Block) -> NDArray[np.bool_]:
        mask = self._mask(block)
        return mask & (np.asarray(self.grown[block]) == 0) if mask.any() else mask

    def _joins(self, left: Components, seeds: int) -> NDArray[np.int32]:
        """Object that each leftover belongs to, int32 (number of leftovers + 1,): a grown one, or one of its own."""
        touching = [pairs for pairs in self._each(lambda block: self._contacts(block, left), "contacts") if len(pairs)]
        joins = np.zeros(len(left.first_px) + 1, np.int32)
        if touching:
            every = np.concatenate(touching)
            pairs, where = np.unique(every[:, :2], axis=0, return_inverse=True)
            contacts = np.bincount(where.ravel(), weights=every[:, 2]).astype(np.int64)
            order = np.lexsort((-pairs[:, 1], contacts, pairs[:, 0]))  # last of each leftover: most contacts, then the smaller number
            joins[pairs[order, 0]] = pairs[order, 1]
        alone = np.flatnonzero(joins[1:] == 0) + 1
        joins[alone] = seeds + 1 + np.arange(len(alone))
        return joins

    def _contacts(self, block: Block, left: Components) -> NDArray[np.int64]:
        """(leftover, grown object, pixel pairs) around the leftover pixels of a block, int64 (M, 3)."""
        number = left.number[self._at(block)]
        if len(number) == 1:
            return np.zeros((0, 3), np.int64)
        outer, inner = halo(block, 1, *self.shape)
        grown = np.pad(np.asarray(self.grown[outer]), 1)
        mine = number[np.asarray(self.left[block])]
        y, x = np.nonzero(mine)
        found = []
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            other = grown[y + inner[0].start + 1 + dy, x + inner[1].start + 1 + dx]
            found.append(np.stack([mine[y, x], other], axis=1)[other > 0])
        pairs, counts = np.unique(np.concatenate(found).astype(np.int64), axis=0, return_counts=True)
        return np.concatenate([pairs, counts[:, None]], axis=1)

    def _join(self, block: Block, left: Components, joins: NDArray[np.int32]) -> tuple[NDArray[np.int64], _Objects] | None:
        """Write a block of `body`; its objects and what is seen of them here."""
        body = np.asarray(self.grown[block])
        number = left.number[self._at(block)]
        if len(number) > 1:
            body = np.maximum(body, joins[number[np.asarray(self.left[block])]])
        if not body.any():
            return None
        self.body[block] = body
        return _seen(body, block, self.shape[1])

    def _at(self, block: Block) -> int:
        return self.index[block[0].start, block[1].start]


def _seen(body: NDArray[np.int32], block: Block, width: int) -> tuple[NDArray[np.int64], _Objects]:
    top, left = block[0].start, block[1].start
    pixels = np.flatnonzero(body)
    ids, first, inverse, area = np.unique(body.ravel()[pixels], return_index=True, return_inverse=True, return_counts=True)
    y, x = np.divmod(pixels, body.shape[1])
    box = np.empty((len(ids), 4), np.int64)
    for column, (values, extreme, start) in enumerate(
        ((y, np.minimum, top), (x, np.minimum, left), (y, np.maximum, top + 1), (x, np.maximum, left + 1))
    ):
        edge = np.full(len(ids), np.iinfo(np.int64).max if extreme is np.minimum else -1)
        extreme.at(edge, inverse.ravel(), values)
        box[:, column] = edge + start
    return ids.astype(np.int64), _Objects((y[first] + top) * width + x[first] + left, area.astype(np.int64), box)


def _merge(parts: list[tuple[NDArray[np.int64], _Objects]], count: int) -> _Objects:
    """Objects of the whole image (number i at row i - 1) from what each block saw."""
    largest = np.iinfo(np.int64).max
    whole = _Objects(np.full(count, largest), np.zeros(count, np.int64), np.tile(np.array([largest, largest, -1, -1]), (count, 1)))
    for ids, seen in parts:
        rows = ids - 1
        np.minimum.at(whole.first_px, rows, seen.first_px)
        np.add.at(whole.area_px, rows, seen.area_px)
        np.minimum.at(whole.box_px[:, :2], rows, seen.box_px[:, :2])
        np.maximum.at(whole.box_px[:, 2:], rows, seen.box_px[:, 2:])
    return whole


def _select(objects: _Objects, least_px: float) -> tuple[_Objects, NDArray[np.int32]]:
    """The objects that stay, by first pixel, and the lookup from object to final number (0: gone)."""
    kept = np.flatnonzero(objects.area_px >= least_px)
    kept = kept[np.argsort(objects.first_px[kept])]
    number = np.zeros(len(objects.area_px) + 1, np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1, dtype=np.int32)
    return _Objects(objects.first_px[kept], objects.area_px[kept], objects.box_px[kept]), number


def _table(glands: _Objects, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    top, left, bottom, right = glands.box_px.T
    border = (top == 0) | (left == 0) | (bottom == shape[0]) | (right == shape[1])
    window = np.stack([top, left, bottom - top, right - left], axis=1)
    return {"first_px": glands.first_px, "window_px": window, "area_px": glands.area_px, "touches_border": border.astype(np.uint8)}
