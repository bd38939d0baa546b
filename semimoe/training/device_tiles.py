"""All tiles of a source on the device of the network, where their windows are cut.

The windows are those of `tile_windows.read_windows`; nothing but a few numbers is copied per batch.

N tiles of the source, B tiles of a batch, S side of the windows, H, W largest sides of the tiles.
"""

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semimoe.settings import Augmentation
from semimoe.training.recipe import Role, TileSource
from semimoe.training.tile_geometry import random_crop, window_px
from semimoe.training.tile_schedule import ScheduledBatch
from semimoe.training.tile_windows import TileWindows, check_tiles, window_origin
from tiling.raster.tile import Tile

_BYTES_PER_PX = 9  # image, labels, weight, inside; pseudo-labels need 3 more, skeletons 1


class WindowPlan(NamedTuple):
    """Where the windows of B tiles lie.

    Attributes
    ----------
    tile : int64 (B,), number of the tile
    origin : int64 (B, 2), first pixel (y, x) of the window
    size, corner, side : as in `TileWindows`
    """

    tile: Tensor
    origin: Tensor
    size: Tensor
    corner: Tensor
    side: Tensor

    def to(self, device: torch.device) -> "WindowPlan":
        """Copy on a device."""
        return WindowPlan(*(part.to(device, non_blocking=True) for part in self))


class DeviceTiles:
    """The tiles of a source on a device.

    Attributes
    ----------
    tile_px, augmentation : of the training; they decide the side of the windows
    """

    def __init__(
        self,
        tiles: list[Tile],
        role: Role,
        *,
        tile_px: int,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        check_tiles(range(len(tiles)), tiles, role)
        self.tile_px, self.augmentation = tile_px, augmentation
        self._window_px = window_px(tile_px, augmentation)
        self._shapes = [tile.image.shape[1:] for tile in tiles]
        height, width = (
            max(self._window_px, *(shape[axis] for shape in self._shapes)) for axis in (0, 1)
        )

        def stack(arrays: list[NDArray[np.generic]]) -> Tensor:
            padded = np.zeros((len(arrays), *arrays[0].shape[:-2], height, width), arrays[0].dtype)
            for row, array in zip(padded, arrays, strict=True):
                row[..., : array.shape[-2], : array.shape[-1]] = array
            return torch.from_numpy(padded).to(device)

        ones = [np.broadcast_to(np.uint8(1), shape) for shape in self._shapes]
        none = [np.broadcast_to(np.int32(0), shape) for shape in self._shapes]
        self._image = stack([tile.image for tile in tiles])
        self._labels = stack(_present([tile.labels for tile in tiles], none))
        self._weight = stack(_present([tile.weight for tile in tiles], ones))
        self._inside = stack(_present([tile.inside for tile in tiles], ones))
        self._pseudo, self._skeleton = (
            None if any(array is None for array in arrays) else stack(_present(arrays, ones))
            for arrays in ([tile.pseudo for tile in tiles], [tile.skeleton for tile in tiles])
        )
        self._has_labels = torch.tensor([tile.labels is not None for tile in tiles]).to(device)

    @classmethod
    def of_source(
        cls,
        source: TileSource,
        role: Role,
        *,
        tile_px: int,
        augmentation: Augmentation,
        device: torch.device,
        most_bytes: int,
    ) -> Self | None:
        """Read all tiles; None if they need more than `most_bytes`.

        Raises
        ------
        DataError
            See `read_windows`.
        """
        side = window_px(tile_px, augmentation)
        tiles: list[Tile] = []
        height = width = side
        for number in range(len(source)):
            tile = source[number]
            height, width = max(height, tile.image.shape[1]), max(width, tile.image.shape[2])
            bytes_per_px = _BYTES_PER_PX + 3 * (tile.pseudo is not None)
            bytes_per_px += tile.skeleton is not None
            if len(source) * height * width * bytes_per_px > most_bytes:
                return None
            tiles.append(tile)
        return cls(tiles, role, tile_px=tile_px, augmentation=augmentation, device=device)

    def plan(self, batch: ScheduledBatch) -> WindowPlan:
        """Where the windows of a batch lie, on the CPU."""
        origins, sizes, corners, sides = [], [], [], []
        for number, numbers in zip(batch.tiles, batch.numbers, strict=True):
            shape = self._shapes[number]
            crop = random_crop(
                numbers,
                (shape[0], shape[1]),
                tile_px=self.tile_px,
                augmentation=self.augmentation,
            )
            y, x = window_origin(crop, (shape[0], shape[1]), self._window_px)
            origins.append((y, x))
            sizes.append([min(length, self._window_px) for length in shape])
            corners.append((crop.y - y, crop.x - x))
            sides.append(crop.side)
        return WindowPlan(
            torch.from_numpy(batch.tiles),
            torch.tensor(origins),
            torch.tensor(sizes, dtype=torch.float32),
            torch.tensor(corners, dtype=torch.float32),
            torch.tensor(sides, dtype=torch.float32),
        )

    def windows(self, plan: WindowPlan) -> TileWindows:
        """Cut the windows of a plan on the device."""
        axis = torch.arange(self._window_px, device=plan.origin.device)
        rows, columns = (plan.origin[:, i, None] + axis for i in (0, 1))  # (B, S)

        def cut(stack: Tensor) -> Tensor:
            tile = plan.tile[:, None, None]
            if stack.ndim == 3:
                return stack[tile, rows[:, :, None], columns[:, None, :]]
            channels = torch.arange(stack.shape[1], device=stack.device)[:, None, None]
            return stack[tile[:, None], channels, rows[:, None, :, None], columns[:, None, None, :]]

        return TileWindows(
            image=cut(self._image),
            labels=cut(self._labels),
            weight=cut(self._weight),
            inside=cut(self._inside),
            pseudo=None if self._pseudo is None else cut(self._pseudo),
            skeleton=None if self._skeleton is None else cut(self._skeleton),
            size=plan.size,
            corner=plan.corner,
            side=plan.side,
            has_labels=self._has_labels[plan.tile],
        )


def _present(arrays: list[NDArray[Any] | None], defaults: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays, and the default of a tile in place of None."""
    pairs = zip(arrays, defaults, strict=True)
    return [default if array is None else array for array, default in pairs]
