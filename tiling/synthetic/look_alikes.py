"""Structures of the stroma that share the colours of glands.

Lymphoid aggregates are as dark as the ring of nuclei of a gland; vessels, fat, mucin and clefts are
as pale as its lumen.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.synthetic.smooth_noise import Field, Mask, inner_part, smooth_noise

_EDGE_UM = 10.0
_GAP_UM = 3.0
_MAX_ATTEMPTS = 400
_MIN_REMAINING_SHARE = 0.3


class TissueKind(IntEnum):
    """What a cell of the plan is, outside glands."""

    STROMA = 0
    LYMPHOID = 1
    MUSCLE = 2
    VESSEL = 3
    FAT = 4
    MUCIN = 5
    CLEFT = 6


class _LookAlike(NamedTuple):
    """Share of the tissue that a kind covers, and its smallest and largest radius in um."""

    kind: TissueKind
    share: float
    smallest_um: float
    largest_um: float


# Large and rare ones come first, while there is space. Their total share of the tissue is about
# that of the glands, so that colour alone does not show whether a pixel belongs to a gland.
_LOOK_ALIKES = (
    _LookAlike(TissueKind.LYMPHOID, 0.115, 28.0, 85.0),
    _LookAlike(TissueKind.MUSCLE, 0.07, 40.0, 110.0),
    _LookAlike(TissueKind.MUCIN, 0.05, 22.0, 60.0),
    _LookAlike(TissueKind.VESSEL, 0.05, 16.0, 48.0),
    _LookAlike(TissueKind.FAT, 0.06, 45.0, 110.0),
    _LookAlike(TissueKind.CLEFT, 0.03, 10.0, 20.0),
)


def place_look_alikes(
    tissue: Mask, gland: Mask, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Field]:
    """Look-alikes in the stroma between the glands, each kind up to its share of the tissue.

    Parameters
    ----------
    tissue, gland : bool (y, x), 1 um per cell
    rng : random numbers

    Returns
    -------
    uint8 (y, x) `TissueKind`, and float32 (y, x) distance to the edge of the look-alike in um
    """
    kind = np.zeros(tissue.shape, np.uint8)
    wall_um = np.zeros(tissue.shape, np.float32)
    occupied = ~inner_part(tissue, _EDGE_UM) | gland
    starts = np.argwhere(~occupied[::8, ::8]) * 8
    for look_alike in _LOOK_ALIKES:
        wanted, covered = look_alike.share * tissue.sum(), 0
        for _ in range(_MAX_ATTEMPTS):
            if covered >= wanted:
                break
            centre = starts[rng.integers(len(starts))]
            if occupied[tuple(centre)]:
                continue
            radius = rng.uniform(look_alike.smallest_um, look_alike.largest_um)
            is_cleft = look_alike.kind is TissueKind.CLEFT
            stretch = rng.uniform(3.0, 7.0) if is_cleft else rng.uniform(1.0, 1.7)
            reach = int(radius * stretch * 1.4) + 12
            y0, x0 = np.maximum(centre - reach, 0)
            block = (slice(y0, centre[0] + reach), slice(x0, centre[1] + reach))
            depth = _draw_blob(occupied[block], centre - (y0, x0), radius, stretch, rng)
            body = depth > 0
            if body.sum() < _MIN_REMAINING_SHARE * np.pi * radius**2 * stretch:
                continue
            kind[block][body] = look_alike.kind
            wall_um[block][body] = depth[body]
            occupied[block] |= depth > -_GAP_UM
            covered += int(body.sum())
    return kind, wall_um


def _draw_blob(
    occupied: Mask,
    centre: NDArray[np.int64],
    radius: float,
    stretch: float,
    rng: np.random.Generator,
) -> Field:
    """Depth of a stretched, irregular disc that keeps a distance from what is occupied, in um."""
    angle = rng.uniform(0, np.pi)
    grid = np.mgrid[: occupied.shape[0], : occupied.shape[1]].astype(np.float32)
    y, x = grid[0] - centre[0], grid[1] - centre[1]
    u, v = y * np.sin(angle) + x * np.cos(angle), y * np.cos(angle) - x * np.sin(angle)
    irregular = 0.12 * radius * smooth_noise(rng, occupied.shape, max(radius * 0.8, 8.0))
    depth = radius - np.hypot(u / stretch, v) + irregular
    # Distances on a grid of 2 um.
    free_um = 2 * ndimage.distance_transform_edt(~occupied[::2, ::2]).astype(np.float32) - 6
    size = (2 * free_um.shape[1], 2 * free_um.shape[0])
    enlarged = np.asarray(Image.fromarray(free_um).resize(size, Image.Resampling.BILINEAR))
    free_um = enlarged[: occupied.shape[0], : occupied.shape[1]]
    return np.asarray(np.minimum(depth, np.where(occupied, -9, free_um)), np.float32)
