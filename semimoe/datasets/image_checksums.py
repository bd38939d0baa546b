"""Checksum of the images and masks that a training run reads."""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from semimoe.datasets.image_folder import ImageFile
from tiling.raster.atomic_files import file_checksum


def training_files_checksum(
    outlined: Sequence[ImageFile], unlabelled: Sequence[ImageFile], *, unlabelled_masks: bool
) -> str:
    """The first 16 digits of a SHA-256 over the checksums of all files that a run reads.

    An interrupted run is resumed only if it is the same: no image or mask was corrected since.

    Parameters
    ----------
    outlined : images that are read with their masks
    unlabelled_masks : whether the masks of the unlabelled images are read, too
    """
    paths = [path for file in outlined for path in (file.image, file.mask)]
    for file in unlabelled:
        paths += [file.image, file.mask if unlabelled_masks else None]
    checksums = "".join(_checksum(path) for path in paths if path)
    return hashlib.sha256(checksums.encode()).hexdigest()[:16]


def _checksum(path: Path) -> str:
    """Checksum of a file; lists of a table share their files, which are read once."""
    state = os.stat(path)
    return _read_checksum(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=4096)
def _read_checksum(path: Path, *state: int) -> str:
    return file_checksum(path)
