"""Checks the pixels of a mask image before its slide is tiled, in a few milliseconds.

Of a large image only some windows are read, and of a large image that must be decoded as a whole
only the header: `tiling.qupath.mask_images` checks all pixels when the labels are made.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import label_block
from tiling.outlines.mask_image import (
    check_label_image,
    mask_errors,
    mask_shape,
    open_mask_image,
)
from tiling.outlines.regular_file import open_regular_file
from tiling.raster.mask_rules import (
    mask_problem,
    one_channel,
    pieces,
    shares_one_number,
    solid_numbers,
)
from tiling.slide_errors import AnnotationError
from tiling.slides.read_errors import file_read_errors
from tiling.slides.tiff_directories import TIFF_SIGNATURES

_MAX_WHOLE_PX = 1 << 20
_WINDOW_PX, _WINDOWS_PER_SIDE = 256, 3
_EDGE_PX = 3  # a gland that ends there may be solid outside of the window
_MAX_TILE_PX = 1 << 20


def check_mask_pixels(path: Path) -> str | None:
    """What a person should know about a mask image that may be used; None: nothing.

    Raises
    ------
    AnnotationError
        The file cannot be read, or its pixels are not those of a mask of glands, see
        `tiling.raster.mask_rules`.
    """
    height, width = mask_shape(path)
    is_small = height * width <= _MAX_WHOLE_PX
    if not is_small and not _is_tiff(path):
        return None
    with open_mask_image(path) as image:
        check_label_image(image, path)
        with mask_errors(path, "damaged mask image"), file_read_errors():
            if is_small:
                problem, message = _whole_check(_numbers(image[...]))
            else:
                problem, message = _window_problem(image), None
    if problem is not None:
        raise AnnotationError(f"{path}: {problem}")
    return message


def _is_tiff(path: Path) -> bool:
    with open_regular_file(path) as file:
        return file.read(4) in TIFF_SIGNATURES


def _numbers(pixels: Any) -> NDArray[np.int64]:  # noqa: ANN401  # part of an image
    return one_channel(np.asarray(pixels)).astype(np.int64)


def _whole_check(pixels: NDArray[np.int64]) -> tuple[str | None, str | None]:
    """The problem of a mask, and the message."""
    numbers = np.unique(pixels)
    problem = mask_problem(numbers, solid_numbers(np.pad(pixels, 1, mode="edge")))
    if problem is not None or shares_one_number(numbers):
        return problem, None
    height, width = pixels.shape
    block = (slice(0, height), slice(0, width))
    parts = pieces(pixels, label_block(pixels > 0, block, width)[0])
    return parts.problem(), parts.message()


def _window_problem(image: Any) -> str | None:  # noqa: ANN401  # zarr array
    """The problem of the numbers in some windows of a large mask; None: none is seen."""
    if np.prod(image.chunks[:2]) > _MAX_TILE_PX:
        return None
    numbers: set[int] = set()
    solid: set[int] = set()
    for window in _windows(image.shape[0], image.shape[1]):
        pixels = _numbers(image[window])
        inner = pixels[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX]
        numbers.update(np.unique(inner).tolist())
        solid.update(solid_numbers(pixels).tolist())
    ascending = np.array(sorted(numbers))
    return mask_problem(ascending, np.array(sorted(solid & numbers)))


def _windows(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Windows in rows and columns, at equal distances."""
    tops, lefts = (
        np.linspace(0, side - _WINDOW_PX, _WINDOWS_PER_SIDE).astype(int).tolist()
        for side in (max(height, _WINDOW_PX), max(width, _WINDOW_PX))
    )
    for top in tops:
        for left in lefts:
            yield (slice(top, top + _WINDOW_PX), slice(left, left + _WINDOW_PX))
