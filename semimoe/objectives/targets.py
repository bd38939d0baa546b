"""From gland instances to what the three experts learn: mask, signed distance, boundary.

What lies beyond the tile or outside the annotated area is unknown, not background: no gland ends there. Distances are measured
to *known* background (or known gland) pixels only, and saturate where none is known; no boundary is drawn at the edge of knowledge.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semimoe.settings import NetworkSettings

# disk(2) without its centre.
_RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 0 < y * y + x * x <= 4]
_RING_PX = 2
_NEIGHBOURS = [(y, x) for y, x in _RING if max(abs(y), abs(x)) == 1]


class TargetArrays(NamedTuple):
    """Targets of one tile."""

    mask: NDArray[np.uint8]  # (H, W), 0 or 1
    sdf: NDArray[np.float32]  # (H, W), [-1, 1]
    boundary: NDArray[np.uint8]  # (H, W), 0 or 1


def make_targets(
    labels: NDArray[np.int32], weight: NDArray[np.uint8], *, mpp_um: float, network: NetworkSettings
) -> TargetArrays:
    """Targets of a tile.

    Parameters
    ----------
    labels : int (H, W), 0 background, 1..N one gland each
    weight : uint8 (H, W), 0 where nothing is known
    mpp_um : size of a pixel, um

    Returns
    -------
    TargetArrays
        Values where the weight is 0 mean nothing.
    """
    known = weight > 0
    shown = np.where(known, labels, 0)
    glands = shown > 0
    instances = shown if network.boundary == "instance" else glands.astype(np.int32)
    if network.sdf_scale == "um":
        sdf = _distance_um(instances, known, mpp_um=mpp_um, sdf_um=network.sdf_um)
    else:
        sdf = _distance_of_tile(glands, known)
    return TargetArrays(glands.astype(np.uint8), sdf, _boundary(instances, known))


def _distance_um(
    instances: NDArray[np.int32], known: NDArray[np.bool_], *, mpp_um: float, sdf_um: float
) -> NDArray[np.float32]:
    """Distance to the gland's outline in units of `sdf_um`, clipped; the outline runs between pixels, half a pixel off the first ones.

    Per instance: the line between two touching glands is an outline of both.
    """
    glands = instances > 0
    inside = np.minimum(_distance_to(known & ~glands), _distance_to_neighbour(instances))
    outside = _distance_to(glands)
    signed_px = np.where(glands, inside - 0.5, 0.5 - outside)
    sdf: NDArray[np.float32] = np.clip(signed_px * (mpp_um / sdf_um), -1, 1).astype(np.float32)
    return sdf


def _distance_to_neighbour(instances: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance of each gland pixel to the nearest pixel of a gland it touches, px; infinite elsewhere."""
    distance = np.full(instances.shape, np.inf)
    touching = np.unique(instances[_near_another_gland(instances, _NEIGHBOURS) & (instances > 0)])
    boxes = ndimage.find_objects(instances)
    for number in touching:
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[number - 1])
        own = instances[box] == number
        distance[box][own] = _distance_to((instances[box] > 0) & ~own)[own]
    return distance


def _distance_of_tile(glands: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The paper's scale: inside and outside distances divided by their maxima in the tile, 0 on the innermost outline pixels."""
    background = known & ~glands
    if not glands.any() or not background.any():
        return np.where(glands, 1, -1).astype(np.float32)
    inside = np.where(glands, _distance_to(background), 0)
    outside = np.where(background, _distance_to(glands), 0)
    signed = inside / inside.max() - outside / outside.max()
    rim = glands & ndimage.binary_dilation(background)
    signed[rim] = 0
    sdf: NDArray[np.float32] = signed.astype(np.float32)
    return sdf


def _boundary(instances: NDArray[np.int32], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Ring around each gland: pixels within disk(2) of a gland that is not their own."""
    return (_near_another_gland(instances, _RING) & known).astype(np.uint8)


def _near_another_gland(
    instances: NDArray[np.int32], offsets: list[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Whether a pixel has, at one of the offsets, a gland that is not its own."""
    height, width = instances.shape
    padded = np.pad(instances, _RING_PX)
    found = np.zeros(instances.shape, bool)
    for y, x in offsets:
        other = padded[_RING_PX + y : _RING_PX + y + height, _RING_PX + x : _RING_PX + x + width]
        found |= (other > 0) & (other != instances)
    return found


def _distance_to(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Euclidean distance to the nearest of the pixels, px; infinite without any."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~pixels)
    return distance
