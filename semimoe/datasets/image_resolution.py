"""Brings images to the working resolution of a network, and labels back to that of the images.

Images are reduced by the same area average as slides (`tiling.raster.area_average`).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semimoe.model_errors import DataError, SettingsError
from tiling.raster.area_average import (
    RESOLUTION_TOLERANCE,
    area_average,
    mean_area,
    preferred_reduction,
    reduced_shape,
    source_overlap,
)

SQUARE_PX = 256  # of the paper


@dataclass(frozen=True)
class Resolution:
    """How images are brought to the pixels of a network, the same in training and prediction.

    Attributes
    ----------
    image_mpp_um : pixel size of the images, um
    mpp_um : pixel size of the network, um. If images are resized to a square: pixel size in an
        image of median size
    square_px : every image is resized to this many pixels on both sides (the paper: 256); None:
        both axes are reduced by the same factor
    """

    image_mpp_um: float
    mpp_um: float
    square_px: int | None = None

    def reduction(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Image pixels per working pixel, (y, x), of an image of shape (H, W)."""
        if self.square_px is not None:
            return shape[0] / self.square_px, shape[1] / self.square_px
        factor = preferred_reduction(self.mpp_um / self.image_mpp_um)
        return factor, factor

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image uint8 (3, H, W) at the working resolution, by area averaging."""
        reduction = self.reduction(_plane(image))
        reduced = area_average(image.transpose(1, 2, 0), reduction)
        return np.ascontiguousarray(reduced.transpose(2, 0, 1))

    def labels(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Labels int32 (H, W) at the working resolution, by majority."""
        return reduce_labels(labels, self.reduction(_plane(labels)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def isotropic_resolution(image_mpp_um: float, work_mpp_um: float | None) -> Resolution:
    """Both axes reduced by the same factor; `mpp_um` is the pixel size that results.

    A whole factor within 5 % of the requested one is taken: working pixels then end on image
    pixels.

    >>> isotropic_resolution(0.62005, 1.24).mpp_um
    1.2401
    >>> isotropic_resolution(0.5, 1.25).reduction((100, 100))
    (2.5, 2.5)

    Parameters
    ----------
    work_mpp_um : requested pixel size, um; None: that of the images

    Raises
    ------
    SettingsError
        A pixel size is not above 0.
    DataError
        The images are coarser than the working resolution by more than 5 %.
    """
    for name, value in (("mpp", image_mpp_um), ("work-mpp", work_mpp_um)):
        if value is not None and not 0 < value < math.inf:
            raise SettingsError(f"{name} {value}: a pixel size above 0 um is needed")
    if work_mpp_um is None:
        return Resolution(image_mpp_um, image_mpp_um)
    if image_mpp_um > work_mpp_um * (1 + RESOLUTION_TOLERANCE):
        raise DataError(
            f"images of {image_mpp_um:g} um per pixel are coarser than the working resolution "
            f"{work_mpp_um:g}; work at a larger mpp, or correct --mpp"
        )
    return Resolution(image_mpp_um, image_mpp_um * preferred_reduction(work_mpp_um / image_mpp_um))


def square_resolution(
    image_mpp_um: float, shapes: Sequence[tuple[int, int]], *, side_px: int
) -> Resolution:
    """Every image resized to a square, as in the paper.

    `mpp_um` is the root of the area of a square pixel in an image of median size. It is exact for
    no image, but good enough for limits in um.

    Parameters
    ----------
    shapes : (H, W) of the training images
    """
    area = float(np.median([height * width for height, width in shapes]))
    return Resolution(image_mpp_um, image_mpp_um * math.sqrt(area) / side_px, side_px)


def resize_to_square(values: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Area average of a map (h, w) on side_px x side_px pixels.

    Pixels that are smaller than those of the map take their value.
    """
    height, width = values.shape
    if values.shape == (side_px, side_px):
        return values
    return mean_area(values, (height / side_px, width / side_px))


def reduce_labels(labels: NDArray[np.int32], reduction: tuple[float, float]) -> NDArray[np.int32]:
    """The label that covers most of each output pixel.

    Of equal ones, the label under the centre of the pixel is taken: so areas are right on average.
    For an even factor this is the lower right one of four, and outlines are shifted by about an
    eighth of a pixel; a choice that alternates would not shift them, but make straight ones jagged.

    Parameters
    ----------
    labels : int32 (H, W)
    reduction : (y, x) source pixels per output pixel

    Returns
    -------
    ndarray
        int32 (h, w), see `reduced_shape`.

    >>> reduce_labels(np.array([[1, 0, 2, 2], [0, 0, 2, 7]], np.int32), (2.0, 2.0)).tolist()
    [[0, 2]]
    """
    if reduction == (1, 1):
        return labels
    height, width = reduced_shape(_plane(labels), reduction)
    y, x = (
        source_overlap(slice(0, size), factor, 0, side)
        for size, factor, side in zip((height, width), reduction, labels.shape, strict=True)
    )
    # (T, h, w): the label of every source pixel under an output pixel, and the area they share.
    number = labels[y.pixel[:, None, :, None], x.pixel[None, :, None, :]].reshape(-1, height, width)
    area = (y.weight[:, None, :, None] * x.weight[None, :, None, :]).reshape(-1, height, width)
    rows = _source_centres(height, reduction[0], labels.shape[0])
    columns = _source_centres(width, reduction[1], labels.shape[1])
    best = labels[np.ix_(rows, columns)]
    best_area = np.where(number == best, area, 0).sum(0)
    for candidate in number:
        candidate_area = np.where(number == candidate, area, 0).sum(0)
        is_larger = candidate_area > best_area + 1e-9
        best = np.where(is_larger, candidate, best)
        best_area = np.where(is_larger, candidate_area, best_area)
    return best


def enlarge_labels(
    labels: NDArray[np.int32], reduction: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Labels of the working resolution on the pixels of their image, by nearest neighbour.

    Parameters
    ----------
    reduction : (y, x) image pixels per pixel of `labels`
    shape : (H, W) of the image

    >>> enlarge_labels(np.array([[1, 2]], np.int32), (2.0, 2.0), (1, 3)).tolist()
    [[1, 1, 2]]
    """
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) / factor).astype(int), source - 1)
        for side, factor, source in zip(shape, reduction, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _plane(array: NDArray[Any]) -> tuple[int, int]:
    return array.shape[-2], array.shape[-1]


def _source_centres(size: int, factor: float, source: int) -> NDArray[np.int64]:
    """Source pixel under the centre of each output pixel of an axis."""
    return np.minimum(((np.arange(size) + 0.5) * factor).astype(np.int64), source - 1)
