"""Checksum of the images and masks that a training run reads."""

import hashlib
from collections.abc import Sequence

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
    checksums = "".join(file_checksum(path) for path in paths if path)
    return hashlib.sha256(checksums.encode()).hexdigest()[:16]
