"""Regions of labelled slides that are held out for validation when there is no validation slide.

Regions that one training window could contain together are held out together: what is held out must
never be in a training window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window


@dataclass(frozen=True)
class HeldOutRegions:
    """Which regions are held out.

    Attributes
    ----------
    windows : for each slide, the bounding windows of its held-out regions, in stored pixels
    group_count, held_out_count : number of groups of regions, and of groups that are held out
    """

    windows: list[list[Window]]
    group_count: int
    held_out_count: int


def hold_out_regions(
    regions: Sequence[Sequence[Window]], *, distance_px: int, share: float, seed: int
) -> HeldOutRegions | None:
    """Draw groups of regions to hold out, over all slides; None with fewer than two groups.

    Parameters
    ----------
    regions : bounding windows of the regions of each slide
    distance_px : regions that are closer belong to one group (the side of a training window)
    share : share of the groups that is held out; at least one group is, and at least one is not
    seed : of the draw
    """
    groups = [
        (slide, group)
        for slide, windows in enumerate(regions)
        for group in group_regions(windows, distance_px)
    ]
    if len(groups) < 2:
        return None
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    chosen = np.random.default_rng(seed).choice(len(groups), count, replace=False)
    held_out: list[list[Window]] = [[] for _ in regions]
    for number in sorted(chosen.tolist()):
        slide, group = groups[number]
        held_out[slide].extend(group)
    return HeldOutRegions(held_out, len(groups), count)


def group_regions(regions: Sequence[Window], distance_px: int) -> list[list[Window]]:
    """Regions in groups; regions of different groups are at least `distance_px` apart.

    >>> close = [Window(0, 0, 10, 10), Window(15, 0, 5, 5)]
    >>> group_regions([close[0], Window(100, 0, 10, 10), close[1]], 8) == [
    ...     [Window(100, 0, 10, 10)], close]
    True
    """
    groups: list[list[Window]] = []
    for region in regions:
        y, x, height, width = region
        grown = Window(
            y - distance_px, x - distance_px, height + 2 * distance_px, width + 2 * distance_px
        )
        apart, joined = [], []
        for group in groups:
            if any(member.overlaps(grown) for member in group):
                joined.extend(group)
            else:
                apart.append(group)
        groups = [*apart, [*joined, region]]
    return groups


def overlaps_any(windows: NDArray[np.int64], regions: Sequence[Window]) -> NDArray[np.bool_]:
    """Which windows share a pixel with at least one region.

    Parameters
    ----------
    windows : int64 (N, 4), y, x, height, width

    Returns
    -------
    bool (N,)
    """
    overlaps = np.zeros(len(windows), bool)
    y, x, height, width = windows.T
    for region in regions:
        rows = (y < region.bottom) & (y + height > region.y)
        overlaps |= rows & (x < region.right) & (x + width > region.x)
    return overlaps
