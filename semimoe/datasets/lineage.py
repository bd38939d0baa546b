"""A checksum of the images and masks that a training reads."""

import hashlib

from semimoe.datasets.image_folder import ImageFile
from tiling.raster.atomic_files import file_checksum


def files_read(outlined: list[ImageFile], unlabelled: list[ImageFile], *, masks: bool) -> str:
    """A short hash of all that a training reads: it is not gone on with when an image or a mask was corrected since.

    Parameters
    ----------
    masks : those of the unlabelled images are read too
    """
    read = [path for file in outlined for path in (file.image, file.mask)]
    read += [path for file in unlabelled for path in (file.image, file.mask if masks else None)]
    return hashlib.sha256(
        "".join(file_checksum(path) for path in read if path).encode()
    ).hexdigest()[:16]
