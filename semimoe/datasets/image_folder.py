"""Images and masks in ordinary folders, as in the GlaS challenge.

An image is `X.png`, `.bmp`, `.tif` or `.jpg`. Its mask is `X_anno.*` in the same folder, or `X.*`
in a folder of masks such as `Annotation/`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_resolution import Resolution
from semimoe.model_errors import DataError
from tiling.raster.tile import Tile

IMAGE_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_MASK_ENDING = "_anno"
_IMAGE_FOLDERS = ("Images", "images")
_MASK_FOLDERS = ("Annotation", "annotations", "masks", "labels")


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
    """Possible folders of the masks of a folder of images; they need not exist.

    They are its subfolders, such as `masks`, and those of its parent if it is called `Images`.
    """
    places = [folder]
    if folder.resolve().name in _IMAGE_FOLDERS:
        places.append(folder.resolve().parent)
    return [place / name for place in places for name in _MASK_FOLDERS]


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


def _subfolders(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the named subfolders that exist."""
    return [folder / name for name in names if (folder / name).is_dir()]


def _natural_sort_key(name: str) -> tuple[str, int, str]:
    """Sorts train_2 before train_10."""
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return head, int(tail) if tail else -1, name
