"""From a plan to the amounts of haematoxylin and eosin, without nuclei, on a grid of 1 um."""

import numpy as np
from PIL import Image
from scipy import ndimage

from tiling.synthetic.look_alikes import TissueKind
from tiling.synthetic.section_plan import SectionPlan
from tiling.synthetic.smooth_noise import Field, smooth_noise

WALL_UM = 7.0
_FIBRE_PERIOD_UM = 13
_FAT_CELL_UM = 34

# Haematoxylin and eosin, float32 (y, x) each.
Dyes = tuple[Field, Field]


def draw_fibres(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Field, Field]:
    """Wavy collagen: the stripes of a bent plane wave.

    Returns
    -------
    The stripes in -1..1 on a grid of 1 um, and their direction in radians on a grid of 4 um
    """
    y, x = np.mgrid[: shape[0] : 4, : shape[1] : 4].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    phase = np.cos(angle) * y + np.sin(angle) * x
    for amplitude, scale in ((110.0, 260.0), (14.0, 60.0)):
        phase += amplitude * smooth_noise(rng, y.shape, scale / 4)
    slope_y, slope_x = np.gradient(phase)
    direction = np.arctan2(slope_x, -slope_y).astype(np.float32)
    fine = Image.fromarray(phase).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.cos(np.asarray(fine) * np.float32(2 * np.pi / _FIBRE_PERIOD_UM)), direction


def stain_background(plan: SectionPlan, fibres: Field, rng: np.random.Generator) -> Dyes:
    """Amounts of both dyes in stroma, look-alikes and glands, without nuclei."""
    shape = plan.tissue.shape
    broad, fine, grain = (smooth_noise(rng, shape, scale) for scale in (150.0, 9.0, 2.0))
    h = 0.10 + 0.035 * broad + 0.02 * fine
    e = 0.34 + 0.07 * smooth_noise(rng, shape, 220.0) + 0.07 * fibres + 0.04 * fine
    at_wall = plan.wall_um < WALL_UM
    zero = np.zeros_like(fine)
    dyes_of_kind: dict[TissueKind, Dyes] = {
        TissueKind.LYMPHOID: (0.22 + 0.03 * fine, 0.22 + 0.04 * fine),
        TissueKind.MUSCLE: (0.10 + 0.02 * fine, 0.50 + 0.05 * fibres + 0.04 * fine),
        TissueKind.VESSEL: (
            np.where(at_wall, zero + 0.10, 0.01),
            np.where(at_wall, zero + 0.50, 0.02 + 0.02 * np.maximum(fine, 0)),
        ),
        TissueKind.FAT: _draw_fat(shape, rng),
        TissueKind.MUCIN: (0.10 + 0.03 * fine, 0.07 + 0.04 * np.maximum(fine + fibres, 0)),
        TissueKind.CLEFT: (zero + 0.01, zero + 0.01),
    }
    for kind, (kind_h, kind_e) in dyes_of_kind.items():
        mask = plan.kind == kind
        h[mask], e[mask] = kind_h[mask], kind_e[mask]
    _stain_glands((h, e), plan, fine)
    fade = ndimage.gaussian_filter(plan.tissue.astype(np.float32), 1.0)
    thickness = (1 + 0.07 * broad + 0.06 * grain) * fade
    return _blurred(h, thickness), _blurred(e, thickness)


def smudge(dyes: Dyes, y: int, x: int, radius: int) -> None:
    """A fold: tissue lies double and is out of focus.

    Parameters
    ----------
    dyes : changed in place
    y, x, radius : circle in um
    """
    block = (slice(max(y - radius, 0), y + radius), slice(max(x - radius, 0), x + radius))
    for dye in dyes:
        part = dye[block]
        v, u = np.mgrid[: part.shape[0], : part.shape[1]] - np.float32(radius)
        inside = np.clip((0.92 - np.hypot(v, u) / radius) * 8, 0, 1).astype(np.float32)
        dye[block] = part + inside * (2.1 * ndimage.gaussian_filter(part, 6) + 0.1 - part)


def _draw_fat(shape: tuple[int, int], rng: np.random.Generator) -> Dyes:
    """Round empty cells between thin walls: the ridges of the distance to irregular centres."""
    rows, columns = (side // _FAT_CELL_UM + 2 for side in shape)
    jitter = rng.uniform(-10, 10, (2, rows, columns))
    y, x = np.mgrid[:rows, :columns] * _FAT_CELL_UM
    y = y + jitter[0] + (np.arange(columns) % 2) * _FAT_CELL_UM / 2
    x = x + jitter[1]
    outside = np.ones(shape, bool)
    centre_rows = np.clip(y, 0, shape[0] - 1).astype(int)
    centre_columns = np.clip(x, 0, shape[1] - 1).astype(int)
    outside[centre_rows, centre_columns] = False
    distance = ndimage.distance_transform_edt(outside[::2, ::2]).astype(np.float32)
    ridge = distance - ndimage.gaussian_filter(distance, 2.5) > 0.45
    enlarged = Image.fromarray(ridge.astype(np.float32)).resize(
        (shape[1], shape[0]), Image.Resampling.BILINEAR
    )
    wall: Field = np.asarray(enlarged, np.float32)
    return (0.01 + 0.08 * wall).astype(np.float32), (0.02 + 0.4 * wall).astype(np.float32)


def _stain_glands(dyes: Dyes, plan: SectionPlan, fine: Field) -> None:
    """Basement membrane, dark ring at the base, cytoplasm from pink to mucous, and pale lumen."""
    h, e = dyes
    for gland in plan.glands:
        depth, block = gland.depth_um, gland.block
        rough = depth + 1.5 * fine[block]
        body, ring, lumen = depth > 0, (depth > 2) & (rough < 12), rough > gland.height_um
        # Goblet cells are round vacuoles in a mucous epithelium.
        vacuole = np.float32(gland.goblet) * np.clip(fine[block] * 0.5 + 0.5, 0, 1)
        gland_h = np.where(ring, 0.30, 0.12 + 0.03 * vacuole)
        gland_e = np.where(ring, 0.25, 0.38 - 0.30 * vacuole)
        gland_h[lumen] = 0.015
        gland_e[lumen] = (0.03 + 0.05 * np.maximum(fine[block], 0))[lumen]
        labelled = plan.labels[block] > 0
        near_contour = (depth > -4) & (depth <= 1)
        membrane = near_contour & ((plan.kind[block] == TissueKind.STROMA) | body)
        membrane &= ~labelled | body
        gland_h[membrane], gland_e[membrane] = 0.04, 0.30
        stained = (body & labelled) | membrane
        h[block][stained] = gland_h[stained]
        e[block][stained] = gland_e[stained]


def _blurred(dye: Field, thickness: Field) -> Field:
    blurred = ndimage.gaussian_filter(dye, 0.7) * thickness
    return np.asarray(np.maximum(blurred, 0), np.float32)
