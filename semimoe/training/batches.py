"""From tile sources to batches.

A batch depends on (seed, epoch, position) only: not on workers, on what was read before, or on where a killed run stopped.
"""

from collections.abc import Iterator, Sized
from functools import partial
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from semimoe.model_errors import DataError
from semimoe.objectives.losses import Share, Targets
from semimoe.objectives.targets import TargetArrays, make_targets
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.augmentation import Window, augment, window_of
from tiling.raster.quantise import restore_sdf

_LABELLED, _UNLABELLED = 0, 1
_STATISTICS_TILES = 64


class TileItem(Protocol):
    """One tile of a source, read larger than a training tile."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """uint8 (3, H, W)."""

    @property
    def labels(self) -> NDArray[np.int32] | None:
        """Integers (H, W), 0 background, 1..N one gland each; None: not known."""

    @property
    def weight(self) -> NDArray[np.uint8] | None:
        """uint8 (H, W), 1 = counts; None: everything does."""

    @property
    def pseudo(self) -> NDArray[np.uint8] | None:
        """uint8 (3, H, W): mask 0/1, quantised sdf, boundary 0/1; None: not made."""

    @property
    def inside(self) -> NDArray[np.uint8] | None:
        """uint8 (H, W), 1 = pseudo-labels mean something here (tissue, not glass); None: everywhere."""


class TileSource(Protocol):
    """A map-style, picklable set of tiles."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> TileItem: ...


class Batch(NamedTuple):
    """Tiles ready for a step; B tiles of H = W = tile_px."""

    image: Tensor  # uint8 (B, 3, H, W)
    weight: Tensor  # uint8 (B, H, W): annotated, or just inside the image for unlabelled tiles
    targets: Targets | None  # from labels, or stored pseudo-labels of unlabelled tiles
    truth: Tensor  # int64 (B, H, W): mask of unlabelled tiles where known, for the log only
    truth_weight: Tensor  # uint8 (B, H, W)
    numbers: Tensor  # int64 (B,): places in the source, for messages
    share: Share = Share()  # of the batch that one optimiser step sees

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        targets = None if self.targets is None else Targets(*map(move, self.targets))
        return Batch(
            move(self.image),
            move(self.weight),
            targets,
            move(self.truth),
            move(self.truth_weight),
            self.numbers,
            self.share,
        )


class _Place(NamedTuple):
    epoch: int
    position: int
    tile: int


class _Tiles(Dataset[Batch]):
    """Augmented tiles with targets, looked up by place in the schedule."""

    def __init__(
        self,
        source: TileSource,
        *,
        stream: int,
        network: NetworkSettings,
        training: TrainingSettings,
        mpp_um: float,
        seed: int,
    ) -> None:
        self._source, self._stream, self._seed = source, stream, seed
        self._network, self._training, self._mpp_um = network, training, mpp_um

    def __getitem__(self, place: _Place) -> Batch:
        """One tile as a batch without its first axis."""
        rng = np.random.default_rng([self._seed, self._stream, *place])
        item = self._source[place.tile]
        if self._stream == _LABELLED and item.labels is None:
            raise DataError(f"labelled tile {place.tile} carries no labels")
        window = augment(
            window_of(item), tile_px=self._training.tile_px, how=self._training.augment, rng=rng
        )
        derived = self._targets(window)
        mask, weight = (
            torch.from_numpy(derived.mask.astype(np.int64)),
            torch.from_numpy(window.weight.astype(np.uint8)),
        )
        image, number = (
            torch.from_numpy(np.ascontiguousarray(window.image)),
            torch.tensor(place.tile),
        )
        if self._stream == _LABELLED:
            return Batch(image, weight, _tensors(derived), mask, weight, number)
        pseudo = (
            None
            if window.pseudo is None
            else _tensors(_decoded(window, rescale=self._network.sdf_scale == "um"))
        )
        # Padding only is left out: where an unlabelled tile is annotated is for the log, not for training.
        inside = torch.from_numpy(np.ascontiguousarray(window.inside))
        return Batch(
            image,
            inside,
            pseudo,
            mask,
            weight if item.labels is not None else torch.zeros_like(weight),
            number,
        )

    def _targets(self, window: Window) -> TargetArrays:
        labels = (
            np.zeros(window.weight.shape, np.int32)
            if window.labels is None
            else np.ascontiguousarray(window.labels)
        )
        if self._stream == _UNLABELLED:  # only its mask is logged
            return TargetArrays(
                (labels > 0).astype(np.uint8),
                np.zeros(labels.shape, np.float32),
                np.zeros(labels.shape, np.uint8),
            )
        return make_targets(labels, window.weight, mpp_um=self._mpp_um, network=self._network)


class _Schedule(Sampler[_Place]):
    """Places of all epochs from `first` on: per epoch shuffled passes over the source, cut to `count`."""

    def __init__(
        self,
        tiles: Sized,
        *,
        count: int,
        first: int,
        epochs: int,
        stream: int,
        seed: int,
        batch: int,
        part: tuple[int, int],
    ) -> None:
        self._tiles, self._count, self._first, self._epochs, self._stream, self._seed = (
            len(tiles),
            count,
            first,
            epochs,
            stream,
            seed,
        )
        self._batch, self._part = batch, part

    def __iter__(self) -> Iterator[_Place]:
        for epoch in range(self._first, self._epochs):
            rng = np.random.default_rng([self._seed, self._stream, epoch])
            passes = -(-self._count // self._tiles)
            order = np.concatenate([rng.permutation(self._tiles) for _ in range(passes)])[
                : self._count
            ]
            yield from (
                _Place(epoch, position, int(index))
                for position, index in enumerate(order)
                if self._ours(position)
            )

    def _ours(self, position: int) -> bool:
        number, parts = self._part
        return position % self._batch * parts // self._batch == number


def batches(
    source: TileSource,
    *,
    role: Literal["labelled", "unlabelled"],
    steps: int,
    first_epoch: int,
    network: NetworkSettings,
    training: TrainingSettings,
    mpp_um: float,
    seed: int,
    workers: int,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """All batches of the epochs from `first_epoch` to the end of the schedule, `steps` per epoch.

    Parameters
    ----------
    workers : processes that read and augment (spawned); 0: this one
    part : (k, n): the k-th of n equal parts of every batch
    """
    stream = _LABELLED if role == "labelled" else _UNLABELLED
    tiles = _Tiles(
        source, stream=stream, network=network, training=training, mpp_um=mpp_um, seed=seed
    )
    schedule = _Schedule(
        source,
        count=steps * training.batch,
        first=first_epoch,
        epochs=training.epochs,
        stream=stream,
        seed=seed,
        batch=training.batch,
        part=part,
    )
    loader = DataLoader(
        tiles,
        sampler=schedule,
        batch_size=training.batch // part[1],
        collate_fn=partial(_collate, role),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=workers > 0 and torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(
            seed
        ),  # else the loader draws from the global generator
    )
    return iter(loader)


def image_statistics(source: TileSource) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in [0, 1], over evenly spaced tiles of a source."""
    chosen = np.unique(
        np.linspace(0, len(source) - 1, min(len(source), _STATISTICS_TILES)).round().astype(int)
    )
    pixels = (
        np.concatenate(
            [source[int(index)].image.reshape(3, -1)[:, ::7] for index in chosen], axis=1
        )
        / 255
    )
    return [round(float(v), 4) for v in pixels.mean(1)], [
        round(max(float(v), 0.05), 4) for v in pixels.std(1)
    ]


def _decoded(window: Window, *, rescale: bool) -> TargetArrays:
    """Stored pseudo-labels as targets; a scaled tile has scaled distances, saturated ones stay saturated."""
    assert window.pseudo is not None  # asked only for tiles that carry them
    mask, code, boundary = window.pseudo
    sdf = restore_sdf(code)
    if rescale:
        sdf = np.where(np.abs(sdf) >= 1, sdf, np.clip(sdf * window.scale, -1, 1)).astype(np.float32)
    return TargetArrays((mask > 0).astype(np.uint8), sdf, (boundary > 0).astype(np.uint8))


def _tensors(arrays: TargetArrays) -> Targets:
    return Targets(
        torch.from_numpy(arrays.mask.astype(np.int64)),
        torch.from_numpy(np.ascontiguousarray(arrays.sdf))[None],
        torch.from_numpy(arrays.boundary.astype(np.int64)),
    )


def _collate(role: str, tiles: list[Batch]) -> Batch:
    have = [tile.targets for tile in tiles if tile.targets is not None]
    if have and len(have) != len(tiles):
        raise DataError(
            f"some {role} tiles carry targets and some do not; make all pseudo-labels, or none"
        )
    return Batch(
        torch.stack([tile.image for tile in tiles]),
        torch.stack([tile.weight for tile in tiles]),
        Targets(*(torch.stack(parts) for parts in zip(*have, strict=True))) if have else None,
        torch.stack([tile.truth for tile in tiles]),
        torch.stack([tile.truth_weight for tile in tiles]),
        torch.stack([tile.numbers for tile in tiles]),
    )
