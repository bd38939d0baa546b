"""The depth of a gland mask on reduced pixels, for the split by prominence.

A reduced pixel is a square of stored pixels, about 2 um wide, aligned to the image. Its depth is
the mean of the predicted signed distance: the mean removes noise, and there are fewer pixels.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tiling.raster.quantise import PROBABILITY_SCALE, SDF_SCALE

Number = TypeVar("Number", np.uint16, np.int32)
_REDUCED_PX_UM = 2.0
# Depths are quarters of a level of the quantised distance: means over 4 pixels are exact.
_STEPS_PER_LEVEL = 4


def reduced_px_side(mpp_um: float) -> int:
    """Side of a reduced pixel in stored pixels of `mpp_um`.

    >>> [reduced_px_side(mpp_um) for mpp_um in (0.25, 1.0, 2.5)]
    [8, 2, 1]
    """
    return max(round(_REDUCED_PX_UM / mpp_um), 1)


def depth_steps(distance_um: float, sdf_um: float) -> int:
    """A distance in steps of the reduced depth, at least one.

    Parameters
    ----------
    sdf_um : distance at which the signed distance saturates, um

    >>> depth_steps(4.0, 20.0)
    102
    """
    return max(round(_STEPS_PER_LEVEL * SDF_SCALE * distance_um / sdf_um), 1)


def reduced_depth(
    mask: NDArray[np.bool_], level: NDArray[np.uint8] | None, side: int
) -> NDArray[np.uint16]:
    """Depth of the mask on reduced pixels.

    Parameters
    ----------
    mask : bool (H, W)
    level : uint8 (H, W), quantised signed distance; None: all depths are equal
    side : of a reduced pixel; at the far edges of the image a reduced pixel may be smaller, and
        the outermost pixels are repeated

    Returns
    -------
    ndarray
        uint16 (h, w): 0 without any pixel of the mask, otherwise 1 + 4 times the mean level, at
        most 1021.
    """
    inside = _reduced(mask.view(np.uint8), side, np.maximum, np.uint8)
    if level is None:
        return inside.astype(np.uint16)
    # Sums of 8 x 8 pixels fit into 16 bits, those of larger squares do not.
    total = _reduced(level, side, np.add, np.uint16 if side <= 8 else np.uint32)
    if side == 1:
        total *= _STEPS_PER_LEVEL
    elif side > 2:
        total = (total.astype(np.uint32) * _STEPS_PER_LEVEL // side**2).astype(np.uint16)
    total += 1
    total *= inside
    return total


def reduced_maximum(values: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Largest value of each reduced pixel, uint8 (h, w)."""
    return _reduced(values, side, np.maximum, np.uint8)


def lowered_levels(
    sdf: NDArray[np.uint8], boundary: NDArray[np.uint8], weight: float
) -> NDArray[np.uint8]:
    """The quantised signed distance, lowered where the boundary probability is high.

    Parameters
    ----------
    sdf, boundary : uint8 (H, W), quantised
    weight : how much a boundary probability of 1 lowers the signed distance, in [0, 2]

    >>> lowered_levels(np.array([[200, 10]], np.uint8), np.array([[255, 255]], np.uint8), 0.5)
    array([[136,   0]], dtype=uint8)
    """
    steps = np.arange(PROBABILITY_SCALE + 1) * (weight * SDF_SCALE / PROBABILITY_SCALE)
    table = np.minimum(np.rint(steps), 255).astype(np.uint8)
    lowered: NDArray[np.uint8] = sdf - np.minimum(sdf, table[boundary])
    return lowered


def enlarged(reduced: NDArray[Number], side: int, mask: NDArray[np.bool_]) -> NDArray[Number]:
    """Values of reduced pixels on their stored pixels in the mask, (H, W); elsewhere 0."""
    if side == 1:
        return reduced * mask
    columns = np.empty((len(reduced), mask.shape[1]), reduced.dtype)
    for offset in range(side):
        part = columns[:, offset::side]
        part[...] = reduced[:, : part.shape[1]]
    values = np.empty(mask.shape, reduced.dtype)
    for offset in range(side):
        part = values[offset::side]
        np.multiply(columns[: len(part)], mask[offset::side], out=part)
    return values


def _reduced(
    values: NDArray[np.uint8], side: int, combine: np.ufunc, dtype: type[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """Combine the pixels of each square."""
    if side == 1:
        return values.astype(dtype)
    missing = [(0, -length % side) for length in values.shape]
    if any(after for _, after in missing):
        values = np.pad(values, missing, mode="edge")
    # Row by row, then column by column: a reduction over both axes at once takes longer.
    rows = values[::side].astype(dtype)
    for offset in range(1, side):
        combine(rows, values[offset::side], out=rows)
    columns = np.ascontiguousarray(rows[:, ::side])
    for offset in range(1, side):
        combine(columns, rows[:, offset::side], out=columns)
    return columns
