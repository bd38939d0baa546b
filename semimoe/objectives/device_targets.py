"""Targets of a batch as tensor operations on a GPU: the values of `targets`, without a copy.

`targets` uses scipy, which is faster on a CPU. Both give the same values, except where only pixels
without annotation separate two glands: here each is measured to the other one.

B batch, H, W height and width of a tile in px.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from semimoe.objectives.losses import Targets
from semimoe.objectives.targets import RING, RING_PX
from semimoe.settings import NetworkSettings

# Squared distance to a pixel that does not exist, larger than any in a tile, px2.
_FAR_PX2 = 1e9
# Index of a pixel that does not exist: so far before the first pixel that it is never the nearest.
_NONE = -20000
_MOST_VALUES_AT_ONCE = 2**28


def make_device_targets(
    labels: Tensor, weight: Tensor, *, mpp_um: float, network: NetworkSettings
) -> Targets:
    """Compute the targets of a batch, see `semimoe.objectives.targets.make_targets`.

    Parameters
    ----------
    labels : int32 (B, H, W), 0 background, 1..N one gland each
    weight : uint8 (B, H, W), 0 where nothing is annotated
    mpp_um : size of a pixel, um
    """
    annotated = weight > 0
    annotated_labels = labels * annotated
    glands = annotated_labels > 0
    instances = annotated_labels if network.boundary == "instance" else glands.int()
    if network.sdf_scale != "tile":
        saturation_px = network.sdf_um / mpp_um
        distance = distance_to_other_label(
            instances, annotated, reach_px=math.ceil(saturation_px + 0.5)
        )
        signed_px = torch.where(glands, distance - 0.5, 0.5 - distance)
        sdf = (signed_px / saturation_px).clamp(-1, 1)
    else:
        sdf = _tile_scaled_distance(glands, annotated)
    boundary = _has_another_gland(instances, RING) & annotated
    return Targets(glands.long(), sdf[:, None], boundary.long())


def distance_to_other_label(labels: Tensor, counts: Tensor, *, reach_px: int) -> Tensor:
    """Distance of each pixel to the nearest pixel that counts and has another label, px.

    First the nearest such pixels of each row are found, as in the separable distance transform of
    Felzenszwalb and Huttenlocher (2012). The label that a pixel of another row must differ from is
    not known then, so each pixel keeps the two nearest pixels of its row with different labels.

    Parameters
    ----------
    labels : int (B, H, W)
    counts : bool (B, H, W)
    reach_px : longer distances may be too large

    Returns
    -------
    Tensor
        float32 (B, H, W).
    """
    nearest = _nearest_in_rows(labels, counts)
    reach_px = min(reach_px, labels.shape[1] - 1)
    padding = (0, 0, reach_px, reach_px)
    other_label = functional.pad(nearest.label, padding)
    first = functional.pad(nearest.first_px.float() ** 2, padding, value=_FAR_PX2)
    second = functional.pad(nearest.second_px.float() ** 2, padding, value=_FAR_PX2)
    best = torch.full(labels.shape, _FAR_PX2, device=labels.device)
    rows = 2 * reach_px + 1
    rows_at_once = max(1, min(rows, _MOST_VALUES_AT_ONCE // labels.numel()))
    for start in range(0, rows, rows_at_once):
        count = min(rows_at_once, rows - start)
        part = slice(start, start + labels.shape[1] + count - 1)
        # (B, H, W, count): the values in the rows from `start - reach_px` on, relative to each row
        label, near, far = (
            array[:, part].unfold(1, count, 1) for array in (other_label, first, second)
        )
        offset = torch.arange(start - reach_px, start - reach_px + count, device=labels.device)
        squared = torch.where(label != labels[..., None], near, far) + offset.float() ** 2
        best = torch.minimum(best, squared.amin(-1))
    return best.sqrt()


class _NearestInRow(NamedTuple):
    """The nearest pixel of the row that counts, and the nearest one with another label than it.

    Attributes
    ----------
    label : label of the first one, (B, H, W)
    first_px, second_px : distance to each of them, int (B, H, W)
    """

    label: Tensor
    first_px: Tensor
    second_px: Tensor


def _nearest_in_rows(labels: Tensor, counts: Tensor) -> _NearestInRow:
    before = _nearest_before(labels, counts)
    after = _NearestInRow(
        *(part.flip(2) for part in _nearest_before(labels.flip(2), counts.flip(2)))
    )
    is_before = before.first_px <= after.first_px
    nearer, farther = (
        _NearestInRow(*(torch.where(is_before, *pair) for pair in zip(*sides, strict=True)))
        for sides in ((before, after), (after, before))
    )
    other_side = torch.where(farther.label != nearer.label, farther.first_px, farther.second_px)
    return nearer._replace(second_px=torch.minimum(nearer.second_px, other_side))


def _nearest_before(labels: Tensor, counts: Tensor) -> _NearestInRow:
    """As `_nearest_in_rows`, among the pixels at the left of each pixel and itself."""
    columns = torch.arange(labels.shape[2], device=labels.device, dtype=torch.int32)
    columns = columns.expand(labels.shape)
    first = torch.where(counts, columns, _NONE).cummax(2).values
    label = _at(labels, first)
    previous = functional.pad(first, (1, 0), value=_NONE)[..., :-1]
    # The first pixel of each run of equal labels, among the pixels that count.
    starts_run = counts & ((previous < 0) | (_at(labels, previous) != labels))
    run_start = torch.where(starts_run, columns, _NONE).cummax(2).values
    second = torch.where(run_start < 0, _NONE, _at(previous, run_start))
    return _NearestInRow(label, columns - first, columns - second)


def _at(values: Tensor, columns: Tensor) -> Tensor:
    """Values of (B, H, W) in other columns of the same row; of column 0 for no column."""
    return torch.gather(values, 2, columns.clamp(min=0).long())


def _tile_scaled_distance(glands: Tensor, annotated: Tensor) -> Tensor:
    """Signed distance with the scale of the paper, see `targets`."""
    background = annotated & ~glands
    distance = distance_to_other_label(glands.int(), annotated, reach_px=glands.shape[1])
    inside, outside = distance * glands, distance * background
    largest_inside, largest_outside = (
        side.flatten(1).amax(1).clamp(min=1)[:, None, None] for side in (inside, outside)
    )
    signed = inside / largest_inside - outside / largest_outside
    touches_background = functional.max_pool2d(
        background[:, None].float(), (3, 1), stride=1, padding=(1, 0)
    ) + functional.max_pool2d(background[:, None].float(), (1, 3), stride=1, padding=(0, 1))
    signed = signed.masked_fill(glands & (touches_background[:, 0] > 0), 0)
    has_both = glands.flatten(1).any(1) & background.flatten(1).any(1)
    return torch.where(has_both[:, None, None], signed, torch.where(glands, 1.0, -1.0))


def _has_another_gland(instances: Tensor, offsets: list[tuple[int, int]]) -> Tensor:
    """Whether a pixel of another gland than its own lies at one of the offsets of a pixel."""
    height, width = instances.shape[1:]
    padded = functional.pad(instances, (RING_PX,) * 4)
    result = torch.zeros_like(instances, dtype=torch.bool)
    for y, x in offsets:
        top, left = RING_PX + y, RING_PX + x
        shifted = padded[:, top : top + height, left : left + width]
        result |= (shifted > 0) & (shifted != instances)
    return result
