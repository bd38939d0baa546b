"""Maps -> glands, for arrays that fit in memory: the split rule of docs/architecture.md.

Works on uint8 codes: probability code round(255 p), sdf code round((s + 1) 127.5).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT = np.ones((3, 3), int)
_NO_OFFER = np.iinfo(np.int32).max


@dataclass(frozen=True)
class SplitParameters:
    """How a gland mask is split into glands.

    Attributes
    ----------
    threshold : gland probability of the mask
    seed_depth_um : distance inside a gland at which its seed begins, um
    boundary_level : boundary probability at which seeds end; above 1: not used
    growth_um : reach of the growth of seeds, um
    min_area_um2 : smaller objects are dropped, um2
    sdf_um : distance at which the signed distance field saturates, um
    use_sdf : False where the field has no scale (`sdf_scale: tile`)
    """

    threshold: float
    seed_depth_um: float
    boundary_level: float
    growth_um: float
    min_area_um2: float
    sdf_um: float
    use_sdf: bool = True


def split_glands(
    gland: NDArray[np.uint8],
    sdf: NDArray[np.uint8],
    boundary: NDArray[np.uint8],
    *,
    mpp_um: float,
    um2_per_px: float,
    parameters: SplitParameters,
) -> NDArray[np.int32]:
    """Split a predicted mask into glands.

    Parameters
    ----------
    gland, sdf, boundary : uint8 (H, W) codes
    mpp_um : size of a pixel, um
    um2_per_px : area of a pixel, um2

    Returns
    -------
    ndarray
        int32 (H, W), 0 background, 1..N numbered by first pixel in raster order.
    """
    mask = gland >= round(255 * parameters.threshold)
    seed = mask & (boundary < round(255 * parameters.boundary_level))
    if parameters.use_sdf:
        seed &= sdf > round((parameters.seed_depth_um / parameters.sdf_um + 1) * 127.5)
    labels, _ = ndimage.label(seed, _EIGHT, output=np.int32)
    labels = renumbered(labels)
    grow(labels, mask, steps=round(parameters.growth_um / mpp_um))
    _settle_rest(labels, mask)
    area = np.bincount(labels.ravel())
    labels[(area * um2_per_px < parameters.min_area_um2)[labels]] = 0
    return renumbered(labels)


def grow(labels: NDArray[np.int32], mask: NDArray[np.bool_], *, steps: int) -> None:
    """Propagate labels in place by synchronous 8-neighbour steps inside the mask, ties to the smaller number.

    Only pixels labelled in the last step can reach new ones, so a step costs its front, not the array.
    """
    width = labels.shape[1] + 2
    field = np.pad(labels, 1).ravel()
    free = np.pad(mask, 1).ravel() & (field == 0)
    offered = np.full(field.shape, _NO_OFFER, np.int32)
    offsets = [y * width + x for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    front = np.flatnonzero(field)
    for _ in range(steps):
        reached = []
        for offset in offsets:
            target = front + offset
            open_ = free[target]
            target = target[open_]  # unique within one offset
            reached.append(target[offered[target] == _NO_OFFER])
            offered[target] = np.minimum(offered[target], field[front[open_]])
        front = np.concatenate(reached)
        if not len(front):
            break
        field[front] = offered[front]
        free[front] = False
    labels[...] = field.reshape(-1, width)[1:-1, 1:-1]


def renumbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same objects, numbered 1..N by first pixel in raster order."""
    flat = labels.ravel()
    pixels = np.flatnonzero(flat)[::-1]
    first = np.full(int(flat.max(initial=0)) + 1, flat.size)
    first[flat[pixels]] = pixels  # backwards, so that the first pixel is what stays
    present = np.flatnonzero(first < flat.size)
    table = np.zeros(len(first), np.int32)
    table[present[np.argsort(first[present])]] = np.arange(1, len(present) + 1)
    numbered: NDArray[np.int32] = table[labels]
    return numbered


def _settle_rest(labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> None:
    """What growth left joins, in place, the object it touches along the most 8-neighbour pixel pairs; what touches none is an object."""
    rest, count = ndimage.label(mask & (labels == 0), _EIGHT, output=np.int32)
    if not count:
        return
    pairs = _contacts(rest, labels)  # (pairs, 2): component, object
    top = int(labels.max(initial=0))
    new = np.zeros(count + 1, np.int32)
    contacts, length = np.unique(pairs, axis=0, return_counts=True)
    # Longest contact first, then the smaller number: the first row of each component decides.
    order = np.lexsort((contacts[:, 1], -length, contacts[:, 0]))
    component, decisive = np.unique(contacts[order, 0], return_index=True)
    new[component] = contacts[order[decisive], 1]
    alone = np.flatnonzero(new == 0)[1:]
    new[alone] = top + np.arange(1, len(alone) + 1)
    labels += new[rest]


def _contacts(rest: NDArray[np.int32], labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """All 8-neighbour pixel pairs between a component of `rest` and an object."""
    padded = np.pad(labels, 1)
    y, x = np.nonzero(rest)
    found = []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            other = padded[y + 1 + dy, x + 1 + dx]
            touching = other > 0
            found.append(np.stack([rest[y[touching], x[touching]], other[touching]], axis=1))
    return np.concatenate(found)
