"""Why outlines do not fit their slide: the change of coordinates with which they would fit."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.raster.geometry import CoordinateFrame, Geometry

Points = NDArray[np.float64]
IsTissue = Callable[[Points], NDArray[np.bool_]]
_MIN_SHARE = 0.9
_MAX_CAUSES = 3
_LEVEL_DOWNSAMPLES = (2, 4, 8, 16, 32, 64)
_SAME_FACTOR = 0.02  # factors that differ by less are one cause


class _Cause(NamedTuple):
    """A change of coordinates, and words for it after "the outlines fit"; (x, y), level 0."""

    text: str
    changed: Callable[[Points], Points]


def likely_cause(
    outlines: Sequence[Any],
    geometry: Geometry,
    is_tissue: IsTissue | None,
    origin: CoordinateFrame,
) -> str:
    """How outlines would lie on the slide, and on tissue; "" if no usual change helps.

    Parameters
    ----------
    outlines : shapely polygons, (x, y) in level-0 pixels of the viewer
    geometry : of the stored grid of the slide
    is_tissue : whether points (N, 2), (x, y) in stored pixels inside the slide, lie on tissue; None
        if the tissue is not known
    origin : what the coordinates are relative to
    """
    if not outlines:
        return ""
    inner = shapely.get_coordinates(shapely.point_on_surface(np.array(outlines, object)))
    corners = shapely.get_coordinates(shapely.box(*shapely.total_bounds(outlines)))
    size_px = np.array([geometry.slide_width_px, geometry.slide_height_px])
    downsample = np.array([geometry.downsample_x, geometry.downsample_y])

    def fits(cause: _Cause) -> bool:
        offset = np.array(geometry.viewer_offset(origin))
        box, points = cause.changed(corners) + offset, cause.changed(inner) + offset
        if (box < -1).any() or (box > size_px + 1).any():
            return False
        if is_tissue is None:
            return True
        stored = np.clip(points / downsample, 0, [geometry.width_px - 1, geometry.height_px - 1])
        return bool(is_tissue(stored).mean() >= _MIN_SHARE)

    texts = [cause.text for cause in _causes(geometry, origin) if fits(cause)]
    if not texts:
        return ""
    return f"the outlines fit {', or '.join(texts[:_MAX_CAUSES])}"


def _causes(geometry: Geometry, origin: CoordinateFrame) -> Iterator[_Cause]:
    """The usual mistakes: offset, scale and unit, then rotations and reflections."""
    bounds = np.array([geometry.bounds_x, geometry.bounds_y])
    if bounds.any():
        other = "slide" if origin == "bounds" else "bounds"
        shift = -bounds if origin == "bounds" else bounds
        text = f"relative to the {other} (export.origin: {other})"
        yield _Cause(text, lambda points: points + shift)
    for factor, names in _factors(geometry):
        text = f"with their coordinates multiplied by {factor:.4g} ({' or '.join(names)})"
        yield _Cause(text, partial(np.multiply, factor))
    width, height = geometry.viewer_size(origin)
    turns: dict[str, Callable[[Points], Points]] = {
        "rotated by 180 degrees": lambda points: np.array([width, height]) - points,
        "rotated by 90 degrees": lambda points: np.stack(
            [points[:, 1], height - points[:, 0]], axis=1
        ),
        "rotated by 270 degrees": lambda points: np.stack(
            [width - points[:, 1], points[:, 0]], axis=1
        ),
        "mirrored from left to right": lambda points: np.stack(
            [width - points[:, 0], points[:, 1]], axis=1
        ),
        "mirrored from top to bottom": lambda points: np.stack(
            [points[:, 0], height - points[:, 1]], axis=1
        ),
        "with x and y exchanged": lambda points: points[:, ::-1],
    }
    for name, changed in turns.items():
        yield _Cause(name, changed)


def _factors(geometry: Geometry) -> list[tuple[float, list[str]]]:
    """Factors of coordinates, each with its reasons; equal factors are one."""
    mpp_um = geometry.mpp / (geometry.downsample_x * geometry.downsample_y) ** 0.5
    named = [(float(d), f"drawn at a level of downsample {d}") for d in _LEVEL_DOWNSAMPLES]
    named.append((1 / mpp_um, f"given in micrometres, {mpp_um:.4g} um per pixel"))
    named.append((geometry.downsample_x, "given in pixels of the working resolution"))
    named += [
        (1 / d, f"drawn on an image {d} times as large as the slide") for d in _LEVEL_DOWNSAMPLES
    ]
    factors: list[tuple[float, list[str]]] = []
    for factor, name in named:
        same = [names for other, names in factors if abs(factor / other - 1) < _SAME_FACTOR]
        if same:
            same[0].append(name)
        elif abs(factor - 1) >= _SAME_FACTOR:
            factors.append((factor, [name]))
    return factors
