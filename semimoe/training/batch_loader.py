"""Batches of augmented tiles from a tile source.

A batch depends on (seed, epoch, position) only: not on the number of workers, on the tiles that
were read before, or on the epoch at which a killed run stopped.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from semimoe.model_errors import DataError
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets
from semimoe.objectives.targets import TargetArrays, make_targets
from semimoe.training.augmentation import AugmentedTile, as_augmented_tile, augment
from semimoe.training.recipe import Recipe, Role, TileSource
from tiling.raster.quantise import restore_sdf

# Number of the random stream of each role.
_STREAMS: dict[Role, int] = {"labelled": 0, "unlabelled": 1}
_STATISTICS_TILES = 64


class BatchPlan(NamedTuple):
    """Which batches are read, and by which processes.

    Attributes
    ----------
    steps : batches per epoch
    first_epoch : batches of the epochs before it are skipped
    workers : number of processes that read and augment (spawned); 0: this process does
    part, parts : index of this process, and number of the processes that share every batch
    """

    steps: int
    first_epoch: int = 0
    workers: int = 0
    part: int = 0
    parts: int = 1


def batches(source: TileSource, role: Role, recipe: Recipe, plan: BatchPlan) -> Iterator[Batch]:
    """All batches of the epochs from `plan.first_epoch` to the end of the schedule."""
    loader = DataLoader(
        _TrainingTiles(source, role, recipe),
        sampler=_PositionSampler(len(source), _STREAMS[role], recipe, plan),
        batch_size=recipe.training.batch // plan.parts,
        collate_fn=partial(_collate, role),
        num_workers=plan.workers,
        multiprocessing_context="spawn" if plan.workers else None,
        pin_memory=plan.workers > 0 and torch.cuda.is_available(),
        # Without a generator the loader changes the global random state.
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    return iter(loader)


def image_statistics(source: TileSource) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in [0, 1], over evenly spaced tiles of a source."""
    positions = np.linspace(0, len(source) - 1, min(len(source), _STATISTICS_TILES))
    indices = np.unique(positions.round().astype(int))
    sampled = [source[int(index)].image.reshape(3, -1)[:, ::7] for index in indices]
    pixels = np.concatenate(sampled, axis=1) / 255  # (3, n)
    mean = [round(float(value), 4) for value in pixels.mean(1)]
    return mean, [round(max(float(value), 0.05), 4) for value in pixels.std(1)]


class _Position(NamedTuple):
    """One tile of the schedule: epoch, position within the epoch, index in the source."""

    epoch: int
    position: int
    tile: int


class _PositionSampler(Sampler[_Position]):
    """Positions of all epochs.

    An epoch consists of shuffled passes over the source; the last pass is truncated.
    """

    def __init__(self, tiles: int, stream: int, recipe: Recipe, plan: BatchPlan) -> None:
        self._tiles, self._stream, self._recipe, self._plan = tiles, stream, recipe, plan

    def __iter__(self) -> Iterator[_Position]:
        batch, epochs = self._recipe.training.batch, self._recipe.training.epochs
        count = self._plan.steps * batch
        for epoch in range(self._plan.first_epoch, epochs):
            rng = np.random.default_rng([self._recipe.seed, self._stream, epoch])
            passes = -(-count // self._tiles)
            order = np.concatenate([rng.permutation(self._tiles) for _ in range(passes)])[:count]
            for position, tile in enumerate(order):
                if position % batch * self._plan.parts // batch == self._plan.part:
                    yield _Position(epoch, position, int(tile))


class _TrainingTiles(Dataset[Batch]):
    """Augmented tiles with targets, indexed by their position in the schedule."""

    def __init__(self, source: TileSource, role: Role, recipe: Recipe) -> None:
        self._source, self._role, self._recipe = source, role, recipe

    def __getitem__(self, position: _Position) -> Batch:
        """One tile, as the arrays of a batch without their first axis."""
        recipe, labelled = self._recipe, self._role == "labelled"
        rng = np.random.default_rng([recipe.seed, _STREAMS[self._role], *position])
        source_tile = self._source[position.tile]
        if labelled and source_tile.labels is None:
            raise DataError(f"labelled tile {position.tile} has no labels")
        tile = augment(
            as_augmented_tile(source_tile),
            tile_px=recipe.training.tile_px,
            augmentation=recipe.training.augment,
            rng=rng,
        )
        weight = torch.from_numpy(tile.weight.astype(np.uint8))
        image = torch.from_numpy(np.ascontiguousarray(tile.image))
        number = torch.tensor(position.tile)
        labels = np.zeros(tile.weight.shape, np.int32)
        if tile.labels is not None:
            labels = np.ascontiguousarray(tile.labels)
        if labelled:
            arrays = make_targets(labels, tile.weight, mpp_um=recipe.mpp_um, network=recipe.network)
            mask = torch.from_numpy(arrays.mask.astype(np.int64))
            return Batch(image, weight, _as_tensors(arrays), mask, weight, number)
        pseudo = None
        if tile.pseudo is not None:
            rescale = recipe.network.sdf_scale == "um"
            pseudo = _as_tensors(_restored_pseudo_labels(tile.pseudo, tile, rescale=rescale))
        # All pixels inside the image count; the labels of an unlabelled tile are for the log only.
        inside = torch.from_numpy(np.ascontiguousarray(tile.inside))
        truth = torch.from_numpy((labels > 0).astype(np.int64))
        has_truth = source_tile.labels is not None
        truth_weight = weight if has_truth else torch.zeros_like(weight)
        return Batch(image, inside, pseudo, truth, truth_weight, number)


def _restored_pseudo_labels(
    pseudo: NDArray[np.uint8], tile: AugmentedTile, *, rescale: bool
) -> TargetArrays:
    """Convert stored pseudo-labels to targets.

    Distances are multiplied by the scale of the tile. The extreme values -1 and 1 stay: the true
    distance may be larger than the stored one.
    """
    mask, quantised_sdf, boundary = pseudo
    sdf = restore_sdf(quantised_sdf)
    if rescale:
        sdf = np.where(np.abs(sdf) >= 1, sdf, np.clip(sdf * tile.scale, -1, 1)).astype(np.float32)
    return TargetArrays((mask > 0).astype(np.uint8), sdf, (boundary > 0).astype(np.uint8))


def _as_tensors(arrays: TargetArrays) -> Targets:
    return Targets(
        torch.from_numpy(arrays.mask.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(arrays.sdf))[None],
        torch.from_numpy(arrays.boundary.astype(np.int64)),
    )


def _collate(role: str, tiles: list[Batch]) -> Batch:
    targets = [tile.targets for tile in tiles if tile.targets is not None]
    if targets and len(targets) != len(tiles):
        raise DataError(
            f"only some {role} tiles have pseudo-labels; compute them for all tiles, or for none"
        )
    return Batch(
        torch.stack([tile.image for tile in tiles]),
        torch.stack([tile.weight for tile in tiles]),
        Targets(*(torch.stack(parts) for parts in zip(*targets, strict=True))) if targets else None,
        torch.stack([tile.truth for tile in tiles]),
        torch.stack([tile.truth_weight for tile in tiles]),
        torch.stack([tile.numbers for tile in tiles]),
    )
