"""Mask images of a whole slide: opened by content, read on demand if they are TIFF."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tiling.outlines.regular_file import open_regular_file
from tiling.raster.image_claims import claim_problem
from tiling.raster.mask_rules import one_channel
from tiling.slide_errors import AnnotationError
from tiling.slides.plain_image import IMAGE_SIGNATURES
from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.slides.tiff_directories import TIFF_SIGNATURES

if TYPE_CHECKING:
    from PIL import Image

_IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".gif")
_MAX_CHECKED_PX = 1 << 24
# Modes of Pillow whose pixels are numbers; pixels of other modes are converted to RGB.
_PLAIN_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA")


def is_image(path: Path, *, column: str = "annotation") -> bool:
    """Whether a file is an image, by its first bytes; the suffix decides if they say nothing.

    Raises
    ------
    AnnotationError
        See `open_regular_file`.
    """
    with open_regular_file(path, column=column) as file:
        start = file.read(16)
    if start.startswith((*TIFF_SIGNATURES, *IMAGE_SIGNATURES)):
        return True
    is_text_or_archive = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (
        b"{",
        b"[",
        b"<",
        b"P",
        b"\x1f",
    )
    return path.suffix.lower() in _IMAGE_SUFFIXES and not is_text_or_archive


@contextmanager
def open_mask_image(path: Path, *, column: str = "annotation") -> Iterator[Any]:
    """The image as a numpy array, or as a zarr array that is read on demand if it is a TIFF.

    The indices of an image with a palette are its numbers if 0 is black; otherwise its pixels are
    the colours.

    Raises
    ------
    AnnotationError
        The file is missing or cannot be read as an image.
    """
    with ExitStack() as files:
        with open_regular_file(path, column=column) as file:
            is_tiff = file.read(4) in TIFF_SIGNATURES
        try:
            with file_read_errors():
                image = _tiff_page(path, files) if is_tiff else _pixels(path, files)
        except FileReadError as error:
            raise AnnotationError(
                f"{path}: cannot be read as a mask image ({error}); export or copy it again"
            ) from error
        yield image


def mask_shape(path: Path) -> tuple[int, int]:
    """Height and width of a mask image, from its header; colours of a small picture are read.

    Raises
    ------
    AnnotationError
        The file is missing, cannot be read as an image, or has fractions or several pages.
    """
    with open_regular_file(path) as file:
        is_tiff = file.read(4) in TIFF_SIGNATURES
        file.seek(0)
        if not is_tiff:
            return _picture_shape(path, file)
    with open_mask_image(path) as image:
        check_label_image(image, path)
        return image.shape[0], image.shape[1]


def check_label_image(image: Any, path: Path) -> None:  # noqa: ANN401  # numpy or zarr array
    """Refuse an image of several pages, or of fractions.

    Raises
    ------
    AnnotationError
        With the type and shape of the image.
    """
    has_channels = len(image.shape) == 3 and image.shape[2] in (1, 2, 3, 4)
    is_plane = len(image.shape) == 2 or has_channels
    if not is_plane or image.dtype.kind not in "uib":
        raise AnnotationError(
            f"{path}: {image.dtype} {tuple(image.shape)} is not an instance mask; "
            "give one channel of whole numbers, one per gland"
        )


@contextmanager
def mask_errors(path: Path, failure: str) -> Iterator[None]:
    """Turn errors of a mask image into `AnnotationError`, with the remedy.

    Parameters
    ----------
    failure : what a `FileReadError` means
    """
    try:
        yield
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from error
    except FileReadError as error:
        raise AnnotationError(f"{path}: {failure} ({error}); export or copy it again") from error


def _picture_shape(path: Path, file: BinaryIO) -> tuple[int, int]:
    from PIL import Image

    with mask_errors(path, "cannot be read as a mask image"):
        with file_read_errors(), Image.open(file) as picture:
            mode, (width, height) = picture.mode, picture.size
            _check_claim(picture, path)
            is_picture = len(picture.getbands()) > 1 and width * height <= _MAX_CHECKED_PX
            pixels = np.asarray(picture) if is_picture else None
        if pixels is not None:
            one_channel(pixels)
    if mode not in ("P", *_PLAIN_MODES) or mode == "F":
        raise AnnotationError(
            f"{path}: an image of mode {mode} is not an instance mask; "
            "give one channel of whole numbers, one per gland"
        )
    return height, width


def _tiff_page(path: Path, files: ExitStack) -> Any:  # noqa: ANN401  # zarr array
    import tifffile
    import zarr

    # Only this file: OME-XML may name other files, and pipes.
    tiff = files.enter_context(tifffile.TiffFile(path, is_ome=False))
    # A damaged file may have millions of pages: only two are read.
    first, *others = tiff.pages[:2]
    if any(page.shape == first.shape for page in others):
        raise FileReadError("several pages of one size; a mask has one page")
    claimed = math.prod(first.chunked)
    if claimed > len(first.dataoffsets):
        # Each of them would be looked for: minutes for a header of a few bytes.
        raise FileReadError(f"its header claims {claimed} tiles, it lists {len(first.dataoffsets)}")
    if 0 in first.shape:
        raise FileReadError("no pixels")
    return zarr.open(first.aszarr(), mode="r")


def _pixels(path: Path, files: ExitStack) -> NDArray[Any]:
    from PIL import Image

    image = files.enter_context(Image.open(path))
    _check_claim(image, path)
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is not None and not any(palette[:3]):
        return np.asarray(image)
    if image.mode in _PLAIN_MODES:
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _check_claim(image: "Image.Image", path: Path) -> None:
    problem = claim_problem(image.format, image.width, image.height, path.stat().st_size)
    if problem is not None:
        raise FileReadError(problem)
