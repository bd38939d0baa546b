"""Measurements of one gland, in um and um2."""

from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.geometry import Geometry


class Measurements(NamedTuple):
    """What the table and the GeoJSON say of a gland; all numbers finite.

    Attributes
    ----------
    area_um2 : pixels times the area of a pixel
    perimeter_um : Crofton's estimate (four directions) of outer and inner contours, not the staircase of pixel edges
    solidity : area / area of the convex hull, 0..1
    eccentricity : of the ellipse of equal second moments, 0 (circle) .. 1
    orientation_deg : angle of its major axis against the x axis, anticlockwise as seen on the slide, -90..90
    holes : number of holes
    mean_probability, mean_disagreement : over its pixels, 0..1
    """

    area_um2: float
    perimeter_um: float
    solidity: float
    eccentricity: float
    orientation_deg: float
    holes: int
    mean_probability: float
    mean_disagreement: float


def measure(
    inside: NDArray[np.bool_],
    shape: Any,  # noqa: ANN401  # shapely has no types
    gland: NDArray[np.uint8],
    disagreement: NDArray[np.uint8],
    geometry: Geometry,
) -> Measurements:
    """Measure one object.

    Parameters
    ----------
    inside : bool (h, w), its pixels in its bounding window
    shape : its outline in stored pixel edges (shapely)
    gland, disagreement : uint8 (h, w) codes of the same window
    """
    from skimage.measure import perimeter_crofton

    y, x = np.nonzero(inside)
    spread = np.cov(np.stack([x * geometry.mpp_x, y * geometry.mpp_y]), bias=True) if len(x) > 1 else np.zeros((2, 2))
    spread += np.diag([geometry.mpp_x**2, geometry.mpp_y**2]) / 12  # a pixel is a square, not a point
    minor, major = np.sqrt(np.linalg.eigvalsh(spread))
    parts = shape.geoms if hasattr(shape, "geoms") else [shape]
    return Measurements(
        area_um2=len(x) * geometry.um2_per_px,
        perimeter_um=float(perimeter_crofton(np.pad(inside, 1), directions=4)) * geometry.mpp,  # type: ignore[no-untyped-call]
        solidity=len(x) / shapely.convex_hull(shape).area,
        eccentricity=float(np.sqrt(max(1 - (minor / major) ** 2, 0))),
        orientation_deg=float(np.degrees(0.5 * np.arctan2(-2 * spread[0, 1], spread[0, 0] - spread[1, 1]))),
        holes=sum(len(part.interiors) for part in parts),
        mean_probability=float(gland[inside].mean()) / 255,
        mean_disagreement=float(disagreement[inside].mean()) / 255,
    )
