"""Glands of a synthetic section.

A gland is a solid object (epithelium and lumen), as in the annotations of GlaS: lobes that merge
smoothly, with a smooth contour.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.geometry import Block
from tiling.synthetic.smooth_noise import Field, Mask, inner_part, smooth_noise

# Share of tissue. With much more, the answer "gland everywhere" would score well; with much less,
# regions would contain no gland.
_GLAND_SHARE = 0.29
_AREA_UM2 = (5000.0, 42000.0)
_EDGE_UM = 22.0
_MAX_ATTEMPTS = 6000
_REACH_UM = 190
_MAX_OUTSIDE_SHARE = 0.05
_MIN_REMAINING_SHARE = 0.7
_LOBE_SHARPNESS = np.float32(5.0)

Point = NDArray[np.float64]  # (y, x) in um
Capsule = tuple[Point, Point, float]  # both ends and the radius


class SyntheticGland(NamedTuple):
    """One gland in its bounding block.

    Attributes
    ----------
    y_um, x_um : first row and column of the block on the plan
    depth_um : float32 (h, w), positive inside; near the contour the distance to it
    height_um : height of the epithelium; what is deeper is lumen
    goblet : share of mucus in the cytoplasm, 0 (pink) .. 1 (pale)
    """

    y_um: int
    x_um: int
    depth_um: Field
    height_um: float
    goblet: float

    @property
    def block(self) -> Block:
        """Rows and columns of the gland on the plan."""
        height, width = self.depth_um.shape
        return slice(self.y_um, self.y_um + height), slice(self.x_um, self.x_um + width)


def place_glands(
    tissue: Mask, rng: np.random.Generator
) -> tuple[list[SyntheticGland], NDArray[np.int32]]:
    """Glands, one after another, until they cover their share of the tissue.

    Parameters
    ----------
    tissue : bool (y, x), 1 um per cell
    rng : random numbers

    Returns
    -------
    The glands, and int32 (y, x): i + 1 in gland i, 0 elsewhere
    """
    labels = np.zeros(tissue.shape, np.int32)
    free = inner_part(tissue, _EDGE_UM)
    starts = np.argwhere(free[::8, ::8]) * 8
    glands: list[SyntheticGland] = []
    centres: list[Point] = []
    wanted, covered = _GLAND_SHARE * tissue.sum(), 0
    for _ in range(_MAX_ATTEMPTS):
        if covered >= wanted:
            break
        centre = _draw_centre(starts, centres, rng)
        if not _is_free(centre, free, labels):
            continue
        gland = _draw_gland(centre, labels, free, rng)
        if gland is None:
            continue
        body = gland.depth_um > 0
        glands.append(gland)
        labels[gland.block][body] = len(glands)
        centres.append(centre)
        covered += int(body.sum())
    return glands, labels


def _draw_centre(
    starts: NDArray[np.int64], centres: list[Point], rng: np.random.Generator
) -> Point:
    """A random place; in most cases next to a gland, because glands are crowded and touch."""
    if centres and rng.random() < 0.7:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(85, 190)
        return centres[rng.integers(len(centres))] + distance * _unit(angle)
    return np.asarray(starts[rng.integers(len(starts))], np.float64)


def _is_free(centre: Point, free: Mask, labels: NDArray[np.int32]) -> bool:
    if not (0 <= centre[0] < free.shape[0] and 0 <= centre[1] < free.shape[1]):
        return False
    cell = int(centre[0]), int(centre[1])
    return bool(free[cell]) and not labels[cell]


def _draw_gland(
    centre: Point, labels: NDArray[np.int32], free: Mask, rng: np.random.Generator
) -> SyntheticGland | None:
    """A gland around a place, with a septum to its neighbours; None where too little of it fits."""
    y0, x0 = (max(int(c) - _REACH_UM, 0) for c in centre)
    y1, x1 = (min(int(c) + _REACH_UM, side) for c, side in zip(centre, labels.shape, strict=True))
    depth = _draw_lobes((y1 - y0, x1 - x0), centre - (y0, x0), rng)
    drawn_um2 = int((depth > 0).sum())
    rim = max(depth[0].max(), depth[-1].max(), depth[:, 0].max(), depth[:, -1].max())
    if not _AREA_UM2[0] < drawn_um2 < _AREA_UM2[1] or rim > 0:
        return None
    rows, columns = _bounding_block(depth > 0, 16)
    y0, x0, depth = y0 + rows.start, x0 + columns.start, depth[rows, columns]
    block = (slice(y0, y0 + depth.shape[0]), slice(x0, x0 + depth.shape[1]))
    if ((depth > 0) & ~free[block]).sum() > _MAX_OUTSIDE_SHARE * drawn_um2:
        return None
    septum_um = rng.uniform(7.5, 11.0)
    depth = _with_septum(depth, (labels[block] > 0) | ~free[block], septum_um)
    body = _largest_part(depth > 0)
    if body is None or body.sum() < max(_MIN_REMAINING_SHARE * drawn_um2, _AREA_UM2[0]):
        return None
    # Distances are those of the final shape: the lumen follows the contour that remains.
    inner_um = ndimage.distance_transform_edt(body).astype(np.float32)
    inside = np.maximum(np.maximum(depth, 0.01), inner_um - 1)
    depth = np.where(body, inside, np.minimum(depth, -0.01)).astype(np.float32)
    rows, columns = _bounding_block(body, 12)
    # The height of the epithelium relative to the deepest point decides whether the lumen is
    # collapsed, a slit, or wide.
    height_um = float(np.clip(inner_um.max() * rng.uniform(0.45, 1.1), 19.0, 40.0))
    goblet = float(rng.beta(0.9, 0.9))
    return SyntheticGland(
        y0 + rows.start, x0 + columns.start, depth[rows, columns], height_um, goblet
    )


def _with_septum(depth: Field, occupied: Mask, septum_um: float) -> Field:
    """The depth, reduced so that the gland ends at a distance from what is occupied."""
    if not occupied.any():
        return depth
    free_um = ndimage.distance_transform_edt(~occupied).astype(np.float32) - np.float32(septum_um)
    smooth = ndimage.gaussian_filter(np.minimum(depth, free_um), 4.0)
    return np.asarray(np.minimum(smooth, free_um))


def _largest_part(mask: Mask) -> Mask | None:
    """The largest connected part without holes; None of an empty mask."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return None
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(parts == largest))


def _draw_lobes(shape: tuple[int, int], centre: Point, rng: np.random.Generator) -> Field:
    """Depth of a smooth union of capsules: a round gland, a bent crypt, or a trunk with lobes."""
    heading = rng.uniform(0, 2 * np.pi)
    form = rng.choice(3, p=(0.28, 0.24, 0.48))
    capsules: list[Capsule] = []
    if form == 0:
        end = centre + rng.uniform(5, 40) * _unit(heading)
        capsules.append((centre, end, rng.uniform(40, 72)))
    else:
        radius = rng.uniform(29, 42)
        points = [centre - rng.uniform(30, 70) * _unit(heading)]
        for _ in range(3):
            heading += rng.normal(0, 0.45)
            points.append(points[-1] + rng.uniform(30, 48) * _unit(heading))
        capsules += [(a, b, radius * rng.uniform(0.88, 1.15)) for a, b in pairwise(points)]
        if form == 2:  # with branches
            for _ in range(rng.integers(2, 5)):
                root = points[rng.integers(len(points))]
                tip = root + rng.uniform(56, 92) * _unit(rng.uniform(0, 2 * np.pi))
                capsules.append((root, tip, rng.uniform(24, 36)))
    rough = 2.5 * smooth_noise(rng, shape, 30.0)
    return (_union_depth(shape, capsules) + rough).astype(np.float32)


def _union_depth(shape: tuple[int, int], capsules: list[Capsule]) -> Field:
    """Depth inside a union of capsules whose joints are rounded (log-sum-exp of their depths)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    total = np.full(shape, 1e-9, np.float32)
    for a, b, radius in capsules:
        along = (b - a).astype(np.float32)
        low = np.maximum(np.minimum(a, b) - radius - 40, 0).astype(int)
        high = np.maximum(np.maximum(a, b) + radius + 40, 0).astype(int)
        around = (slice(low[0], high[0]), slice(low[1], high[1]))
        v, u = y[around] - np.float32(a[0]), x[around] - np.float32(a[1])
        t = np.clip((v * along[0] + u * along[1]) / (along @ along), 0, 1)
        depth = np.float32(radius) - np.hypot(v - t * along[0], u - t * along[1])
        total[around] += np.exp(depth / _LOBE_SHARPNESS)
    return np.asarray(_LOBE_SHARPNESS * np.log(total))


def _bounding_block(body: Mask, margin: int) -> Block:
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
    )


def _unit(angle: float) -> Point:
    return np.array([np.sin(angle), np.cos(angle)])
