"""Exact area averages, for slides and for images.

Output pixel i of an axis is the mean of the source over [i r, (i + 1) r), where r is the reduction:
source pixels count in proportion to what they share with that interval. At the far edge it is the
mean of the source pixels that exist. An output pixel depends on i alone, so an array does not
depend on the blocks in which it is computed.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Block

# A resolution that differs by at most this share from the one asked for is used as it is. The
# quotient of sizes that differ by exactly 5 % may be rounded up: 1 / (0.5 / 0.525) - 1 > 0.05.
RESOLUTION_TOLERANCE = 0.05 * (1 + 1e-9)
# A last output pixel that would cover less than this part of a source pixel is a rounding error.
_SLIVER_PX = 1e-3


class SourceOverlap(NamedTuple):
    """Source pixels that the output pixels of an axis share area with.

    Attributes
    ----------
    pixel : int64 (T, n), source pixels of each of the n output pixels
    weight : float64 (T, n), length that is shared, 0 to 1 source pixels
    """

    pixel: NDArray[np.int64]
    weight: NDArray[np.float64]


def preferred_reduction(reduction: float) -> float:
    """The nearest whole number if it is within 5 % (`RESOLUTION_TOLERANCE`), else the reduction.

    Output pixels then end on source pixels.

    >>> preferred_reduction(1.96), preferred_reduction(2.5), preferred_reduction(0.5 / 0.525)
    (2.0, 2.5, 1.0)
    """
    nearest_integer = max(round(reduction), 1)
    is_close = abs(nearest_integer / reduction - 1) <= RESOLUTION_TOLERANCE
    return float(nearest_integer) if is_close else reduction


def reduced_size(source_px: int, reduction: float) -> int:
    """Number of output pixels that cover an axis of the source.

    >>> reduced_size(10, 4.0), reduced_size(12, 4.0)
    (3, 3)
    """
    return max(math.ceil(source_px / reduction - _SLIVER_PX / reduction), 1)


def reduced_shape(shape: tuple[int, int], reduction: tuple[float, float]) -> tuple[int, int]:
    """Size (height, width) of the output for a source of shape (H, W)."""
    return reduced_size(shape[0], reduction[0]), reduced_size(shape[1], reduction[1])


def source_span(target: slice, reduction: float, source_px: int) -> slice:
    """Source pixels that output pixels share area with, clipped to the source.

    >>> source_span(slice(1, 3), 2.5, 100), source_span(slice(0, 4), 3.0, 10)
    (slice(2, 8, None), slice(0, 10, None))
    """
    stop = min(math.ceil(target.stop * reduction), source_px)
    # An output pixel that starts at the far edge of the source takes the last source pixel.
    return slice(min(math.floor(target.start * reduction), stop - 1, source_px - 1), stop)


def area_average(
    source: NDArray[np.uint8],
    reduction: tuple[float, float],
    *,
    block: Block | None = None,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.uint8]:
    """Area average of an image, or of one block of it.

    Parameters
    ----------
    source : uint8 (H, W, C), the image, or the part of it that `source_span` names for the block
    reduction : (y, x) source pixels per output pixel, >= 1
    block : rows and columns of the output, in output pixels; None: all of the image
    origin : (y, x) of the first pixel of `source` in the whole image

    Returns
    -------
    ndarray
        uint8 (h, w, C), rounded half up.
    """
    block = block or _all_of(source, reduction)
    if all(float(factor).is_integer() for factor in reduction):
        reduced = _whole_average(source, int(reduction[0]), int(reduction[1]))
        return _extended(reduced, block)
    mean = mean_area(source, reduction, block=block, origin=origin)
    rounded: NDArray[np.uint8] = np.floor(mean + np.float32(0.5)).astype(np.uint8)
    return rounded


def mean_area(
    source: NDArray[Any],
    reduction: tuple[float, float],
    *,
    block: Block | None = None,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.float32]:
    """The same average without rounding, float32, of an array (H, W) or (H, W, C).

    A reduction below 1 enlarges: output pixels inside one source pixel have its value.
    """
    mean: NDArray[Any] = source
    blocks = block or _all_of(source, reduction)
    for axis, (target, start, factor) in enumerate(zip(blocks, origin, reduction, strict=True)):
        stop = start + source.shape[axis]
        mean = _average_axis(mean, axis, source_overlap(target, factor, start, stop), start)
    return mean


def source_overlap(target: slice, factor: float, start: int, stop: int) -> SourceOverlap:
    """What output pixels of an axis share with the source pixels start..stop - 1.

    Parameters
    ----------
    target : output pixels
    factor : source pixels per output pixel
    """
    index = np.arange(target.start, target.stop)
    low, high = index * factor, (index + 1) * factor
    first = np.minimum(np.floor(low).astype(np.int64), stop - 1)
    pixel = first + np.arange(math.ceil(factor) + 1)[:, None]
    weight = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, 1)
    weight[pixel >= stop] = 0
    # An output pixel that lies completely behind the source repeats the last source pixel.
    weight[0, low >= stop] = 1
    used = weight.any(axis=1)
    return SourceOverlap(np.clip(pixel, start, stop - 1)[used], weight[used])


def _all_of(source: NDArray[Any], reduction: tuple[float, float]) -> Block:
    height, width = reduced_shape((source.shape[0], source.shape[1]), reduction)
    return slice(0, height), slice(0, width)


def _average_axis(
    source: NDArray[Any], axis: int, overlap: SourceOverlap, start: int
) -> NDArray[np.float32]:
    """Mean along one axis. The order of the additions is fixed: floats do not depend on blocks."""
    count = overlap.pixel.shape[1]
    shape = [1] * source.ndim
    shape[axis] = count
    total = np.zeros((*source.shape[:axis], count, *source.shape[axis + 1 :]), np.float32)
    weight_sum = np.zeros(count, np.float64)
    for pixel, weight in zip(overlap.pixel, overlap.weight, strict=True):
        weight_sum += weight
        total += source.take(pixel - start, axis=axis) * weight.astype(np.float32).reshape(shape)
    scale: NDArray[np.float32] = (1 / weight_sum).astype(np.float32)
    return total * scale.reshape(shape)


def _whole_average(source: NDArray[np.uint8], down: int, across: int) -> NDArray[np.uint8]:
    """Mean of down x across pixels in integer arithmetic, rounded half up."""
    count = down * across
    if count == 1:
        return source
    largest_sum = np.iinfo(np.uint8).max * count + count // 2
    dtype = np.dtype(np.uint16 if largest_sum <= np.iinfo(np.uint16).max else np.uint32)
    total = _group_sums(np.moveaxis(_group_sums(source, down, dtype), 1, 0), across, dtype)
    height, width = source.shape[:2]
    counts = np.outer(_group_sizes(width, across), _group_sizes(height, down)).astype(dtype)
    counts = counts[..., None]
    total += counts // 2
    total //= counts
    return np.ascontiguousarray(np.moveaxis(total.astype(np.uint8), 0, 1))


def _group_sums(values: NDArray[Any], size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Sums of `size` neighbours along the first axis; the last group may have fewer."""
    total = values[::size].astype(dtype)
    for offset in range(1, size):
        part = values[offset::size]
        total[: len(part)] += part
    return total


def _group_sizes(length: int, size: int) -> NDArray[np.int64]:
    return np.diff(np.append(np.arange(0, length, size), length))


def _extended(reduced: NDArray[np.uint8], block: Block) -> NDArray[np.uint8]:
    """The last row and column repeated where the block reaches beyond the source."""
    rows, columns = block
    below = rows.stop - rows.start - reduced.shape[0]
    right = columns.stop - columns.start - reduced.shape[1]
    if not below and not right:
        return reduced
    return np.pad(reduced, ((0, below), (0, right), (0, 0)), mode="edge")
