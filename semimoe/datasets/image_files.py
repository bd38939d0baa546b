"""Images and masks in ordinary files: colours of 8 bits, and labels of glands."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semimoe.model_errors import DataError
from tiling.raster.image_claims import claim_problem
from tiling.raster.label_numbers import label_components
from tiling.raster.mask_rules import (
    mask_problem,
    one_channel,
    pieces,
    shares_one_number,
    solid_numbers,
)
from tiling.raster.parser_errors import PARSER_ERRORS

# Decoding takes up to 11 bytes a pixel.
_MAX_PX = 90_000_000
_TIFF_BITS_PER_SAMPLE = 258
_LABEL_LIMIT = 2**31  # int32; a number that float32 has, too
_READ_ERRORS: tuple[type[Exception], ...] = (*PARSER_ERRORS, Image.DecompressionBombError)


def read_image(path: Path) -> NDArray[np.uint8]:
    """An RGB image, uint8 (3, H, W); transparent pixels are white, as those of slides.

    Raises
    ------
    DataError
        The file is missing or not an image, or has more than 8 bits per channel.
    """
    with _opened(path, "an image") as file:
        _check_mode(file, path)
        array = np.asarray(_over_white(file))
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in px; its pixels are not decoded.

    Raises
    ------
    DataError
        As of `read_image`.
    """
    with _opened(path, "an image") as file:
        _check_mode(file, path)
        return file.height, file.width


def read_labels(path: Path) -> NDArray[np.int32]:
    """A mask as labels, int32 (H, W), 0 background.

    A mask with several numbers has one number per gland. Where all glands have the same number,
    the 8-connected components are the glands.

    Raises
    ------
    DataError
        The file is not an image of one channel, or its numbers break `mask_rules` or are too
        large for int32.
    """
    array = _read_mask(path)
    numbers = np.unique(array)
    problem = mask_problem(numbers, solid_numbers(np.pad(array, 1, mode="edge")))
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    components = label_components(array)
    if shares_one_number(numbers):
        return components
    problem = pieces(array, components).problem()
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    return array.astype(np.int32)


def mask_values(path: Path) -> list[int]:
    """The different numbers above 0 in a mask, as stored.

    Raises
    ------
    DataError
        The file is not an image of one channel.
    """
    array = _read_mask(path)
    return [int(value) for value in np.unique(array[array > 0])]


def _read_mask(path: Path) -> NDArray[Any]:
    with _opened(path, "a mask") as file:
        mode = _mode_of_16_bits(file)
        if mode and not mode.startswith("I"):  # Pillow keeps only the high byte of colours
            raise DataError(f"{path}: a mask of mode {mode}; save it with one channel")
        array = np.asarray(file)
    if array.size == 0:
        raise DataError(f"{path}: has no pixels")
    if array.max() >= _LABEL_LIMIT:
        raise DataError(
            f"{path}: numbers of {_LABEL_LIMIT} or more in it; give one whole number per gland, "
            "from 1 on"
        )
    try:
        return one_channel(array)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _check_mode(image: Image.Image, path: Path) -> None:
    """Refuse more than 8 bits per channel.

    Without an error, Pillow would clip grey values at 255, and keep only the high byte of colours.
    """
    mode = _mode_of_16_bits(image) or image.mode
    if ";16" in mode or mode.startswith(("I", "F")):
        raise DataError(
            f"{path}: an image of mode {mode}; 8 bits per channel are needed; convert it"
        )


def _mode_of_16_bits(image: Image.Image) -> str:
    """The mode of the stored pixels, such as "RGB;16B", if they have 16 bits per channel, or ""."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode.startswith(("RGB", "LA")) and 16 in tags.get(_TIFF_BITS_PER_SAMPLE, ()):
        return f"{image.mode};16"
    # An image whose pixels are not decoded yet lists how they are stored.
    for tile in image.tile:  # type: ignore[attr-defined]  # of opened images only
        arguments = (tile.args,) if isinstance(tile.args, str) else (tile.args or ())
        for argument in arguments:
            if isinstance(argument, str) and ";16" in argument:
                return argument
    return ""


def _over_white(image: Image.Image) -> Image.Image:
    """An image as RGB; white is seen through transparent pixels."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(colours, mask=colours)
    return white


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Image.Image]:
    """See `_open`; errors of Pillow become `DataError`."""
    try:
        with _open(path) as file:
            yield file
    except DataError:
        raise
    except _READ_ERRORS as error:
        raise DataError(
            f"{path}: cannot be read as {kind} ({error}); export or copy it again"
        ) from error


def _open(path: Path) -> Image.Image:
    """An opened image; its size is checked, its pixels are not decoded."""
    with warnings.catch_warnings():
        # Pillow warns of an image that is nearly as large as our limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    try:
        _check_size(image, path)
    except DataError:
        image.close()
        raise
    return image


def _check_size(image: Image.Image, path: Path) -> None:
    """Refuse an image that needs too much memory, before its pixels are decoded."""
    width, height = image.size
    if width * height > _MAX_PX:
        raise DataError(
            f"{path}: {width} x {height} px are too many for an image of a folder (limit "
            f"{_MAX_PX:,}); cut it into parts, or use it as a slide of the workflow"
        )
    problem = claim_problem(image.format, width, height, path.stat().st_size)
    if problem is not None:
        raise DataError(f"{path}: {problem}; export or copy it again")
