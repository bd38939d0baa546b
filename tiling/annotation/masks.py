"""Instance mask images as truth: one whole number per gland, 0 = background."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.errors import AnnotationError
from tiling.geometry import Geometry

_EIGHT = np.ones((3, 3), bool)
_BAND_PX = 1024


def mask_labels(path: Path, geometry: Geometry) -> NDArray[np.int32]:
    """Labels of a mask image on the stored grid, int32 (height_px, width_px), numbered from 1.

    The image has the size of level 0 or of the stored grid; of a larger one the pixel under each stored pixel's centre is taken, so that
    numbers stay numbers. A mask of one value is split into its 8-connected components. Read in bands of rows where the file allows it.

    Raises
    ------
    AnnotationError
        Another size, several channels, or fractions.
    """
    image = _opened(path)
    if len(image.shape) != 2 or image.dtype.kind not in "uib":
        raise AnnotationError(
            f"{path}: {image.dtype} {tuple(image.shape)} is not an instance mask; give one channel of whole numbers, one per gland"
        )
    size, stored = tuple(image.shape), (geometry.height_px, geometry.width_px)
    level0 = (geometry.slide_height_px, geometry.slide_width_px)
    if size not in (stored, level0):
        raise AnnotationError(
            f"{path}: {size[1]} x {size[0]} px, but the slide has {level0[1]} x {level0[0]} "
            f"(and {stored[1]} x {stored[0]} at the working resolution)"
        )
    scale = (1.0, 1.0) if size == stored else (geometry.downsample_y, geometry.downsample_x)
    rows, columns = (
        np.minimum(((np.arange(count) + 0.5) * d).astype(np.int64), limit - 1) for count, d, limit in zip(stored, scale, size, strict=True)
    )
    picked = np.zeros(stored, np.int64)
    for start in range(0, stored[0], _BAND_PX):
        wanted = rows[start : start + _BAND_PX]
        band = np.asarray(image[int(wanted[0]) : int(wanted[-1]) + 1])
        picked[start : start + _BAND_PX] = band[wanted - wanted[0]][:, columns]
    numbers, labels = np.unique(picked, return_inverse=True)
    labels = labels.reshape(stored) + (0 if numbers[0] == 0 else 1)
    if numbers.max() == 0 or len(numbers[numbers != 0]) > 1:
        return labels.astype(np.int32)
    return np.asarray(ndimage.label(labels, _EIGHT)[0], np.int32)


def _opened(path: Path) -> Any:  # noqa: ANN401  # numpy or zarr array
    """The image, lazily where it is a TIFF."""
    import tifffile
    import zarr
    from PIL import Image, UnidentifiedImageError

    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            found = zarr.open(tifffile.imread(path, aszarr=True, level=0), mode="r")
            return found if isinstance(found, zarr.Array) else found["0"]
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError, tifffile.TiffFileError) as error:
        raise AnnotationError(f"{path}: cannot be read as a mask image ({error})") from error
