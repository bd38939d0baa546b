"""Training targets from gland instances: mask, signed distance and boundary.

Pixels outside the tile or outside the annotated area are unknown. They are not background, so no
gland ends at their edge: distances are measured to annotated pixels only (and have their largest
value if there is none), and no boundary lies along the edge of the annotated area.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semimoe.settings import NetworkSettings

# Offsets of disk(2) without its centre.
RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 4]
RING_PX = 2
_NEIGHBOURS = [(y, x) for y, x in RING if max(abs(y), abs(x)) == 1]


class TargetArrays(NamedTuple):
    """Targets of one tile."""

    mask: NDArray[np.uint8]  # (H, W), 0 or 1
    sdf: NDArray[np.float32]  # (H, W), [-1, 1]
    boundary: NDArray[np.uint8]  # (H, W), 0 or 1


def make_targets(
    labels: NDArray[np.int32], weight: NDArray[np.uint8], *, mpp_um: float, network: NetworkSettings
) -> TargetArrays:
    """Compute the targets of a tile.

    Parameters
    ----------
    labels : int32 (H, W), 0 background, 1..N one gland each
    weight : uint8 (H, W), 0 where nothing is annotated
    mpp_um : size of a pixel, um

    Returns
    -------
    TargetArrays
        Values where the weight is 0 have no meaning.
    """
    annotated = weight > 0
    annotated_labels = np.where(annotated, labels, 0)
    glands = annotated_labels > 0
    instances = annotated_labels if network.boundary == "instance" else glands.astype(np.int32)
    if network.sdf_scale != "tile":  # the skeleton-aware distance is made from whole glands
        sdf = _distance_um(instances, annotated, mpp_um=mpp_um, sdf_um=network.sdf_um)
    else:
        sdf = _tile_scaled_distance(glands, annotated)
    return TargetArrays(glands.astype(np.uint8), sdf, _boundary(instances, annotated))


def _distance_um(
    instances: NDArray[np.int32], annotated: NDArray[np.bool_], *, mpp_um: float, sdf_um: float
) -> NDArray[np.float32]:
    """Signed distance to the gland's outline in units of `sdf_um`, clipped to [-1, 1].

    The outline lies on the pixel edges, half a pixel from the centres of the pixels beside it. The
    line between two touching glands is an outline of both.
    """
    glands = instances > 0
    inside = np.minimum(_distance_to(annotated & ~glands), _distance_to_touching_gland(instances))
    outside = _distance_to(glands)
    signed_px = np.where(glands, inside - 0.5, 0.5 - outside)
    sdf: NDArray[np.float32] = np.clip(signed_px * (mpp_um / sdf_um), -1, 1).astype(np.float32)
    return sdf


def _distance_to_touching_gland(instances: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance of each gland pixel to the nearest pixel of a gland that touches its gland, px.

    Infinite elsewhere.
    """
    distance = np.full(instances.shape, np.inf)
    is_contact = _has_another_gland(instances, _NEIGHBOURS) & (instances > 0)
    boxes = ndimage.find_objects(instances)
    for number in np.unique(instances[is_contact]):
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[number - 1])
        own = instances[box] == number
        distance[box][own] = _distance_to((instances[box] > 0) & ~own)[own]
    return distance


def _tile_scaled_distance(
    glands: NDArray[np.bool_], annotated: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Signed distance with the scale of the paper.

    Distances inside and outside are divided by their maxima in the tile; gland pixels beside the
    background are 0.
    """
    background = annotated & ~glands
    if not glands.any() or not background.any():
        return np.where(glands, 1, -1).astype(np.float32)
    inside = np.where(glands, _distance_to(background), 0)
    outside = np.where(background, _distance_to(glands), 0)
    signed = inside / inside.max() - outside / outside.max()
    signed[glands & ndimage.binary_dilation(background)] = 0
    sdf: NDArray[np.float32] = signed.astype(np.float32)
    return sdf


def _boundary(instances: NDArray[np.int32], annotated: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Ring around each gland: pixels within disk(2) of a gland that is not their own."""
    return (_has_another_gland(instances, RING) & annotated).astype(np.uint8)


def _has_another_gland(
    instances: NDArray[np.int32], offsets: list[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Whether a pixel of another gland than its own lies at one of the offsets of a pixel."""
    height, width = instances.shape
    padded = np.pad(instances, RING_PX)
    result = np.zeros(instances.shape, bool)
    for y, x in offsets:
        top, left = RING_PX + y, RING_PX + x
        shifted = padded[top : top + height, left : left + width]
        result |= (shifted > 0) & (shifted != instances)
    return result


def _distance_to(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Euclidean distance to the nearest True pixel, px; infinite if there is none."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~pixels)
    return distance
