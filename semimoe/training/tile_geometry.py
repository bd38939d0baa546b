"""Random geometry of training tiles: crop, scale, flip, rotation and elastic deformation.

B batch, S side of the windows that are read, T side of a training tile. Coordinates are (y, x) in
pixels of a window; the centre of the first pixel is at 0.5.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semimoe.settings import Augmentation
from semimoe.training.random_columns import Column

SCALING_AUGMENTATIONS: frozenset[Augmentation] = frozenset({"slides", "scanners", "deform"})
_SCALES = (0.8, 1.25)
# The public code takes a random crop of 224 of 256 px and resizes it to 256 px.
_CROP_SHARE = 224 / 256
# Largest displacement of a control point of the elastic deformation, as a share of the tile's side.
_LARGEST_DISPLACEMENT = 0.05


class Crop(NamedTuple):
    """Square of a tile from which a training tile is made, px; it may overhang a small tile."""

    y: int
    x: int
    side: int


def random_crop(
    numbers: NDArray[np.float64],
    shape: tuple[int, int],
    *,
    tile_px: int,
    augmentation: Augmentation,
) -> Crop:
    """Choose the crop of one tile.

    Parameters
    ----------
    numbers : float64 (NUMBERS_PER_TILE,)
    shape : height and width of the tile that was read, px
    """
    scale = 1.0
    if augmentation in SCALING_AUGMENTATIONS:
        scale = math.exp(_between(float(numbers[Column.SCALE]), *map(math.log, _SCALES)))
    elif augmentation == "paper" and numbers[Column.SCALE] < 0.5:
        scale = 1 / _CROP_SHARE
    side = round(tile_px / scale)
    corner = []
    for length, number in zip(shape, numbers[[Column.CROP_Y, Column.CROP_X]], strict=True):
        spare = length - side
        if spare <= 0:  # centred; the padding is mirrored
            corner.append(-(-spare // 2))
        else:
            corner.append(spare // 2 if augmentation == "none" else int(number * (spare + 1)))
    return Crop(corner[0], corner[1], side)


def window_px(tile_px: int, augmentation: Augmentation) -> int:
    """Side S of the windows that hold every crop, with its corners after any rotation, px."""
    if augmentation not in SCALING_AUGMENTATIONS:
        return math.ceil(tile_px / _CROP_SHARE) if augmentation == "paper" else tile_px
    side = math.ceil(tile_px / _SCALES[0]) + 1
    return math.ceil(side * math.sqrt(2)) if augmentation == "deform" else side


class Positions(NamedTuple):
    """Where the pixels of a training tile lie in its window.

    Attributes
    ----------
    yx : float32 (B, T, T, 2), coordinates, mirrored at the edges of the tile that was read; none is
        nearer to an edge than the centre of the outermost pixel
    in_tile : bool (B, T, T), False where the tile that was read does not reach
    """

    yx: Tensor
    in_tile: Tensor


def random_positions(
    numbers: Tensor,
    corner: Tensor,
    side: Tensor,
    size: Tensor,
    *,
    tile_px: int,
    augmentation: Augmentation,
) -> Positions:
    """Positions of the pixels of training tiles.

    Parameters
    ----------
    numbers : float32 (B, NUMBERS_PER_TILE)
    corner : float32 (B, 2), of the crops
    side : float32 (B,), of the crops
    size : float32 (B, 2), height and width of the part of each window that holds pixels
    """
    axis = (torch.arange(tile_px, device=numbers.device) + 0.5) / tile_px - 0.5
    relative = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)  # (T, T, 2)
    relative = relative.expand(len(numbers), -1, -1, -1)
    if augmentation == "deform":
        relative = relative + _displacement(numbers, tile_px)
    if augmentation != "none":
        turned = relative.flatten(1, 2) @ _rotations(numbers, augmentation)  # (B, T T, 2)
        relative = turned.view(relative.shape)
    centre = corner + side[:, None] / 2
    yx = relative * side.view(-1, 1, 1, 1) + centre[:, None, None]
    size = size[:, None, None]
    in_tile = ((yx >= 0) & (yx < size)).all(-1)
    folded = torch.remainder(yx, 2 * size)
    mirrored = torch.minimum(folded, 2 * size - folded)
    # Beyond the centres of the outermost pixels, interpolation would take in what lies beside the
    # tile in its window: zeros.
    inside = torch.minimum(mirrored, size - 0.5).clamp(min=0.5)
    return Positions(inside, in_tile)


def sample_bilinear(pixels: Tensor, positions: Positions) -> Tensor:
    """Values between the pixels of uint8 (B, C, S, S) at the positions: float32 (B, C, T, T)."""
    grid = positions.yx.flip(-1) * (2 / pixels.shape[-1]) - 1  # the order is x, y
    return functional.grid_sample(
        pixels.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def sample_nearest(pixels: Tensor, positions: Positions) -> Tensor:
    """Nearest pixels of (B, S, S) at the positions, 0 outside the tile: (B, T, T)."""
    side = pixels.shape[-1]
    y, x = positions.yx.long().clamp(max=side - 1).unbind(-1)
    values = torch.gather(pixels.flatten(1), 1, (y * side + x).flatten(1))
    return values.view(y.shape) * positions.in_tile.to(pixels.dtype)


def _rotations(numbers: Tensor, augmentation: Augmentation) -> Tensor:
    """Matrices (B, 2, 2) that flip and turn positions."""
    # A float64 just below 1 is 1 in float32.
    turns = (numbers[:, Column.QUARTER_TURNS] * 4).floor().clamp(max=3)
    cos = (1 - turns) * (turns != 3)  # 1, 0, -1, 0
    sin = (2 - turns) * (turns != 0)  # 0, 1, 0, -1
    flip = torch.where(numbers[:, Column.FLIP] < 0.5, -1.0, 1.0)
    rotation = torch.stack([cos, sin, -sin * flip, cos * flip], dim=1).view(-1, 2, 2)
    if augmentation != "deform":
        return rotation
    angle = numbers[:, Column.ANGLE] * (math.pi / 2)
    free = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1)
    return free.view(-1, 2, 2) @ rotation


def _displacement(numbers: Tensor, tile_px: int) -> Tensor:
    """Smooth random displacement, as a share of the tile's side: (B, T, T, 2)."""
    points = (2 * numbers[:, Column.DISPLACEMENT] - 1) * _LARGEST_DISPLACEMENT
    controls = math.isqrt(points.shape[1] // 2)
    field = functional.interpolate(
        points.view(-1, 2, controls, controls),
        size=(tile_px, tile_px),
        mode="bicubic",
        align_corners=True,
    )
    return field.permute(0, 2, 3, 1)


def _between(number: float, low: float, high: float) -> float:
    return low + number * (high - low)
