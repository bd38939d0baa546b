"""Random augmentation of a batch of tiles, as tensor operations on the device of the network.

B batch, S side of the windows that were read, T side of a training tile. Labels are resampled by
nearest neighbour. Targets are computed from the augmented labels, so that distances are correct
after a change of scale.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semimoe.objectives.image_changes import (
    STRONG_STAIN_CHANGE,
    StainLimits,
    change_focus,
    change_stain,
)
from semimoe.objectives.skeleton_distance import QUANTISED_MAX
from semimoe.settings import GLASS_AUGMENTATIONS, Augmentation
from semimoe.training.random_columns import GLASS_EDGES, Column, EdgeColumn
from semimoe.training.tile_geometry import (
    Positions,
    random_positions,
    sample_bilinear,
    sample_nearest,
)
from semimoe.training.tile_windows import TileWindows

# Changes of stain of each kind of augmentation that has them.
_STAIN_CHANGES: dict[Augmentation, StainLimits] = {
    "slides": StainLimits(0.2, 0.04),
    "scanners": STRONG_STAIN_CHANGE,
    "deform": STRONG_STAIN_CHANGE,
}
_GLASS_GREY = (225, 252)
_GLASS_NOISE_STD = 1.5
_LARGEST_WAVE = 0.06  # largest amplitude of a wavy glass edge, as a share of the tile's side


class AugmentedTiles(NamedTuple):
    """Training tiles.

    Attributes
    ----------
    image : uint8 (B, 3, T, T)
    weakly_augmented : float32 (B, 3, T, T), the image without changes of stain and focus, not
        rounded
    labels : int32 (B, T, T), 0 without labels
    weight : uint8 (B, T, T), 0 where nothing is annotated
    inside : uint8 (B, T, T), 0 where the image was padded or is not tissue
    pseudo : float32 (B, 3, T, T), mask 0/1, quantised sdf, boundary 0/1; or None
    skeleton : float32 (B, T, T), skeleton-aware distance in [0, 1]; or None
    scale : float32 (B, 1, 1), or (B, T, T) with `pseudo` after an elastic deformation; the content
        is this many times larger than in the tile that was read; the sdf channel keeps the
        distances of the tile that was read
    to_glass_px : float32 (B, T, T), distance to the glass that was added, negative in the glass;
        None for augmentations without glass, and without `pseudo` and `skeleton`
    """

    image: Tensor
    weakly_augmented: Tensor
    labels: Tensor
    weight: Tensor
    inside: Tensor
    pseudo: Tensor | None
    skeleton: Tensor | None
    scale: Tensor
    to_glass_px: Tensor | None


def augment(
    windows: TileWindows, numbers: Tensor, *, tile_px: int, augmentation: Augmentation
) -> AugmentedTiles:
    """Make random training tiles from the windows that hold their crops.

    Parameters
    ----------
    numbers : float32 (B, NUMBERS_PER_TILE), uniform in [0, 1); nothing else is random
    augmentation : kind of augmentation.
        slides: scale 0.8 to 1.25, shift, flip, quarter turns, change of stain;
        scanners: slides with twice the change of stain, glass beyond at most two edges, and a blur
        or a sharpening with probability 1/2;
        deform: scanners with any angle and an elastic deformation;
        paper: a crop of 7/8 that is resized, with probability 1/2, shift, flip, quarter turns;
        flips: shift, flip, quarter turns;
        none: the centre of the tile
    """
    positions = random_positions(
        numbers,
        windows.corner,
        windows.side,
        windows.size,
        tile_px=tile_px,
        augmentation=augmentation,
    )
    image = sample_bilinear(windows.image, positions)
    labels, weight, inside = (
        sample_nearest(pixels, positions)
        for pixels in (windows.labels, windows.weight, windows.inside)
    )
    pseudo = None if windows.pseudo is None else _sample_pseudo(windows.pseudo, positions)
    skeleton = None
    if windows.skeleton is not None:
        skeleton = sample_bilinear(windows.skeleton[:, None], positions)[:, 0] / QUANTISED_MAX
    weakly_augmented = image
    to_glass_px = None
    if augmentation in _STAIN_CHANGES:
        image = change_stain(
            image,
            numbers[:, Column.STAIN_AMOUNTS],
            numbers[:, Column.DENSITY_SHIFTS],
            limits=_STAIN_CHANGES[augmentation],
        )
    if augmentation in GLASS_AUGMENTATIONS:
        edges = numbers[:, Column.EDGES].view(len(numbers), GLASS_EDGES, -1)
        noise = _glass_noise(numbers, tile_px)
        glass_edges = [_glass_edge(edge, tile_px) for edge in edges.unbind(1)]
        if pseudo is not None or skeleton is not None:  # other targets are made from the labels
            distances_px = [edge.distance_px(tile_px) for edge in glass_edges]
            to_glass_px = torch.stack(distances_px).amin(0)
        for edge, glass_edge in zip(edges.unbind(1), glass_edges, strict=True):
            is_glass = glass_edge.beyond > 0
            glass = _glass_colour(edge) + noise
            image, weakly_augmented = (
                torch.where(is_glass[:, None], glass, view) for view in (image, weakly_augmented)
            )
            labels = labels.masked_fill(is_glass, 0)
            inside = inside.masked_fill(is_glass, 0)
        image = change_focus(image, numbers[:, Column.FOCUS], numbers[:, Column.CHANGES_FOCUS])
    scale = (tile_px / windows.side)[:, None, None]
    if augmentation == "deform" and pseudo is not None:
        scale = _local_scale(positions, scale)
    return AugmentedTiles(
        rounded(image),
        weakly_augmented,
        labels,
        weight,
        inside,
        pseudo,
        skeleton,
        scale,
        to_glass_px,
    )


def rounded(image: Tensor) -> Tensor:
    """Values of an image as uint8."""
    return image.clamp(0, 255).round().to(torch.uint8)


def _local_scale(positions: Positions, scale: Tensor) -> Tensor:
    """How many times larger the content is at each pixel of deformed tiles: float32 (B, T, T).

    Parameters
    ----------
    scale : float32 (B, 1, 1), of the whole tiles
    """
    # An area of the tile that was read becomes one pixel: the root of the determinant.
    down, across = torch.gradient(positions.yx, dim=(1, 2))
    area = (down[..., 0] * across[..., 1] - down[..., 1] * across[..., 0]).abs()
    # Mirrored pixels, which do not count, may have no area.
    return area.sqrt().reciprocal().clamp(scale / 2, scale * 2)


def _sample_pseudo(pseudo: Tensor, positions: Positions) -> Tensor:
    """Resample the sdf bilinearly, mask and boundary by nearest neighbour."""
    mask, boundary = (sample_nearest(pseudo[:, i], positions).float() for i in (0, 2))
    sdf = sample_bilinear(pseudo[:, 1:2], positions)[:, 0] * positions.in_tile
    return torch.stack([mask, sdf.round(), boundary], dim=1)


class _GlassEdge(NamedTuple):
    """An edge with glass beyond it.

    Attributes
    ----------
    beyond : float32 (B, T, T), how far a pixel lies beyond the edge, across it, as a share of the
        tile's side; negative before the edge, - infinite without an edge
    phase : float32 (B, T, T), of the wave of the edge
    steepness : float32 (B, 1, 1), largest slope of the wave
    """

    beyond: Tensor
    phase: Tensor
    steepness: Tensor

    def distance_px(self, tile_px: int) -> Tensor:
        """Distance to the glass, px, negative in it: float32 (B, T, T).

        At a wavy edge it is that to the tangent.
        """
        slope = self.steepness * torch.cos(self.phase)
        return -self.beyond * tile_px / torch.sqrt(1 + slope**2)


def _glass_edge(edge: Tensor, tile_px: int) -> _GlassEdge:
    """A random edge of glass; at most one half of the tile lies beyond it.

    Training images are crops of tissue, but tiles of slides may contain glass. The edge is straight
    (as of a tissue core) or wavy (as of a section). A gland that crosses it ends there.

    Parameters
    ----------
    edge : (B, numbers of an edge)
    """

    def column(index: int) -> Tensor:
        return edge[:, index, None, None]

    axis = (torch.arange(tile_px, device=edge.device) + 0.5) / tile_px - 0.5
    y, x = axis[:, None], axis[None, :]
    angle = 2 * math.pi * column(EdgeColumn.ANGLE)
    parallel = torch.round(angle / (math.pi / 2)) * (math.pi / 2)
    angle = torch.where(column(EdgeColumn.IS_PARALLEL) < 0.5, parallel, angle)
    across = torch.cos(angle) * x + torch.sin(angle) * y
    along = torch.cos(angle) * y - torch.sin(angle) * x
    amplitude = _LARGEST_WAVE * column(EdgeColumn.AMPLITUDE)
    amplitude = amplitude * (column(EdgeColumn.IS_WAVY) < 0.5)
    waves = 1 + 3 * column(EdgeColumn.WAVES)
    phase = 2 * math.pi * (waves * along + column(EdgeColumn.PHASE))
    offset = 0.05 + 0.4 * column(EdgeColumn.OFFSET)
    beyond = across + amplitude * torch.sin(phase) - offset
    is_present = column(EdgeColumn.IS_PRESENT) < 0.5
    return _GlassEdge(
        torch.where(is_present, beyond, -math.inf), phase, amplitude * 2 * math.pi * waves
    )


def _glass_colour(edge: Tensor) -> Tensor:
    """Colour of the glass beyond an edge: (B, 3, 1, 1)."""
    low, high = _GLASS_GREY
    grey = low + (high - low) * edge[:, EdgeColumn.GREY]
    return (grey[:, None] + 8 * edge[:, EdgeColumn.COLOUR] - 4)[:, :, None, None]


def _glass_noise(numbers: Tensor, tile_px: int) -> Tensor:
    """Noise of glass, float32 (B, 3, T, T): a constant pattern, shifted for each tile."""
    pattern = _noise_pattern(tile_px, numbers.device).flatten(1)  # (3, T T)
    axis = torch.arange(tile_px, device=numbers.device)
    shift = (numbers[:, Column.NOISE_SHIFT] * tile_px).long()  # (B, 2)
    rows, columns = ((axis + shift[:, i, None]) % tile_px for i in (0, 1))  # (B, T)
    indices = rows[:, :, None] * tile_px + columns[:, None, :]  # (B, T, T)
    return pattern[:, indices].transpose(0, 1)


@cache
def _noise_pattern(tile_px: int, device: torch.device) -> Tensor:
    noise = np.random.default_rng(0).normal(0, _GLASS_NOISE_STD, (3, tile_px, tile_px))
    return torch.tensor(noise, dtype=torch.float32, device=device)
