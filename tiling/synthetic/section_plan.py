"""Plan of a synthetic section on a grid of 1 um: tissue, glands, and look-alikes of glands."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.synthetic.gland_shapes import SyntheticGland, place_glands
from tiling.synthetic.look_alikes import place_look_alikes
from tiling.synthetic.smooth_noise import Field, Mask, smooth_noise

_MIN_PIECE_UM2 = 100_000.0


class SectionPlan(NamedTuple):
    """A section on a grid of 1 um, arrays (y, x).

    Attributes
    ----------
    tissue : bool, True on tissue and False on glass
    glands : in the order of their labels (1..N)
    labels : int32, i + 1 in gland i, 0 elsewhere
    kind : uint8, `TissueKind` outside glands
    wall_um : float32, distance to the edge of the look-alike that a cell belongs to; 0 outside
    """

    tissue: Mask
    glands: list[SyntheticGland]
    labels: NDArray[np.int32]
    kind: NDArray[np.uint8]
    wall_um: Field


def plan_section(
    shape: tuple[int, int], rng: np.random.Generator, *, tissue_share: float
) -> SectionPlan:
    """A section with glands and look-alikes.

    Parameters
    ----------
    shape : (y, x) in um
    rng : random numbers
    tissue_share : share of the section that is tissue, 0..1
    """
    tissue = _tissue(shape, rng, tissue_share)
    glands, labels = place_glands(tissue, rng)
    kind, wall_um = place_look_alikes(tissue, labels > 0, rng)
    return SectionPlan(tissue, glands, labels, kind, wall_um)


def _tissue(shape: tuple[int, int], rng: np.random.Generator, share: float) -> Mask:
    """One or two pieces of irregular outline that do not touch the slide's border."""
    height, width = shape
    y, x = np.mgrid[:height:4, :width:4].astype(np.float32)
    level = _distance_from_centres(y, x, shape, two_pieces=share <= 0.45)
    irregular = sum(
        weight * smooth_noise(rng, y.shape, scale / 4)
        for weight, scale in ((0.036, 500.0), (0.016, 130.0), (0.005, 30.0))
    )
    pieces = 2 if share <= 0.45 else 1
    level = level + irregular * pieces**1.2
    border = np.minimum.reduce([y, x, height - y, width - x])
    # An irregular margin keeps the tissue off the slide's border: no edge is a straight line.
    level += 0.25 * np.maximum(0, 1.6 - (border + 22 * smooth_noise(rng, y.shape, 20.0)) / 70)
    inside = level < np.quantile(level, share)
    inside = ndimage.binary_fill_holes(ndimage.binary_opening(inside, iterations=6))
    parts, count = ndimage.label(inside)
    area_um2 = ndimage.sum_labels(inside, parts, np.arange(1, count + 1)) * 16.0
    inside = np.isin(parts, 1 + np.flatnonzero(area_um2 > _MIN_PIECE_UM2))
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 1.5)
    enlarged = Image.fromarray(soft).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(enlarged) > 0.5


def _distance_from_centres(
    y: Field, x: Field, shape: tuple[int, int], *, two_pieces: bool
) -> NDArray[np.float32]:
    """Distance to the nearest centre of a piece, in sizes of the piece."""
    height, width = shape
    pieces = ((0.42, 0.28, 0.6), (0.6, 0.76, 0.46)) if two_pieces else ((0.5, 0.5, 1.0),)
    nearest = np.full(y.shape, np.inf, np.float32)
    for centre_y, centre_x, size in pieces:
        radius = np.hypot(
            (y - centre_y * height) / (size * height), (x - centre_x * width) / (size * width)
        )
        nearest = np.minimum(nearest, radius / size)
    return nearest
