"""What is outlined on a synthetic slide, as GeoJSON in the form of an export of QuPath.

Coordinates are (x, y), pixel edges of level 0.
"""

import uuid
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.qupath.class_names import GLAND, IGNORE, REGION
from tiling.raster.geometry import Block
from tiling.synthetic.level0_grid import MPP_UM, SCALE
from tiling.synthetic.slide_image import Fold

_FOLD_UM = 55
_REGION_GAP_PX = 300
_COARSE_PX = 16
_MAX_ATTEMPTS = 400
_NAMESPACE = uuid.UUID("6d0f3c0e-6f55-4c1b-9f4e-2f6a3d1f7f10")
_COLOURS = {REGION: (0, 0, 180), GLAND: (50, 180, 70), IGNORE: (180, 180, 180)}


class AnnotatedRegion(NamedTuple):
    """A rectangle of level 0 in which every gland is outlined: pixel edges."""

    left: int
    top: int
    right: int
    bottom: int


def choose_regions(
    labels: NDArray[np.uint16], count: int, rng: np.random.Generator, *, slide: str
) -> list[AnnotatedRegion]:
    """Rectangles of 500 to 700 um a side with many glands, at a distance from each other.

    Parameters
    ----------
    labels : uint16 (height, width), level 0
    count : number of rectangles
    rng : random numbers
    slide : id of the slide, for the message

    Raises
    ------
    ValueError
        There is no place for so many regions.
    """
    height, width = labels.shape
    gland = (labels[::_COARSE_PX, ::_COARSE_PX] > 0).astype(np.float64)
    # Sum of gland above and left of each coarse pixel.
    integral = np.pad(gland.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    chosen: list[AnnotatedRegion] = []
    for _ in range(count):
        best, best_share = None, 0.0
        for _ in range(_MAX_ATTEMPTS):
            w, h = (int(side / MPP_UM) for side in rng.integers(500, 701, 2))
            if w >= width or h >= height:
                continue
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            region = AnnotatedRegion(x, y, x + w, y + h)
            if any(_are_close(region, other) for other in chosen):
                continue
            share = _gland_share(integral, region)
            if share > best_share:
                best, best_share = region, share
        if best is None:
            raise ValueError(
                f"{slide}: no place for {count} regions on {width} x {height} px; "
                "ask for fewer or make the slide larger"
            )
        chosen.append(best)
    return chosen


def choose_fold(regions: list[AnnotatedRegion], labels: NDArray[np.uint16]) -> Fold:
    """A place to smudge, in the last region, where it covers the fewest glands."""
    region, radius = regions[-1], SCALE * _FOLD_UM
    first_y, first_x = region.top + radius + SCALE, region.left + radius + SCALE
    centres = [
        (y, x)
        for y in range(first_y, region.bottom - radius + 1, radius // 2)
        for x in range(first_x, region.right - radius + 1, radius // 2)
    ]
    covered = []
    for y, x in centres:
        part = labels[y - radius : y + radius : 8, x - radius : x + radius : 8]
        covered.append(int((part > 0).sum()))
    y, x = centres[int(np.argmin(covered))]
    return y // SCALE, x // SCALE, _FOLD_UM


def annotation_geojson(
    labels: NDArray[np.uint16],
    regions: list[AnnotatedRegion] | None,
    fold: Fold | None,
    *,
    slide: str,
) -> dict[str, Any]:
    """GeoJSON FeatureCollection of a slide's outlines.

    Parameters
    ----------
    labels : uint16 (height, width), level 0
    regions : only glands that overlap a region are outlined, each as a whole; None: all glands
    fold : outlined as an ignored area when there are regions
    slide : id of the slide, part of the ids of the outlines
    """
    features = []
    numbers = list(range(1, int(labels.max()) + 1))
    if regions is not None:
        numbers = _numbers_inside(labels, regions)
        for number, region in enumerate(regions, start=1):
            features.append(_feature(slide, REGION, number, [_rectangle(region)]))
    if fold is not None and regions is not None:
        features.append(_feature(slide, IGNORE, 1, [_circle(fold)]))
    blocks = ndimage.find_objects(labels)
    for number in numbers:
        outline = _outline(labels, blocks[number - 1], number)
        features.append(_feature(slide, GLAND, number, outline))
    return {"type": "FeatureCollection", "features": features}


def _are_close(a: AnnotatedRegion, b: AnnotatedRegion) -> bool:
    gap = _REGION_GAP_PX
    columns = a.left < b.right + gap and b.left < a.right + gap
    return columns and a.top < b.bottom + gap and b.top < a.bottom + gap


def _gland_share(integral: NDArray[np.float64], region: AnnotatedRegion) -> float:
    left, top, right, bottom = (edge // _COARSE_PX for edge in region)
    gland = integral[bottom, right] - integral[top, right]
    gland = gland - integral[bottom, left] + integral[top, left]
    return float(gland / ((bottom - top) * (right - left)))


def _numbers_inside(labels: NDArray[np.uint16], regions: list[AnnotatedRegion]) -> list[int]:
    """Labels that occur in at least one region, without the background."""
    numbers: set[int] = set()
    for region in regions:
        part = labels[region.top : region.bottom, region.left : region.right]
        numbers.update(np.unique(part).tolist())
    return sorted(numbers - {0})


def _rectangle(region: AnnotatedRegion) -> list[list[int]]:
    left, top, right, bottom = region
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def _circle(fold: Fold) -> list[list[float]]:
    y, x, radius = (SCALE * value for value in fold)
    angles = np.linspace(0, 2 * np.pi, 33)
    ring = np.round(np.column_stack([x + radius * np.cos(angles), y + radius * np.sin(angles)]))
    ring[-1] = ring[0]
    points: list[list[float]] = ring.tolist()
    return points


def _outline(labels: NDArray[np.uint16], block: Block, number: int) -> list[list[list[float]]]:
    """Rings of one gland; the outline of 4-connected pixels does not touch itself."""
    from rasterio.features import shapes
    from rasterio.transform import Affine

    body = (labels[block] == number).astype(np.uint8)
    offset = Affine.translation(block[1].start, block[0].start)
    [(geometry, _)] = shapes(body, mask=body.astype(bool), connectivity=4, transform=offset)
    return [[list(point) for point in ring] for ring in geometry["coordinates"]]


def _feature(slide: str, class_name: str, number: int, rings: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, f"{slide}/{class_name}/{number}")),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": class_name, "color": list(_COLOURS[class_name])},
        },
    }
