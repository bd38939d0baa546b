"""Images and masks in ordinary folders: the GlaS challenge as published, and anything laid out like it.

An image is `X.png`, `.bmp`, `.tif` or `.jpg`; its mask is `X_anno.*` beside it, or `X.*` in a parallel folder of masks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semimoe.datasets.image_resolution import Resolution
from semimoe.model_errors import DataError
from tiling.raster.label_numbers import label_components
from tiling.raster.mask_rules import mask_problem, shares_one_number, solid_numbers
from tiling.raster.tile import Tile

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_MASK_MARK = "_anno"
_MASK_FOLDERS = ("Annotation", "annotations", "masks", "labels")
# Decoded images are kept up to this size in all: the 85 of GlaS take 100 MB, at half resolution 26 MB.
_KEPT_BYTES = 2 * 2**30


class ImageFile(NamedTuple):
    """An image and where its mask is, if it has one."""

    name: str
    image: Path
    mask: Path | None


class FolderImages:
    """Images as a tile source; whole images at the working resolution, decoded once.

    Parameters
    ----------
    files : what to read
    labels : False: masks are never opened, for images used as unlabelled
    resolution : what images and masks are brought to; None: as they are
    pseudo : stored pseudo-labels by name of image, see `quantise_pseudo_label`, at that resolution; None: there are none
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
        self._kept: dict[int, Tile] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Name of an image, for messages."""
        return self.files[index].name

    def __getitem__(self, index: int) -> Tile:
        """Image uint8 (3, H, W) and labels int32 (H, W)."""
        if index not in self._kept:
            tile = self._read(self.files[index])
            size = tile.image.nbytes + (0 if tile.labels is None else tile.labels.nbytes)
            if self._kept_bytes + size > _KEPT_BYTES:
                return tile
            self._kept[index], self._kept_bytes = tile, self._kept_bytes + size
        return self._kept[index]

    def __getstate__(self) -> dict[str, Any]:
        """Without the images: a worker reads its own."""
        return {**self.__dict__, "_kept": {}, "_kept_bytes": 0}

    def _read(self, file: ImageFile) -> Tile:
        image = read_image(file.image)
        labels = None if file.mask is None or not self._labels else read_labels(file.mask)
        if labels is not None and labels.shape != image.shape[1:]:
            raise DataError(
                f"{file.mask}: {labels.shape[::-1]} px, but its image {file.image.name} has {image.shape[:0:-1]}"
            )
        if self._resolution is not None:
            image = self._resolution.image(image)
            labels = None if labels is None else self._resolution.labels(labels)
        return Tile(image, labels, pseudo=None if self._pseudo is None else self._pseudo[file.name])


def find_images(folder: Path) -> list[ImageFile]:
    """Images of a folder in the order of their names, with their masks.

    Raises
    ------
    DataError
        The folder is missing or has no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    images_in = next(
        (folder / name for name in ("Images", "images") if (folder / name).is_dir()), folder
    )
    masks_in = [folder / name for name in _MASK_FOLDERS if (folder / name).is_dir()]
    files = [
        path
        for path in images_in.iterdir()
        if path.suffix.lower() in ENDINGS and not path.stem.endswith(_MASK_MARK)
    ]
    if not files:
        raise DataError(f"{folder}: no image ({', '.join(ENDINGS)})")
    found = []
    for path in sorted(files, key=lambda path: _natural(path.stem)):
        beside = by_stem(images_in, path.stem + _MASK_MARK)
        found.append(
            ImageFile(
                path.stem,
                path,
                beside or next((mask for m in masks_in if (mask := by_stem(m, path.stem))), None),
            )
        )
    return found


def by_stem(folder: Path, stem: str) -> Path | None:
    """The image file of that name, whatever its ending."""
    return next(
        (
            path
            for ending in ENDINGS
            for path in (folder / (stem + ending), folder / (stem + ending.upper()))
            if path.is_file()
        ),
        None,
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """An RGB image, uint8 (3, H, W)."""
    try:
        with Image.open(path) as file:
            array = np.asarray(file.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image, px, without decoding it."""
    try:
        with Image.open(path) as file:
            return file.height, file.width
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def read_labels(path: Path) -> NDArray[np.int32]:
    """A mask as instances: one number per gland as stored, or 8-connected components where all glands share one number.

    Raises
    ------
    DataError
        Not an image of one channel, not whole numbers, or resampled edges.
    """
    array = _read_mask(path)
    numbers = np.unique(array)
    problem = mask_problem(numbers, solid_numbers(np.pad(array, 1, mode="edge")))
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    if shares_one_number(numbers):
        return label_components(array)
    return array.astype(np.int32)


def mask_values(path: Path) -> list[int]:
    """The different numbers above 0 of a mask as stored."""
    array = _read_mask(path)
    return [int(value) for value in np.unique(array[array > 0])]


def _read_mask(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as file:
            array = np.asarray(file)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error
    if array.ndim == 3 and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2:
        raise DataError(f"{path}: a mask has one channel, this has shape {array.shape}")
    return array


def _natural(name: str) -> tuple[str, int, str]:
    """train_2 before train_10."""
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return head, int(tail) if tail else -1, name
