"""From a plan to pixels: haematoxylin and eosin as optical densities, nuclei stamped one by one, pen, glass and camera.

Beer-Lambert: transmitted light = glass * exp(-(h H + e E)), H and E the densities of the two dyes in R, G, B
(after Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23, 2001; E a little redder, as scanners show it).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.measure import find_contours

from tiling.synthetic.section_plan import Field, Kind, Mask, Plan, smooth_noise

# Pixels of level 0 per cell of the plan (0.5 um against 1 um).
SCALE = 2
_HAEMATOXYLIN = np.array((1.02, 1.15, 0.48), np.float32)
_EOSIN = np.array((0.10, 1.00, 0.50), np.float32)
_PENS = {"blue": (1.9, 1.2, 0.3), "green": (1.8, 0.5, 1.3), "black": (1.9, 1.85, 1.75)}
_ANGLES = 16
_STRIP_PX = 512
_WALL_UM = 7.0


class Stain(NamedTuple):
    """What differs between slides: strength of the dyes, tint and white of the glass."""

    haematoxylin: NDArray[np.float32]
    eosin: NDArray[np.float32]
    glass: NDArray[np.float32]


def stain_of(rng: np.random.Generator) -> Stain:
    """A stain within what a laboratory sees from day to day."""
    return Stain(
        _HAEMATOXYLIN
        * rng.uniform(0.88, 1.15)
        * (1 + rng.uniform(-0.06, 0.06, 3)).astype(np.float32),
        _EOSIN * rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.08, 0.08, 3)).astype(np.float32),
        (rng.uniform(238, 247) + rng.uniform(-1.5, 1.5, 3)).astype(np.float32),
    )


def paint(
    plan: Plan,
    size_px: tuple[int, int],
    rng: np.random.Generator,
    *,
    pen: bool,
    folds: list[tuple[int, int, int]],
) -> NDArray[np.uint8]:
    """The slide at level 0.

    Parameters
    ----------
    plan : the section, on a grid of 1 um
    size_px : (height, width) of level 0 (0.5 um/px)
    rng : the only source of chance
    pen : draw on the glass, and a little over the tissue's edge
    folds : (y, x, radius) in um of smudged places

    Returns
    -------
    uint8 (height, width, 3)
    """
    stain = stain_of(rng)
    fibres, heading = _fibres(plan.tissue.shape, rng)
    dyes = _background(plan, fibres, rng)
    for y, x, radius in folds:
        _smudge(dyes, y, x, radius)
    h, e = (_to_level0(dye, size_px) for dye in dyes)
    _stamp_nuclei(h, _nuclei(plan, heading, rng), rng)
    ink = _pen_strokes(plan.tissue, rng) if pen else None
    return _expose(h, e, ink, stain, rng)


def _fibres(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Field, Field]:
    """Wavy collagen: stripes of a warped plane wave in -1..1, and the direction along them in radians."""
    y, x = np.mgrid[: shape[0] : 4, : shape[1] : 4].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    phase = np.cos(angle) * y + np.sin(angle) * x
    for amplitude, scale in ((110.0, 260.0), (14.0, 60.0)):
        phase += amplitude * smooth_noise(rng, y.shape, scale / 4)
    slope_y, slope_x = np.gradient(phase)
    phase = np.asarray(
        Image.fromarray(phase).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    )
    return np.cos(phase * np.float32(2 * np.pi / 13)), np.arctan2(slope_x, -slope_y).astype(
        np.float32
    )


def _background(plan: Plan, fibres: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Haematoxylin and eosin without nuclei, on the plan's grid."""
    shape = plan.tissue.shape
    broad, fine, grain = (smooth_noise(rng, shape, scale) for scale in (150.0, 9.0, 2.0))
    h = 0.10 + 0.035 * broad + 0.02 * fine
    e = 0.34 + 0.07 * smooth_noise(rng, shape, 220.0) + 0.07 * fibres + 0.04 * fine
    at_wall, kind = plan.wall_um < _WALL_UM, plan.kind
    zero = np.zeros_like(fine)
    looks: dict[Kind, tuple[Field, Field]] = {
        Kind.LYMPHOID: (0.22 + 0.03 * fine, 0.22 + 0.04 * fine),
        Kind.MUSCLE: (0.10 + 0.02 * fine, 0.50 + 0.05 * fibres + 0.04 * fine),
        Kind.VESSEL: (
            np.where(at_wall, zero + 0.10, 0.01),
            np.where(at_wall, zero + 0.50, 0.02 + 0.02 * np.maximum(fine, 0)),
        ),
        Kind.FAT: _fat(shape, rng),
        Kind.MUCIN: (0.10 + 0.03 * fine, 0.07 + 0.04 * np.maximum(fine + fibres, 0)),
        Kind.CLEFT: (zero + 0.01, zero + 0.01),
    }
    for name, (new_h, new_e) in looks.items():
        here = kind == name
        h[here], e[here] = new_h[here], new_e[here]
    _paint_glands(h, e, plan, fine)
    fade = ndimage.gaussian_filter(plan.tissue.astype(np.float32), 1.0)
    thickness = (1 + 0.07 * broad + 0.06 * grain) * fade
    h, e = (
        np.maximum(ndimage.gaussian_filter(dye, 0.7) * thickness, 0).astype(np.float32)
        for dye in (h, e)
    )
    return h, e


def _fat(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Field, Field]:
    """Round empty cells between thin walls: the ridges of the distance to jittered centres."""
    cell = 34
    rows, columns = (side // cell + 2 for side in shape)
    jitter = rng.uniform(-10, 10, (2, rows, columns))
    y, x = np.mgrid[:rows, :columns] * cell
    y = y + jitter[0] + (np.arange(columns) % 2) * cell / 2
    seeds = np.ones(shape, bool)
    seeds[
        np.clip(y, 0, shape[0] - 1).astype(int), np.clip(x + jitter[1], 0, shape[1] - 1).astype(int)
    ] = False
    distance = ndimage.distance_transform_edt(seeds[::2, ::2]).astype(np.float32)
    ridge = distance - ndimage.gaussian_filter(distance, 2.5) > 0.45
    wall: Field = np.asarray(
        Image.fromarray(ridge.astype(np.float32)).resize(
            (shape[1], shape[0]), Image.Resampling.BILINEAR
        ),
        np.float32,
    )
    return (0.01 + 0.08 * wall).astype(np.float32), (0.02 + 0.4 * wall).astype(np.float32)


def _paint_glands(h: Field, e: Field, plan: Plan, fine: Field) -> None:
    """A basement membrane, a dark ring at the base, cytoplasm from pink to mucous, a pale lumen."""
    for gland in plan.glands:
        depth = gland.depth_um
        window = (
            slice(gland.y_um, gland.y_um + depth.shape[0]),
            slice(gland.x_um, gland.x_um + depth.shape[1]),
        )
        rough = depth + 1.5 * fine[window]
        body, ring, lumen = depth > 0, (depth > 2) & (rough < 12), rough > gland.height_um
        pale = np.float32(gland.goblet)
        # Goblet cells: round vacuoles in a mucous epithelium.
        vacuole = pale * np.clip(fine[window] * 0.5 + 0.5, 0, 1)
        new_h = np.where(ring, 0.30, 0.12 + 0.03 * vacuole)
        new_e = np.where(ring, 0.25, 0.38 - 0.30 * vacuole)
        new_h[lumen] = 0.015
        new_e[lumen] = (0.03 + 0.05 * np.maximum(fine[window], 0))[lumen]
        membrane = (
            (depth > -4)
            & (depth <= 1)
            & ((plan.kind[window] == Kind.STROMA) | body)
            & (~(plan.labels[window] > 0) | body)
        )
        new_h[membrane], new_e[membrane] = 0.04, 0.30
        paint_here = (body & (plan.labels[window] > 0)) | membrane
        h[window][paint_here] = new_h[paint_here]
        e[window][paint_here] = new_e[paint_here]


def _smudge(dyes: tuple[Field, Field], y: int, x: int, radius: int) -> None:
    """A fold: tissue lies double and out of focus."""
    window = (slice(max(y - radius, 0), y + radius), slice(max(x - radius, 0), x + radius))
    for dye in dyes:
        part = dye[window]
        v, u = np.mgrid[: part.shape[0], : part.shape[1]] - np.float32(radius)
        inside = np.clip((0.92 - np.hypot(v, u) / radius) * 8, 0, 1).astype(np.float32)
        dye[window] = part + inside * (2.1 * ndimage.gaussian_filter(part, 6) + 0.1 - part)


class _Nuclei(NamedTuple):
    """Nuclei by kind of stamp: rows of (y_um, x_um, angle of the long axis in radians)."""

    columnar: NDArray[np.float32]
    spindle: NDArray[np.float32]
    round_: NDArray[np.float32]


def _nuclei(plan: Plan, heading: Field, rng: np.random.Generator) -> _Nuclei:
    """Palisades along the glands' bases; spindles along the fibres; lymphocytes in aggregates and everywhere between."""
    columnar = [_palisade(plan, index, rng) for index in range(len(plan.glands))]
    # Log-normal crowds: cellular stroma is as dense as epithelium.
    crowd = np.exp(0.9 * smooth_noise(rng, (heading.shape[0], heading.shape[1]), 32.0))
    spindle = {
        Kind.STROMA: 0.0026,
        Kind.MUSCLE: 0.0014,
        Kind.MUCIN: 0.0003,
        Kind.VESSEL: 0.004,
        Kind.FAT: 0.0006,
    }
    lymphocyte = {Kind.STROMA: 0.0016, Kind.LYMPHOID: 0.0155, Kind.MUCIN: 0.0006}
    return _Nuclei(
        np.concatenate(columnar or [np.empty((0, 3), np.float32)]),
        _scatter(plan, spindle, crowd, heading, rng),
        _scatter(plan, lymphocyte, crowd, heading, rng),
    )


def _scatter(
    plan: Plan, per_um2: dict[Kind, float], crowd: Field, heading: Field, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Nuclei at random outside glands by kind of tissue, rows as in `_Nuclei`; `crowd` and `heading` lie on a grid of 4 um."""
    density = np.zeros(len(Kind), np.float32)
    for name, value in per_um2.items():
        density[name] = value
    highest = density.max() * 1.6
    count = int(highest * plan.tissue.size)
    points = rng.random((count, 2), dtype=np.float32) * np.array(plan.tissue.shape, np.float32)
    y, x = points.astype(np.int32).T
    coarse = (np.minimum(y // 4, crowd.shape[0] - 1), np.minimum(x // 4, crowd.shape[1] - 1))
    kind = plan.kind[y, x]
    wanted = density[kind] * np.where(kind == Kind.STROMA, crowd[coarse], 1)
    keep = plan.tissue[y, x] & (plan.labels[y, x] == 0) & (rng.random(count) * highest < wanted)
    keep &= ~(np.isin(kind, (Kind.VESSEL, Kind.FAT)) & (plan.wall_um[y, x] > _WALL_UM))
    angle = heading[coarse] + rng.normal(0, 0.35, count)
    return np.asarray(np.column_stack([points, angle])[keep], np.float32)


def _palisade(plan: Plan, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Nuclei side by side along a gland's base, their long axes across it."""
    gland = plan.glands[index]
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(gland.depth_um, 3))
    rows = []
    for depth in (6.0, 11.0):
        for contour in find_contours(gland.depth_um, depth):  # type: ignore[no-untyped-call]
            steps = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(contour, axis=0).T))])
            spacing = 4.6 if depth < 8 else 9.0  # the second row fills in
            where = np.arange(0, steps[-1], spacing) + rng.uniform(
                -0.8, 0.8, int(np.ceil(steps[-1] / spacing))
            )
            y, x = (np.interp(where, steps, contour[:, axis]) for axis in (0, 1))
            angle = np.arctan2(
                slope_y[y.astype(int), x.astype(int)], slope_x[y.astype(int), x.astype(int)]
            )
            jitter = rng.normal(0, 0.7, (2, len(y)))
            rows.append(
                np.column_stack(
                    [
                        y + jitter[0] + gland.y_um,
                        x + jitter[1] + gland.x_um,
                        angle + rng.normal(0, 0.15, len(y)),
                    ]
                )
            )
    return np.concatenate(rows or [np.empty((0, 3))]).astype(np.float32)


def _stamp_nuclei(h: Field, nuclei: _Nuclei, rng: np.random.Generator) -> None:
    """Put every nucleus on the haematoxylin of level 0; where two overlap the darker one shows."""
    for rows, (length, width) in (
        (nuclei.columnar, (10.5, 5.2)),
        (nuclei.spindle, (11.5, 4.2)),
        (nuclei.round_, (6.6, 6.0)),
    ):
        bank = [
            [_stamp(length, width, np.pi * a / _ANGLES, rng) for _ in range(8)]
            for a in range(_ANGLES)
        ]
        which = np.round(rows[:, 2] / np.pi * _ANGLES).astype(int) % _ANGLES
        variant = rng.integers(8, size=len(rows))
        half = bank[0][0].shape[0] // 2
        corner = np.round(rows[:, :2] * SCALE).astype(int) - half
        inside = (corner >= 0).all(axis=1) & (corner + 2 * half + 1 <= h.shape).all(axis=1)
        for (y, x), angle, other in zip(
            corner[inside].tolist(), which[inside].tolist(), variant[inside].tolist(), strict=True
        ):
            place = h[y : y + 2 * half + 1, x : x + 2 * half + 1]
            np.maximum(place, bank[angle][other], out=place)


def _stamp(length_um: float, width_um: float, angle: float, rng: np.random.Generator) -> Field:
    """One nucleus: an ellipse with a soft edge and clumped chromatin, float32 (odd, odd) at 0.5 um/px."""
    half = int(length_um * SCALE / 2 * 1.3) + 3
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    size = rng.uniform(0.85, 1.15)
    radius = np.hypot(u / (length_um * size), v / (width_um * size)) * 2 / SCALE
    body = np.clip((1 - radius) * width_um * SCALE / 4 + 0.5, 0, 1)
    chromatin = ndimage.gaussian_filter(rng.standard_normal(y.shape), 1.3)
    return np.asarray(
        body
        * (rng.uniform(0.62, 0.95) + 0.35 * chromatin + 0.12 * np.exp(-((1 - radius) ** 2) / 0.02)),
        np.float32,
    )


def _pen_strokes(tissue: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """Optical density of pen ink, float32 (3, y, x) on a grid of 4 um: strokes that run beside the tissue and touch its edge."""
    coarse = tissue[::4, ::4]
    away = ndimage.distance_transform_edt(~coarse)
    near = np.argwhere((away > 18) & (away < 34))
    slope = np.gradient(ndimage.gaussian_filter(away, 12))
    ink = np.zeros((3, *coarse.shape), np.float32)
    for density in _PENS.values():
        drawing = Image.new("F", (coarse.shape[1], coarse.shape[0]), 0.0)
        brush = ImageDraw.Draw(drawing)
        for _ in range(2):
            y, x = near[rng.integers(len(near))].astype(float)
            width, side = rng.uniform(14, 24), rng.choice((-1.0, 1.0))
            path = []
            for _ in range(int(rng.uniform(25, 70))):
                path.append((x, y))
                row, column = (
                    int(np.clip(y, 0, coarse.shape[0] - 1)),
                    int(np.clip(x, 0, coarse.shape[1] - 1)),
                )
                normal = (
                    np.arctan2(slope[0][row, column], slope[1][row, column])
                    + side * np.pi / 2
                    + rng.normal(0, 0.25)
                )
                x, y = x + 7 * np.cos(normal), y + 7 * np.sin(normal)
            brush.line(path, fill=1.0, width=int(width), joint="curve")
        stroke = ndimage.gaussian_filter(np.asarray(drawing), 1.2)
        stroke *= 0.8 + 0.12 * smooth_noise(rng, coarse.shape, 6.0)
        ink = np.maximum(ink, stroke * np.array(density, np.float32)[:, None, None])
    return np.maximum(ink, 0)


def _expose(
    h: Field, e: Field, ink: NDArray[np.float32] | None, stain: Stain, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Light through dyes, ink and glass onto the camera, strip by strip."""
    height, width = h.shape
    image = np.empty((height, width, 3), np.uint8)
    lamp = 1 + 0.012 * _to_level0(
        smooth_noise(rng, (height // 32, width // 32), 60.0), (height, width)
    )
    _dust(lamp, rng)
    full_ink = None if ink is None else [_to_level0(part, (height, width)) for part in ink]
    for top in range(0, height, _STRIP_PX):
        rows = slice(top, min(top + _STRIP_PX, height))
        noise = rng.standard_normal((rows.stop - rows.start, width), dtype=np.float32)
        for channel in range(3):
            density = h[rows] * stain.haematoxylin[channel] + e[rows] * stain.eosin[channel]
            if full_ink is not None:
                density += full_ink[channel][rows]
            light = (
                np.exp(-density) * (stain.glass[channel] * lamp[rows])
                + (1.3 + 0.3 * channel) * noise
            )
            image[rows, :, channel] = np.clip(light + 0.5, 0, 255)
    return image


def _dust(lamp: Field, rng: np.random.Generator) -> None:
    """Specks on the glass, anywhere."""
    for _ in range(lamp.size // 900_000):
        radius = int(rng.uniform(3, 12))
        y, x = (int(rng.integers(2 * radius, side - 2 * radius)) for side in lamp.shape)
        v, u = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
        shade = np.exp(-(np.hypot(u * rng.uniform(0.7, 1.3), v) ** 2) / (0.3 * radius**2))
        lamp[y - radius : y + radius + 1, x - radius : x + radius + 1] *= (
            1 - rng.uniform(0.15, 0.6) * shade
        )


def _to_level0(field: NDArray[np.float32], size_px: tuple[int, int]) -> Field:
    """A coarse field on the level-0 grid (bilinear, pixel edges aligned; the last cell may reach over the slide's edge)."""
    factor = -(-size_px[0] // field.shape[0])
    grown = Image.fromarray(np.ascontiguousarray(field, np.float32)).resize(
        (field.shape[1] * factor, field.shape[0] * factor), Image.Resampling.BILINEAR
    )
    return np.array(grown.crop((0, 0, size_px[1], size_px[0])))
