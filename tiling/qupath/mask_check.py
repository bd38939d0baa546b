"""Checks the pixels of a mask image before its slide is tiled.

A small mask is checked in this process, a large one in a child process with limits of time and
memory. Where they do not suffice, only some windows of a TIFF are checked:
`tiling.qupath.mask_images` checks all pixels when the labels are made.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tiling.child_process import ChildEndedError, ChildProcess, answer_requests
from tiling.outlines.mask_image import (
    check_label_image,
    mask_errors,
    mask_shape,
    open_mask_image,
)
from tiling.outlines.regular_file import open_regular_file
from tiling.qupath.mask_images import open_instance_mask
from tiling.raster.geometry import Geometry
from tiling.raster.mask_rules import different_numbers, mask_problem, one_channel, solid_numbers
from tiling.slide_errors import AnnotationError
from tiling.slides.read_errors import file_read_errors
from tiling.slides.tiff_directories import TIFF_SIGNATURES

# Checked in this process, in 0.1 s. The child process needs 1 s for 25 megapixels.
_MAX_SMALL_PX = 1 << 20
_MAX_LARGE_PX = 300_000_000
_LIMIT_S, _BUDGET_S = 20.0, 40.0
_WINDOW_PX, _WINDOWS_PER_SIDE = 256, 3
_EDGE_PX = 3  # a gland that ends there may be solid outside of the window
_MAX_TILE_PX = 1 << 20


class MaskCheck(NamedTuple):
    """What the check of a mask image that may be used has shown.

    Attributes
    ----------
    messages : what a person should know, one sentence each
    is_complete : whether all pixels were checked
    may_be_repeated : whether there was no time left for it, so that another call may check more
    """

    messages: tuple[str, ...] = ()
    is_complete: bool = True
    may_be_repeated: bool = False


class LargeMaskChecks:
    """Checks large masks in a child process; closed as a context manager.

    Parameters
    ----------
    limit_s : most seconds for one mask
    budget_s : most seconds for all masks together
    """

    def __init__(self, limit_s: float = _LIMIT_S, budget_s: float = _BUDGET_S) -> None:
        self._limit_s = limit_s
        self._end_s = time.monotonic() + budget_s
        self._child = ChildProcess(__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def check(self, path: Path) -> MaskCheck:
        """All pixels of a mask, as far as time and memory suffice.

        Raises
        ------
        AnnotationError
            See `check_mask_pixels`.
        """
        if time.monotonic() + self._limit_s > self._end_s:
            return MaskCheck(is_complete=False, may_be_repeated=True)
        try:
            answer = self._child.answer({"path": str(path)}, self._limit_s)
        except ChildEndedError as end:
            if (
                not end.is_crash
            ):  # out of time, or ended from outside: the mask need not be the cause
                return MaskCheck(is_complete=False, may_be_repeated=bool(end.status_text))
            raise AnnotationError(
                f"{path}: the library that decodes it ends the process ({end.status_text}); "
                "export or copy it again"
            ) from end
        if answer["problem"]:
            raise AnnotationError(answer["problem"])
        return MaskCheck(tuple(answer["messages"]), answer["is_complete"])


def check_mask_pixels(path: Path, large_masks: LargeMaskChecks | None = None) -> MaskCheck:
    """Check a mask image.

    Parameters
    ----------
    large_masks : None: of a large mask only some windows are checked

    Raises
    ------
    AnnotationError
        The file cannot be read, or its pixels are not those of a mask of glands, see
        `tiling.raster.mask_rules`.
    """
    height, width = mask_shape(path)
    if height * width <= _MAX_SMALL_PX:
        return _complete_check(path)
    if _is_tiff(path):
        _check_windows(path)
    if large_masks is None or height * width > _MAX_LARGE_PX:
        return MaskCheck(is_complete=False)
    return large_masks.check(path)


def _complete_check(path: Path) -> MaskCheck:
    """Check all pixels of a mask, at its own resolution."""
    height, width = mask_shape(path)
    geometry = Geometry(
        width_px=width,
        height_px=height,
        slide_width_px=width,
        slide_height_px=height,
        downsample_x=1,
        downsample_y=1,
        mpp_x=1,
        mpp_y=1,
        bounds_x=0,
        bounds_y=0,
        bounds_width_px=width,
        bounds_height_px=height,
    )
    with open_instance_mask(path, geometry) as mask:
        return MaskCheck(tuple(mask.messages))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """In the child process: the check of one mask, or its problem."""
    check, problem = MaskCheck(is_complete=False), ""
    try:
        check = _complete_check(Path(request["path"]))
    except MemoryError:
        pass  # the job has more memory
    except (ValueError, OSError) as error:
        problem = str(error)
    return {**check._asdict(), "problem": problem}


def _is_tiff(path: Path) -> bool:
    with open_regular_file(path) as file:
        return file.read(4) in TIFF_SIGNATURES


def _numbers(pixels: Any) -> NDArray[np.int64]:  # noqa: ANN401  # part of an image
    return one_channel(np.asarray(pixels)).astype(np.int64)


def _check_windows(path: Path) -> None:
    """Refuse a large mask by the numbers in some windows, in a few milliseconds."""
    with open_mask_image(path) as image:
        check_label_image(image, path)
        with mask_errors(path, "damaged mask image"), file_read_errors():
            problem = _window_problem(image)
    if problem is not None:
        raise AnnotationError(f"{path}: {problem}")


def _window_problem(image: Any) -> str | None:  # noqa: ANN401  # zarr array
    """The problem of the numbers in some windows of a large mask; None: none is seen."""
    if np.prod(image.chunks[:2]) > _MAX_TILE_PX:
        return None
    numbers: set[int] = set()
    solid: set[int] = set()
    for window in _windows(image.shape[0], image.shape[1]):
        pixels = _numbers(image[window])
        inner = pixels[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX]
        numbers.update(different_numbers(inner).tolist())
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


if __name__ == "__main__":
    answer_requests(_answer)
