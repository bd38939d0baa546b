"""`predict`: one instance mask per image."""

import argparse
import logging
import sys

import numpy as np
from PIL import Image
from tqdm import tqdm

from semimoe.datasets.image_folder import find_images, read_image
from semimoe.model_errors import DataError

log = logging.getLogger(__name__)
_MOST_LABELS = 65535


def run(given: argparse.Namespace) -> None:
    """Label the glands of every image of a folder, at the size of the image."""
    from semimoe.prediction.image_predictor import ImagePredictor

    predictor = ImagePredictor(
        given.model,
        device=given.device,
        threads=given.threads,
        batch=given.batch,
        image_mpp_um=given.mpp,
        min_area_um2=given.min_area_um2,
        precision=given.precision,
        flips=given.flips,
    )
    files = find_images(given.images)
    for file in files:
        if (given.out / f"{file.name}.png").resolve() == file.image.resolve():
            raise DataError(
                f"--out {given.out}: the masks would replace the images; give another folder"
            )
    given.out.mkdir(parents=True, exist_ok=True)
    glands = 0
    for file in tqdm(files, desc="predict", unit="image", disable=not sys.stderr.isatty()):
        image = read_image(file.image)
        labels = predictor.glands(predictor.maps(image), (image.shape[1], image.shape[2]))
        if labels.max(initial=0) > _MOST_LABELS:
            raise DataError(
                f"{file.image}: more than {_MOST_LABELS} glands do not fit a 16-bit mask; cut the image"
            )
        Image.fromarray(labels.astype(np.uint16)).save(given.out / f"{file.name}.png")
        glands += int(labels.max(initial=0))
    taken_um = predictor.resolution.image_mpp_um
    log.info(
        "%d images with %d glands, their pixels taken as %.4g um; masks in %s",
        len(files),
        glands,
        taken_um,
        given.out,
    )
    if licence := predictor.card.notes.licence:
        log.info("licence of the weights: %s", licence)
