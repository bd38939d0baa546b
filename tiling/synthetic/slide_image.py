"""The image of a synthetic slide at level 0: stained tissue, pen, dust, glass and camera.

Beer-Lambert: transmitted light = glass * exp(-(h H + e E)), with H and E the densities of the two
dyes in R, G, B (after Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23, 2001; E is a little
redder, as in images of scanners).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from tiling.synthetic.level0_grid import to_level0
from tiling.synthetic.nuclei import draw_nuclei, place_nuclei
from tiling.synthetic.section_plan import SectionPlan
from tiling.synthetic.smooth_noise import Field, Mask, smooth_noise
from tiling.synthetic.staining import draw_fibres, smudge, stain_background

_HAEMATOXYLIN = np.array((1.02, 1.15, 0.48), np.float32)
_EOSIN = np.array((0.10, 1.00, 0.50), np.float32)
_PENS = {"blue": (1.9, 1.2, 0.3), "green": (1.8, 0.5, 1.3), "black": (1.9, 1.85, 1.75)}
_STRIP_PX = 512
_PX_PER_DUST_GRAIN = 900_000

Fold = tuple[int, int, int]  # y, x and radius in um


class Stain(NamedTuple):
    """What differs between slides: densities of the dyes, and colour of the glass (R, G, B)."""

    haematoxylin: NDArray[np.float32]
    eosin: NDArray[np.float32]
    glass: NDArray[np.float32]


def draw_slide(
    plan: SectionPlan,
    size_px: tuple[int, int],
    rng: np.random.Generator,
    *,
    pen: bool,
    folds: list[Fold],
) -> NDArray[np.uint8]:
    """The image of a section at level 0.

    Parameters
    ----------
    plan : the section, on a grid of 1 um
    size_px : (height, width) of level 0 (0.5 um/px)
    rng : random numbers
    pen : draw pen marks on the glass, and a little over the edge of the tissue
    folds : places where the tissue is smudged

    Returns
    -------
    uint8 (height, width, 3)
    """
    stain = draw_stain(rng)
    fibres, direction = draw_fibres((plan.tissue.shape[0], plan.tissue.shape[1]), rng)
    dyes = stain_background(plan, fibres, rng)
    for y, x, radius in folds:
        smudge(dyes, y, x, radius)
    h, e = (to_level0(dye, size_px) for dye in dyes)
    draw_nuclei(h, place_nuclei(plan, direction, rng), rng)
    ink = _draw_pen_strokes(plan.tissue, rng) if pen else None
    return _expose(h, e, ink, stain, rng)


def draw_stain(rng: np.random.Generator) -> Stain:
    """A stain that varies as much as those of one laboratory."""
    haematoxylin_strength = rng.uniform(0.88, 1.15)
    haematoxylin_tint = (1 + rng.uniform(-0.06, 0.06, 3)).astype(np.float32)
    eosin_strength = rng.uniform(0.85, 1.15)
    eosin_tint = (1 + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)
    glass = (rng.uniform(238, 247) + rng.uniform(-1.5, 1.5, 3)).astype(np.float32)
    return Stain(
        _HAEMATOXYLIN * haematoxylin_strength * haematoxylin_tint,
        _EOSIN * eosin_strength * eosin_tint,
        glass,
    )


def _draw_pen_strokes(tissue: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """Optical density of ink, float32 (3, y, x) on a grid of 4 um.

    Strokes run along the tissue and touch its edge.
    """
    coarse = tissue[::4, ::4]
    distance = ndimage.distance_transform_edt(~coarse)
    starts = np.argwhere((distance > 18) & (distance < 34))
    slope = np.gradient(ndimage.gaussian_filter(distance, 12))
    ink = np.zeros((3, *coarse.shape), np.float32)
    for density in _PENS.values():
        drawing = Image.new("F", (coarse.shape[1], coarse.shape[0]), 0.0)
        brush = ImageDraw.Draw(drawing)
        for _ in range(2):
            y, x = starts[rng.integers(len(starts))].astype(float)
            width, side = rng.uniform(14, 24), rng.choice((-1.0, 1.0))
            path = _stroke((y, x), side, slope, rng)
            brush.line(path, fill=1.0, width=int(width), joint="curve")
        stroke = ndimage.gaussian_filter(np.asarray(drawing), 1.2)
        stroke *= 0.8 + 0.12 * smooth_noise(rng, (coarse.shape[0], coarse.shape[1]), 6.0)
        ink = np.maximum(ink, stroke * np.array(density, np.float32)[:, None, None])
    return np.maximum(ink, 0)


def _stroke(
    start: tuple[float, float],
    side: float,
    slope: Sequence[NDArray[np.float64]],
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Points (x, y) of a stroke that follows the lines of equal distance from tissue."""
    y, x = start
    path = []
    for _ in range(int(rng.uniform(25, 70))):
        path.append((x, y))
        row = int(np.clip(y, 0, slope[0].shape[0] - 1))
        column = int(np.clip(x, 0, slope[0].shape[1] - 1))
        away = np.arctan2(slope[0][row, column], slope[1][row, column])
        heading = away + side * np.pi / 2 + rng.normal(0, 0.25)
        x, y = x + 7 * np.cos(heading), y + 7 * np.sin(heading)
    return path


def _expose(
    h: Field, e: Field, ink: NDArray[np.float32] | None, stain: Stain, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Light through dyes, ink and glass onto the camera; one strip of rows at a time."""
    height, width = h.shape
    image = np.empty((height, width, 3), np.uint8)
    lamp = 1 + 0.012 * to_level0(
        smooth_noise(rng, (height // 32, width // 32), 60.0), (height, width)
    )
    _add_dust(lamp, rng)
    level0_ink = None if ink is None else [to_level0(part, (height, width)) for part in ink]
    for top in range(0, height, _STRIP_PX):
        rows = slice(top, min(top + _STRIP_PX, height))
        noise = rng.standard_normal((rows.stop - rows.start, width), dtype=np.float32)
        for channel in range(3):
            density = h[rows] * stain.haematoxylin[channel] + e[rows] * stain.eosin[channel]
            if level0_ink is not None:
                density += level0_ink[channel][rows]
            transmitted = np.exp(-density) * (stain.glass[channel] * lamp[rows])
            light = transmitted + (1.3 + 0.3 * channel) * noise
            image[rows, :, channel] = np.clip(light + 0.5, 0, 255)
    return image


def _add_dust(lamp: Field, rng: np.random.Generator) -> None:
    """Darken the light at random small spots, in place."""
    for _ in range(lamp.size // _PX_PER_DUST_GRAIN):
        radius = int(rng.uniform(3, 12))
        y, x = (int(rng.integers(2 * radius, side - 2 * radius)) for side in lamp.shape)
        v, u = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
        shade = np.exp(-(np.hypot(u * rng.uniform(0.7, 1.3), v) ** 2) / (0.3 * radius**2))
        area = (slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1))
        lamp[area] *= 1 - rng.uniform(0.15, 0.6) * shade
