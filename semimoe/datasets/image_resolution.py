"""From the resolution of an image to the one a network works at, and back.

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

SQUARE_PX = 256  # the paper


@dataclass(frozen=True)
class Resolution:
    """How images are brought to the pixels that a network sees: one path for training, validation and prediction.

    Attributes
    ----------
    image_mpp_um : pixel size of the images as they are, um
    mpp_um : pixel size of the network, um. Of a square: that of an image of usual size
    square_px : squeeze every image to this many pixels on both sides (the paper: 256); None: both axes alike
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
        """uint8 (3, H, W) at the working resolution, by area averaging."""
        reduction = self.reduction(_plane(image))
        reduced = area_average(image.transpose(1, 2, 0), reduction)
        return np.ascontiguousarray(reduced.transpose(2, 0, 1))

    def labels(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 (H, W) at the working resolution, by majority."""
        return majority(labels, self.reduction(_plane(labels)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def isotropic(image_mpp_um: float, work_mpp_um: float | None) -> Resolution:
    """Images reduced alike on both axes; `mpp_um` is what comes out of it.

    A whole reduction within 5 % of what is asked for is taken: working pixels then end on image pixels.

    >>> isotropic(0.62005, 1.24).mpp_um, isotropic(0.5, 1.25).reduction((100, 100))
    (1.2401, (2.5, 2.5))

    Raises
    ------
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
            f"images of {image_mpp_um:g} um per pixel are coarser than the working {work_mpp_um:g}; work at a larger mpp, or correct --mpp"
        )
    return Resolution(image_mpp_um, image_mpp_um * preferred_reduction(work_mpp_um / image_mpp_um))


def squeezed(image_mpp_um: float, shapes: Sequence[tuple[int, int]], *, side_px: int) -> Resolution:
    """Every image squeezed to a square, as the paper does; shapes are (H, W) of the images trained on.

    `mpp_um` is that of a square pixel of the same area in an image of median size: it only tells sizes in um apart from nonsense.
    """
    area = float(np.median([height * width for height, width in shapes]))
    return Resolution(image_mpp_um, image_mpp_um * math.sqrt(area) / side_px, side_px)


def _plane(array: NDArray[Any]) -> tuple[int, int]:
    return array.shape[-2], array.shape[-1]


def square_map(values: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Area average of a map (h, w) on side_px x side_px pixels; finer ones share the value they lie in."""
    height, width = values.shape
    if values.shape == (side_px, side_px):
        return values
    return mean_area(values, (height / side_px, width / side_px))


def majority(labels: NDArray[np.int32], reduction: tuple[float, float]) -> NDArray[np.int32]:
    """The number that covers most of each output pixel; of equals the one under its centre, which keeps areas right on average.

    Parameters
    ----------
    labels : int32 (H, W)
    reduction : (y, x) source pixels per output pixel

    Returns
    -------
    ndarray
        int32 (h, w), see `reduced_shape`.

    >>> majority(np.array([[1, 0, 2, 2], [0, 0, 2, 7]], np.int32), (2.0, 2.0)).tolist()
    [[0, 2]]
    """
    if reduction == (1, 1):
        return labels
    height, width = reduced_shape(_plane(labels), reduction)
    y, x = (
        source_overlap(slice(0, size), factor, 0, side)
        for size, factor, side in zip((height, width), reduction, labels.shape, strict=True)
    )
    # (T, h, w): every source pixel that an output pixel touches, and the area it shares with it.
    number = labels[y.pixel[:, None, :, None], x.pixel[None, :, None, :]].reshape(-1, height, width)
    area = (y.weight[:, None, :, None] * x.weight[None, :, None, :]).reshape(-1, height, width)
    centre = labels[
        np.ix_(
            _centres(height, reduction[0], labels.shape[0]),
            _centres(width, reduction[1], labels.shape[1]),
        )
    ]
    best, most = centre, np.where(number == centre, area, 0).sum(0)
    for one in number:
        covered = np.where(number == one, area, 0).sum(0)
        more = covered > most + 1e-9
        best, most = np.where(more, one, best), np.where(more, covered, most)
    return best


def enlarged(
    labels: NDArray[np.int32], reduction: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Working labels on the pixels of the image they were found in, by nearest neighbour.

    >>> enlarged(np.array([[1, 2]], np.int32), (2.0, 2.0), (1, 3)).tolist()
    [[1, 1, 2]]
    """
    rows, columns = (
        np.minimum(((np.arange(side) + 0.5) / factor).astype(int), known - 1)
        for side, factor, known in zip(shape, reduction, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _centres(size: int, factor: float, source: int) -> NDArray[np.int64]:
    return np.minimum(((np.arange(size) + 0.5) * factor).astype(np.int64), source - 1)
