"""Images and masks in ordinary folders, as in the GlaS challenge.

An image is `X.png`, `.bmp`, `.tif` or `.jpg`. Its mask is `X_anno.*` in the same folder, or `X.*`
in a folder of masks such as `Annotation/`.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semimoe.datasets.image_resolution import Resolution
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
from tiling.raster.tile import Tile

IMAGE_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_MASK_ENDING = "_anno"
_IMAGE_FOLDERS = ("Images", "images")
_MASK_FOLDERS = ("Annotation", "annotations", "masks", "labels")
# Decoding takes up to 11 bytes a pixel.
_MAX_PX = 90_000_000
_LABEL_LIMIT = 2**31  # int32; a number that float32 has, too
_READ_ERRORS: tuple[type[Exception], ...] = (*PARSER_ERRORS, Image.DecompressionBombError)


class NoImageError(DataError):
    """A folder has no image."""


class ImageFile(NamedTuple):
    """An image, and its mask if it has one."""

    name: str
    image: Path
    mask: Path | None


class FolderImages:
    """Images of a folder as a tile source; each image is one tile.

    Parameters
    ----------
    files : images of the source
    labels : False: masks are never opened, for images that are used as unlabelled
    resolution : working resolution of images and masks; None: that of the files
    pseudo : stored pseudo-labels by name of image at the working resolution, see
        `quantise_pseudo_label`; None: there are none
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        *,
        labels: bool = True,
        resolution: Resolution | None = None,
        pseudo: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:
        self.files = list(files)
        self._labels, self._resolution, self._pseudo = labels, resolution, pseudo

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Name of an image, for messages."""
        return self.files[index].name

    def __getitem__(self, index: int) -> Tile:
        """Image uint8 (3, H, W) with labels int32 (H, W)."""
        return self._read(self.files[index])

    def _read(self, file: ImageFile) -> Tile:
        image = read_image(file.image)
        labels = None if file.mask is None or not self._labels else read_labels(file.mask)
        if labels is not None and labels.shape != image.shape[1:]:
            raise DataError(
                f"{file.mask}: {labels.shape[::-1]} px, but its image {file.image.name} has "
                f"{image.shape[:0:-1]}"
            )
        if self._resolution is not None:
            image = self._resolution.image(image)
            labels = None if labels is None else self._resolution.labels(labels)
        return Tile(image, labels, pseudo=None if self._pseudo is None else self._pseudo[file.name])


def find_images(folder: Path) -> list[ImageFile]:
    """Images of a folder with their masks, in natural order of their names.

    Raises
    ------
    DataError
        The folder is missing or has no image, or two of its files differ only in their suffix.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    image_folder = next(iter(_subfolders(folder, _IMAGE_FOLDERS)), folder)
    files = files_by_stem(image_folder)
    images = {stem: path for stem, path in files.items() if not stem.endswith(_MASK_ENDING)}
    if not images:
        raise NoImageError(
            f"{folder}: no image ({', '.join(IMAGE_SUFFIXES)}); give the folder that holds the "
            "images themselves"
        )
    # The mask in the folder of the image, or in the first folder of masks that has one.
    masks = {
        stem.removesuffix(_MASK_ENDING): path
        for stem, path in files.items()
        if stem.endswith(_MASK_ENDING)
    }
    for mask_folder in _subfolders(folder, _MASK_FOLDERS):
        masks = files_by_stem(mask_folder) | masks
    names = sorted(images, key=_natural_sort_key)
    return [ImageFile(name, images[name], masks.get(name)) for name in names]


def mask_folders(folder: Path) -> list[Path]:
    """Folders of masks in a folder of images, and beside it if it is the folder `Images`."""
    folders = _subfolders(folder, _MASK_FOLDERS)
    if folder.resolve().name in _IMAGE_FOLDERS:
        folders += _subfolders(folder.resolve().parent, _MASK_FOLDERS)
    return folders


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their names without suffix.

    Raises
    ------
    DataError
        Two files differ only in their suffix: masks, predictions and lists are found by the name
        without suffix.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        other = files.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                f"{folder}: {other.name} and {path.name} have the same name without suffix, by "
                "which masks and predictions are found; rename or remove one of them"
            )
    return files


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


def _subfolders(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named subfolders that exist."""
    return [folder / name for name in names if (folder / name).is_dir()]


def _natural_sort_key(name: str) -> tuple[str, int, str]:
    """Sorts train_2 before train_10."""
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return head, int(tail) if tail else -1, name
