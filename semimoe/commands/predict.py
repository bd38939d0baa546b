"""`predict`: one instance mask per image, and a picture of its outlines."""

import argparse
import logging
import sys
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from semimoe.datasets.image_files import read_image
from semimoe.datasets.image_folder import ImageFile, find_images, mask_folders
from semimoe.model_errors import DataError
from semimoe.setting_types import FLIPS_CHOICES
from tiling.raster.atomic_files import partial_file

if TYPE_CHECKING:
    from semimoe.prediction.image_predictor import ImagePredictor

log = logging.getLogger(__name__)
_MAX_LABEL = 65535  # of 16 bits
OVERLAYS = "overlays"


def run(arguments: argparse.Namespace) -> None:
    """Write the glands of every image of a folder: a mask and an overlay of the image's size."""
    from semimoe.prediction.image_predictor import ImagePredictor

    predictor = ImagePredictor(
        arguments.model,
        device=arguments.device,
        threads=arguments.threads,
        batch=arguments.batch,
        image_mpp_um=arguments.mpp,
        min_area_um2=arguments.min_area_um2,
        precision=arguments.precision,
        flips=FLIPS_CHOICES[arguments.flips],
    )
    files = find_images(arguments.images)
    _check_output_folder(arguments.images, files, arguments.out, overwrite=arguments.overwrite)
    (arguments.out / OVERLAYS).mkdir(parents=True, exist_ok=True)
    glands = 0
    for file in tqdm(files, desc="predict", unit="image", disable=not sys.stderr.isatty()):
        glands += _write_mask(predictor, file, arguments.out, min_hole_um2=arguments.min_hole_um2)
    log.info(
        "%d images with %d glands, with pixels of %.4g um; masks in %s, pictures in %s",
        len(files),
        glands,
        predictor.resolution.image_mpp_um,
        arguments.out,
        arguments.out / OVERLAYS,
    )
    if licence := predictor.card.notes.licence:
        log.info("licence of the weights: %s", licence)


def _check_output_folder(
    images: Path, files: list[ImageFile], folder: Path, *, overwrite: bool
) -> None:
    """Refuse a folder of images or true masks, also one that would be taken for it later.

    Results there would replace them, or have the same names without suffix, by which later commands
    find them. Masks of other images, or masks that a person has corrected, are replaced only with
    `overwrite`.
    """
    inputs = {_identity(path): "true masks" for path in mask_folders(images)}
    for file in files:
        for path, content in ((file.mask, "true masks"), (file.image, "images")):
            if path is not None:
                inputs[_identity(path.parent)] = inputs[_identity(path.resolve().parent)] = content
    for target in (folder, folder / OVERLAYS):
        kind = inputs.get(_identity(target))
        if kind is not None:
            verb = "is" if target.exists() else "would be"
            raise DataError(f"--out {folder}: {target} {verb} a folder of {kind}; give another one")
    existing = [path for file in files for path in _targets(file, folder) if lexists(path)]
    if existing and not overwrite:
        raise DataError(
            f"--out {folder}: {existing[0]} exists already"
            + (f", and {len(existing) - 1} more" if len(existing) > 1 else "")
            + "; give another folder, or --overwrite to replace them (also after a stopped run)"
        )


def _identity(folder: Path) -> tuple[int, int] | Path:
    """The same for all names of an existing folder, also of a mount or in another case."""
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return folder.resolve()
    return status.st_dev, status.st_ino


def _targets(file: ImageFile, folder: Path) -> tuple[Path, Path]:
    """Files of the mask and of the overlay of an image."""
    return folder / f"{file.name}.png", folder / OVERLAYS / f"{file.name}.png"


def _write_mask(
    predictor: "ImagePredictor", file: ImageFile, folder: Path, *, min_hole_um2: float
) -> int:
    """Write the mask and the overlay of one image; returns its number of glands."""
    from semimoe.prediction.overlay import draw_overlay

    image = read_image(file.image)
    shape = (image.shape[1], image.shape[2])
    labels = predictor.glands(predictor.maps(image), shape, min_hole_um2=min_hole_um2)
    glands = int(labels.max(initial=0))
    if glands > _MAX_LABEL:
        raise DataError(
            f"{file.image}: a mask of 16 bits holds at most {_MAX_LABEL} glands, but {glands} "
            "were found; divide the image into parts"
        )
    mask, overlay = _targets(file, folder)
    # The mask last: where it is, its overlay is complete.
    with partial_file(overlay) as partial:
        draw_overlay(image, labels).save(partial, "PNG")
    with partial_file(mask) as partial:
        Image.fromarray(labels.astype(np.uint16)).save(partial, "PNG")
    return glands
