"""`predict`: one instance mask per image."""

import argparse

import numpy as np
from PIL import Image

from semimoe.errors import DataError
from semimoe.images.folders import find_images, read_image

_MOST_LABELS = 65535


def run(given: argparse.Namespace) -> None:
    """Label the glands of every image of a folder, at the size of the image."""
    from semimoe.images.image_prediction import ImagePredictor

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
            raise DataError(f"--out {given.out}: the masks would replace the images; give another folder")
    given.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        image = read_image(file.image)
        labels = predictor.glands(predictor.maps(image), (image.shape[1], image.shape[2]))
        if labels.max(initial=0) > _MOST_LABELS:
            raise DataError(f"{file.image}: more than {_MOST_LABELS} glands do not fit a 16-bit mask; cut the image")
        Image.fromarray(labels.astype(np.uint16)).save(given.out / f"{file.name}.png")
