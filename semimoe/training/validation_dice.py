"""Pixel Dice on validation images after an epoch, computed on the device of the network.

B batch, T side of a tile.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semimoe.training.recipe import TileSource
from semimoe.training.validation import DEFAULT_THRESHOLD, OVERLAP_SHARE, labels_and_counts
from tiling.raster.blending import image_tiles, tile_weights
from tiling.raster.tile import Tile

# Probabilities of tiles: uint8 (B, 3, T, T) -> float32 (B, K, T, T).
PredictProbabilities = Callable[[Tensor], Tensor]


class _TilePosition(NamedTuple):
    """Origin of a tile in its padded image, px."""

    image: int
    y: int
    x: int


class ValidationDice:
    """Foreground Dice at 0.5, pooled over the pixels of all images.

    Images are predicted in overlapping tiles that are blended, as `predict_image` does.

    Parameters
    ----------
    source : images with labels, of any size
    tile_px : side T of a tile
    batch : tiles of one call of the network; all batches have this size
    """

    def __init__(
        self, source: TileSource, *, tile_px: int, batch: int, device: torch.device
    ) -> None:
        self._tile_px, self._batch, self._device = tile_px, batch, device
        self._weights = torch.from_numpy(tile_weights(tile_px)).to(device)
        self._images: list[Tensor] = []  # uint8 (3, H, W), mirrored where tiles overhang
        self._weight_sums: list[Tensor] = []  # (H, W), of all tiles at each pixel
        self._true: list[Tensor] = []  # bool (H, W), gland pixels that count
        self._counts: list[Tensor] = []  # bool (H, W)
        self._positions: list[_TilePosition] = []
        for number in range(len(source)):
            self._add(number, source[number])

    def __call__(self, predict: PredictProbabilities) -> list[float]:
        """Dice of each of the K probabilities."""
        overlap = torch.zeros((), device=self._device)
        size = torch.zeros((), device=self._device)
        for image, sums in enumerate(self._blended(predict)):
            probability = sums / self._weight_sums[image]
            predicted = (probability >= DEFAULT_THRESHOLD) & self._counts[image]  # (K, H, W)
            true = self._true[image]
            overlap = overlap + 2 * (predicted & true).sum((1, 2)).double()
            size = size + true.sum() + predicted.sum((1, 2)).double()
        dice = torch.where(size > 0, overlap / size.clamp(min=1), 1.0)
        return [float(value) for value in dice.tolist()]

    def _add(self, number: int, tile: Tile) -> None:
        labels, counts = labels_and_counts(tile, number)
        padded, origins = image_tiles(
            tile.image, tile_px=self._tile_px, overlap_px=self._tile_px // OVERLAP_SHARE
        )
        outside = [
            (0, side - inner) for side, inner in zip(padded.shape[1:], labels.shape, strict=True)
        ]
        self._images.append(self._on_device(padded))
        self._true.append(self._on_device(np.pad((labels > 0) & counts, outside)))
        self._counts.append(self._on_device(np.pad(counts, outside)))
        weight_sums = torch.zeros(padded.shape[1:], device=self._device)
        for y, x in origins:
            self._positions.append(_TilePosition(number, y, x))
            weight_sums[self._window(y, x)] += self._weights
        self._weight_sums.append(weight_sums)

    def _blended(self, predict: PredictProbabilities) -> Iterator[Tensor]:
        """Weighted sums of the probabilities of all tiles, (K, H, W), image by image."""
        sums: Tensor | None = None
        for first in range(0, len(self._positions), self._batch):
            positions = self._positions[first : first + self._batch]
            tiles = torch.stack(
                [self._images[image][:, *self._window(y, x)] for image, y, x in positions]
            )
            missing = self._batch - len(positions)
            if missing:
                tiles = torch.cat([tiles, tiles[-1:].expand(missing, -1, -1, -1)])
            weighted = predict(tiles) * self._weights
            for offset, ((image, y, x), maps) in enumerate(zip(positions, weighted, strict=False)):
                if sums is None:
                    sums = torch.zeros(
                        (len(maps), *self._weight_sums[image].shape), device=self._device
                    )
                sums[:, *self._window(y, x)] += maps
                following = first + offset + 1
                if following == len(self._positions) or self._positions[following].image != image:
                    yield sums
                    sums = None

    def _window(self, y: int, x: int) -> tuple[slice, slice]:
        return slice(y, y + self._tile_px), slice(x, x + self._tile_px)

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)
