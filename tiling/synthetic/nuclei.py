"""Nuclei of a synthetic section: their places, and their shapes in the haematoxylin of level 0."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from tiling.synthetic.level0_grid import SCALE
from tiling.synthetic.look_alikes import TissueKind
from tiling.synthetic.section_plan import SectionPlan
from tiling.synthetic.smooth_noise import Field, smooth_noise
from tiling.synthetic.staining import WALL_UM

_ANGLES = 16
_VARIANTS = 8
# Nuclei per um2.
_SPINDLE_DENSITY = {
    TissueKind.STROMA: 0.0026,
    TissueKind.MUSCLE: 0.0014,
    TissueKind.MUCIN: 0.0003,
    TissueKind.VESSEL: 0.004,
    TissueKind.FAT: 0.0006,
}
_LYMPHOCYTE_DENSITY = {
    TissueKind.STROMA: 0.0016,
    TissueKind.LYMPHOID: 0.0155,
    TissueKind.MUCIN: 0.0006,
}


class Nuclei(NamedTuple):
    """Places of nuclei by shape: float32 (N, 3), y_um, x_um, angle of the long axis in radians."""

    columnar: NDArray[np.float32]
    spindle: NDArray[np.float32]
    round: NDArray[np.float32]


def place_nuclei(plan: SectionPlan, direction: Field, rng: np.random.Generator) -> Nuclei:
    """Palisades along the bases of glands, spindles along fibres, and lymphocytes.

    Parameters
    ----------
    plan : the section
    direction : float32 (y, x) on a grid of 4 um, direction of the fibres in radians
    rng : random numbers
    """
    columnar = [_draw_palisade(plan, index, rng) for index in range(len(plan.glands))]
    # With log-normal density some stroma is as dense as epithelium.
    crowding = np.exp(0.9 * smooth_noise(rng, (direction.shape[0], direction.shape[1]), 32.0))
    return Nuclei(
        np.concatenate(columnar or [np.empty((0, 3), np.float32)]),
        _scatter(plan, _SPINDLE_DENSITY, crowding, direction, rng),
        _scatter(plan, _LYMPHOCYTE_DENSITY, crowding, direction, rng),
    )


def draw_nuclei(h: Field, nuclei: Nuclei, rng: np.random.Generator) -> None:
    """Draw every nucleus into the haematoxylin of level 0, in place.

    Where two nuclei overlap, the darker pixel is kept.
    """
    for places, (length_um, width_um) in (
        (nuclei.columnar, (10.5, 5.2)),
        (nuclei.spindle, (11.5, 4.2)),
        (nuclei.round, (6.6, 6.0)),
    ):
        shapes = []
        for number in range(_ANGLES):
            angle = np.pi * number / _ANGLES
            shapes.append([_nucleus(length_um, width_um, angle, rng) for _ in range(_VARIANTS)])
        rotation = np.round(places[:, 2] / np.pi * _ANGLES).astype(int) % _ANGLES
        variant = rng.integers(_VARIANTS, size=len(places))
        side = shapes[0][0].shape[0]
        corner = np.round(places[:, :2] * SCALE).astype(int) - side // 2
        inside = (corner >= 0).all(axis=1) & (corner + side <= h.shape).all(axis=1)
        rows = np.column_stack([corner, rotation, variant])[inside]
        for y, x, number, choice in rows.tolist():
            area = h[y : y + side, x : x + side]
            np.maximum(area, shapes[number][choice], out=area)


def _scatter(
    plan: SectionPlan,
    per_um2: dict[TissueKind, float],
    crowding: Field,
    direction: Field,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Nuclei at random places outside glands, float32 (N, 3), with a density for each tissue.

    Parameters
    ----------
    per_um2 : density by kind of tissue
    crowding, direction : factor of the density in stroma, and angle, on a grid of 4 um
    """
    density = np.zeros(len(TissueKind), np.float32)
    for name, value in per_um2.items():
        density[name] = value
    highest = density.max() * 1.6
    count = int(highest * plan.tissue.size)
    points = rng.random((count, 2), dtype=np.float32) * np.array(plan.tissue.shape, np.float32)
    y, x = points.astype(np.int32).T
    coarse = (np.minimum(y // 4, crowding.shape[0] - 1), np.minimum(x // 4, crowding.shape[1] - 1))
    kind = plan.kind[y, x]
    wanted = density[kind] * np.where(kind == TissueKind.STROMA, crowding[coarse], 1)
    keep = plan.tissue[y, x] & (plan.labels[y, x] == 0) & (rng.random(count) * highest < wanted)
    # Vessels and fat have nuclei in their walls only.
    hollow = np.isin(kind, (TissueKind.VESSEL, TissueKind.FAT))
    keep &= ~(hollow & (plan.wall_um[y, x] > WALL_UM))
    angle = direction[coarse] + rng.normal(0, 0.35, count)
    return np.asarray(np.column_stack([points, angle])[keep], np.float32)


def _draw_palisade(plan: SectionPlan, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Nuclei side by side along a gland's base, their long axes across it: float32 (N, 3)."""
    gland = plan.glands[index]
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(gland.depth_um, 3))
    rows = []
    # The second row is less dense.
    for depth_um, spacing_um in ((6.0, 4.6), (11.0, 9.0)):
        for contour in find_contours(gland.depth_um, depth_um):  # type: ignore[no-untyped-call]
            length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(contour, axis=0).T))])
            jitter_along = rng.uniform(-0.8, 0.8, int(np.ceil(length[-1] / spacing_um)))
            along = np.arange(0, length[-1], spacing_um) + jitter_along
            y, x = (np.interp(along, length, contour[:, axis]) for axis in (0, 1))
            cell = y.astype(int), x.astype(int)
            angle = np.arctan2(slope_y[cell], slope_x[cell])
            jitter = rng.normal(0, 0.7, (2, len(y)))
            angle = angle + rng.normal(0, 0.15, len(y))
            rows.append(
                np.column_stack([y + jitter[0] + gland.y_um, x + jitter[1] + gland.x_um, angle])
            )
    return np.concatenate(rows or [np.empty((0, 3))]).astype(np.float32)


def _nucleus(length_um: float, width_um: float, angle: float, rng: np.random.Generator) -> Field:
    """An ellipse with a soft edge and clumped chromatin, float32 (odd, odd) at 0.5 um/px."""
    half = int(length_um * SCALE / 2 * 1.3) + 3
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    size = rng.uniform(0.85, 1.15)
    radius = np.hypot(u / (length_um * size), v / (width_um * size)) * 2 / SCALE
    body = np.clip((1 - radius) * width_um * SCALE / 4 + 0.5, 0, 1)
    chromatin = ndimage.gaussian_filter(rng.standard_normal(y.shape), 1.3)
    rim = 0.12 * np.exp(-((1 - radius) ** 2) / 0.02)
    return np.asarray(body * (rng.uniform(0.62, 0.95) + 0.35 * chromatin + rim), np.float32)
