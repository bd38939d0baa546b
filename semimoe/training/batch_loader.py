"""Batches of augmented tiles from a tile source.

A batch depends on (seed, epoch, position) only, see `tile_schedule`. Tiles are read in this
process. On a GPU all of them are kept there, or, if there are too many, a thread reads ahead.
Augmentation and targets are computed on the device.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from semimoe.objectives.batch import Batch
from semimoe.objectives.device_targets import make_device_targets
from semimoe.objectives.losses import Targets
from semimoe.objectives.targets import make_targets
from semimoe.settings import SdfScale
from semimoe.training.augmentation import AugmentedTiles, augment, rounded
from semimoe.training.cuda_graphs import RecordedFunction
from semimoe.training.device_tiles import DeviceTiles, WindowPlan
from semimoe.training.recipe import Recipe, Role, TileSource
from semimoe.training.tile_schedule import BatchPlan, ScheduledBatch, scheduled_batches
from semimoe.training.tile_windows import TileWindows, read_windows
from tiling.raster.quantise import restore_sdf

if TYPE_CHECKING:
    from semimoe.training.training_run import TrainingRun

_STATISTICS_TILES = 64
_BATCHES_AHEAD = 3
# Tiles of one role that are kept on a GPU: the 85 images of GlaS at 1.24 um take 0.1 GB.
_MOST_DEVICE_BYTES = 4 * 2**30


def batches_of_run(run: "TrainingRun", source: TileSource, role: Role) -> Iterator[Batch]:
    """The batches that a run still needs, see `batches`."""
    plan = BatchPlan(
        steps=run.steps,
        first_epoch=run.epoch,
        part=run.device.rank,
        parts=run.device.processes,
    )
    return batches(source, role, run.recipe, plan, run.device.device)


def batches(
    source: TileSource, role: Role, recipe: Recipe, plan: BatchPlan, device: torch.device
) -> Iterator[Batch]:
    """All batches of the epochs from `plan.first_epoch` to the end of the schedule, on the device.

    Raises
    ------
    DataError
        A labelled tile has no labels, or only some of the tiles have pseudo-labels.
    """
    schedule = scheduled_batches(len(source), role, recipe, plan)

    def read(scheduled: ScheduledBatch) -> _BatchInputs:
        windows = read_windows(
            source,
            role,
            scheduled,
            tile_px=recipe.training.tile_px,
            augmentation=recipe.training.augment,
            pin_memory=device.type == "cuda",
        )
        return _BatchInputs(windows, torch.from_numpy(scheduled.numbers.astype(np.float32)))

    make_batch = partial(_make_batch, role=role, recipe=recipe)
    if device.type != "cuda":
        for scheduled in schedule:
            batch = make_batch(read(scheduled))
            yield batch._replace(numbers=torch.from_numpy(scheduled.tiles))
        return
    tiles = DeviceTiles.of_source(
        source,
        role,
        tile_px=recipe.training.tile_px,
        augmentation=recipe.training.augment,
        device=device,
        most_bytes=_MOST_DEVICE_BYTES,
    )
    if tiles is not None:
        yield from _device_batches(tiles, schedule, make_batch, device)
        return
    recorded = RecordedFunction(make_batch)
    with ThreadPoolExecutor(1) as executor:
        ahead: deque[tuple[ScheduledBatch, Future[_BatchInputs]]] = deque()
        while True:
            for scheduled in islice(schedule, _BATCHES_AHEAD - len(ahead)):
                ahead.append((scheduled, executor.submit(read, scheduled)))
            if not ahead:
                return
            scheduled, inputs = ahead.popleft()
            batch = recorded(inputs.result().to(device))
            yield batch._replace(numbers=torch.from_numpy(scheduled.tiles))


def _device_batches(
    tiles: DeviceTiles,
    schedule: Iterator[ScheduledBatch],
    make_batch: "Callable[[_BatchInputs], Batch]",
    device: torch.device,
) -> Iterator[Batch]:
    """Batches whose windows are cut on the device."""

    def cut_and_make(inputs: tuple[WindowPlan, Tensor]) -> Batch:
        plan, numbers = inputs
        return make_batch(_BatchInputs(tiles.windows(plan), numbers))

    recorded = RecordedFunction(cut_and_make)
    for scheduled in schedule:
        numbers = torch.from_numpy(scheduled.numbers.astype(np.float32))
        batch = recorded((tiles.plan(scheduled).to(device), numbers.to(device, non_blocking=True)))
        yield batch._replace(numbers=torch.from_numpy(scheduled.tiles))


class _BatchInputs(NamedTuple):
    """Windows of B tiles, and their random numbers float32 (B, NUMBERS_PER_TILE)."""

    windows: TileWindows
    numbers: Tensor

    def to(self, device: torch.device) -> "_BatchInputs":
        return _BatchInputs(self.windows.to(device), self.numbers.to(device, non_blocking=True))


def _make_batch(inputs: _BatchInputs, *, role: Role, recipe: Recipe) -> Batch:
    """Augment tiles and compute their targets, on their device; without the tiles' numbers."""
    windows, numbers = inputs
    tiles = augment(
        windows, numbers, tile_px=recipe.training.tile_px, augmentation=recipe.training.augment
    )
    unknown = torch.empty(0, dtype=torch.int64)
    if role == "labelled":
        targets = _targets(tiles, recipe)
        if tiles.skeleton is not None:
            skeleton = tiles.skeleton
            if tiles.to_glass_px is not None:
                skeleton = torch.minimum(skeleton, _clipped_distance(tiles.to_glass_px, recipe))
            targets = targets.with_skeleton_distance(skeleton)
        return Batch(tiles.image, tiles.weight, targets, targets.mask, tiles.weight, unknown)
    pseudo = None
    if tiles.pseudo is not None:
        pseudo = _stored_targets(tiles.pseudo, tiles.scale, recipe.network.sdf_scale)
        if tiles.to_glass_px is not None:
            pseudo = _ending_at_glass(pseudo, tiles.to_glass_px, recipe)
    # All pixels inside the image count; the labels of an unlabelled tile are for the log only.
    truth_weight = tiles.weight * windows.has_labels[:, None, None]
    truth = (tiles.labels > 0).long()
    weakly_augmented = None
    if recipe.training.has_teacher or recipe.method.uses_weak_augmentation:
        weakly_augmented = rounded(tiles.weakly_augmented)
    return Batch(
        tiles.image,
        tiles.inside,
        pseudo,
        truth,
        truth_weight,
        unknown,
        weakly_augmented=weakly_augmented,
    )


def image_statistics(source: TileSource) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in [0, 1], over evenly spaced tiles of a source."""
    positions = np.linspace(0, len(source) - 1, min(len(source), _STATISTICS_TILES))
    indices = np.unique(positions.round().astype(int))
    sampled = [source[int(index)].image.reshape(3, -1)[:, ::7] for index in indices]
    pixels = np.concatenate(sampled, axis=1) / 255  # (3, n)
    mean = [round(float(value), 4) for value in pixels.mean(1)]
    return mean, [round(max(float(value), 0.05), 4) for value in pixels.std(1)]


def _targets(tiles: AugmentedTiles, recipe: Recipe) -> Targets:
    if tiles.labels.device.type != "cpu":
        return make_device_targets(
            tiles.labels, tiles.weight, mpp_um=recipe.mpp_um, network=recipe.network
        )
    arrays = [
        make_targets(labels, weight, mpp_um=recipe.mpp_um, network=recipe.network)
        for labels, weight in zip(tiles.labels.numpy(), tiles.weight.numpy(), strict=True)
    ]
    return Targets(
        torch.from_numpy(np.stack([one.mask for one in arrays]).astype(np.int64)),
        torch.from_numpy(np.stack([one.sdf for one in arrays]))[:, None],
        torch.from_numpy(np.stack([one.boundary for one in arrays]).astype(np.int64)),
    )


def _stored_targets(pseudo: Tensor, scale: Tensor, sdf_scale: SdfScale) -> Targets:
    """Convert stored pseudo-labels float32 (B, 3, T, T) to targets.

    Distances in um are multiplied by the scale, float32 (B, 1, 1) or (B, T, T). The extreme values
    -1 and 1 stay: the true distance may be larger than the stored one.
    """
    mask, quantised_sdf, boundary = pseudo.unbind(1)
    sdf = _sdf_of_quantised(pseudo.device)[quantised_sdf.long()]
    if sdf_scale != "tile":
        scaled = (sdf * scale).clamp(-1, 1)
        stays = sdf.abs() >= 1
        if sdf_scale == "skeleton":
            stays |= sdf > 0  # a position between outline and skeleton
        sdf = torch.where(stays, sdf, scaled)
    return Targets((mask > 0).long(), sdf[:, None], (boundary > 0).long())


def _ending_at_glass(targets: Targets, to_glass_px: Tensor, recipe: Recipe) -> Targets:
    """Distances of glands that end at the glass, as in labelled tiles.

    Their boundary lies in the glass, where unlabelled pixels do not count.

    Parameters
    ----------
    to_glass_px : float32 (B, T, T)
    """
    if recipe.network.sdf_scale == "tile":
        return targets
    sdf = torch.minimum(targets.sdf, _clipped_distance(to_glass_px, recipe)[:, None])
    return targets._replace(sdf=sdf)


def _clipped_distance(distance_px: Tensor, recipe: Recipe) -> Tensor:
    """A distance in px as a share of `sdf_um`, clipped to [0, 1]: 0 in the glass."""
    return (distance_px * (recipe.mpp_um / recipe.network.sdf_um)).clamp(0, 1)


@cache
def _sdf_of_quantised(device: torch.device) -> Tensor:
    """The signed distance of each of the 256 quantised values, float32 (256,)."""
    return torch.from_numpy(restore_sdf(np.arange(256, dtype=np.uint8))).to(device)
