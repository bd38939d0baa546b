"""Weights of tiles in blending: the triangle that the project uses, compared with a trapezoid.

python benchmarks/blending_weights.py --model models/glas --data GLAS/train --images 20

Prints pixel Dice, object F1 and object Dice of the model's own threshold and split parameters with
both weights, and then what would be chosen on these images with each of them. The trapezoid is flat
in the middle of a tile and falls linearly over the overlap and one pixel more. Images in memory
were blended with it until slides and images got the same weights.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_folder import FolderImages, ImageFile, find_images
from semimoe.evaluation.metrics import object_scores, pixel_scores
from semimoe.prediction.image_predictor import ImagePredictor
from semimoe.prediction.predictor import Predictor
from semimoe.training.validation import Choice, ValidationSettings, choose
from tiling.raster import blending


def trapezoid(tile_px: int) -> NDArray[np.float32]:
    """Weights of a tile that are constant farther than the overlap (a quarter) from its edges."""
    distance = np.minimum(np.arange(1, tile_px + 1), np.arange(tile_px, 0, -1))
    weights = distance.clip(max=tile_px // 4 + 1).astype(np.float32)
    return np.outer(weights, weights)


WEIGHTS = {"triangle": blending.tile_weights, "trapezoid": trapezoid}


def main() -> None:
    """Score both weights and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of images with masks")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    files = [file for file in find_images(arguments.data) if file.mask is not None]
    # Evenly spaced: neighbours in the order of names often come from one patient.
    chosen = np.linspace(0, len(files) - 1, min(arguments.images, len(files))).round().astype(int)
    files = [files[index] for index in chosen]
    images = ImagePredictor(arguments.model, device="cpu", threads=arguments.threads)
    print(f"{arguments.model.name}, {len(files)} images")
    print("weights     pixel Dice  object F1  object Dice")
    for name, weights in WEIGHTS.items():
        with patch.object(blending, "tile_weights", weights):
            scores = score(images, files)
        print(f"{name:10}" + "".join(f"{value:12.4f}" for value in scores))
    predictor = Predictor.load(arguments.model, device="cpu", threads=arguments.threads)
    print("weights     chosen on these images")
    for name, weights in WEIGHTS.items():
        with patch.object(blending, "tile_weights", weights):
            choice = choose_on(predictor, files, images)
        print(f"{name:10}  threshold {choice.threshold}, {choice.split}, {choice.scores}")


def score(images: ImagePredictor, files: list[ImageFile]) -> tuple[float, float, float]:
    """Pixel Dice, object F1 and object Dice of the model's own threshold and split parameters."""
    truth, predicted = [], []
    for file in files:
        assert file.mask is not None  # chosen so
        image = read_image(file.image)
        truth.append(read_labels(file.mask))
        predicted.append(images.glands(images.maps(image), image.shape[1:]))
    objects = object_scores(
        truth, predicted, mpp_um=images.resolution.image_mpp_um, min_object_um2=0.0, distances=False
    )
    return pixel_scores(truth, predicted).dice, objects.object_f1, objects.object_dice


def choose_on(predictor: Predictor, files: list[ImageFile], images: ImagePredictor) -> Choice:
    """Threshold and split parameters that training would choose on these images."""
    card = predictor.card
    assert card.training is not None  # models of this project carry their settings
    source = FolderImages(files, resolution=images.resolution)
    settings = ValidationSettings(card.network, card.training, images.resolution.mpp_um)
    return choose([(predictor, source)], settings)


if __name__ == "__main__":
    main()
