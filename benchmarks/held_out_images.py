"""The images that the folds of a cross-validation held out, their maps and their scores.

Scores are those by which `release` chooses: pooled over all images at the working resolution,
objects of less than the least area left out of truth and prediction.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_resolution import Resolution, isotropic_resolution
from semimoe.evaluation.metrics import ObjectScores, object_scores, pixel_scores
from semimoe.model_card import ModelCard, load_card
from semimoe.prediction.predictor import Predictor
from semimoe.split_choice import SplitChoice
from semimoe.training.split_scores import ValidationImage
from semimoe.training.validation import Choice, ValidationSettings, choose_on_maps
from tiling.raster.quantise import quantise_maps, quantised_threshold
from tiling.raster.split_rule import split_glands

# From a network and an image uint8 (3, H, W) to its maps float32 (4, H, W).
Maps = Callable[[Predictor, NDArray[np.uint8]], NDArray[np.float32]]


class HeldOutImage(NamedTuple):
    """An image at the working resolution, uint8 (3, H, W), and its labels, int32 (H, W)."""

    fold: Path
    name: str
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


class Scores(NamedTuple):
    """Pixel Dice and object scores; Hausdorff distances are in um if they are measured."""

    dice: float
    objects: ObjectScores

    def __str__(self) -> str:
        one = self.objects
        distance = one.object_hausdorff_um
        return (
            f"{self.dice:.4f} {one.object_f1:.4f} {one.object_dice:.4f} "
            f"{'     -' if distance is None else f'{distance:6.1f}'} "
            f"{one.fp:5d} {one.fn:5d} {one.splits:5d} {one.merges:5d}"
        )


SCORE_HEADER = "  Dice     F1 ob.Dice Hausd. false  miss split merge"


def fold_arguments(description: str | None) -> argparse.ArgumentParser:
    """Options that scripts on folds share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folds", type=Path, nargs="+", help="model folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mpp", type=float, default=0.62005, help="pixel size of the images, um")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--images", type=int, help="of each fold; default: all")
    parser.add_argument(
        "--split-of",
        type=Path,
        help="model whose threshold and split parameters are taken; default: the best ones of the"
        " first row",
    )
    return parser


def held_out_images(
    folder: Path, data: Path, *, mpp_um: float, count: int | None = None
) -> list[HeldOutImage]:
    """The images that the card of a fold names as held out."""
    card = load_card(folder)
    names = card.notes.images.validation if card.notes.images else ()
    files = {file.name: file for file in open_dataset(data).training_images()}
    if not names or not set(names) <= set(files):
        raise SystemExit(f"{folder}: its held-out images are not in --data {data}")
    resolution: Resolution = isotropic_resolution(mpp_um, card.mpp_um)
    images = []
    for name in names[:count]:
        file = files[name]
        assert file.mask is not None  # images of training have masks
        labels = resolution.labels(read_labels(file.mask))
        images.append(HeldOutImage(folder, name, resolution.image(read_image(file.image)), labels))
    return images


def images_of_folds(arguments: argparse.Namespace) -> list[HeldOutImage]:
    """The held-out images of all folds, by the options of `fold_arguments`."""
    return [
        image
        for fold in arguments.folds
        for image in held_out_images(
            fold, arguments.data, mpp_um=arguments.mpp, count=arguments.images
        )
    ]


def with_maps(
    images: Sequence[HeldOutImage], maps: Maps, predictors: dict[Path, Predictor]
) -> list[ValidationImage]:
    """Images with the maps that the model of their fold predicts."""
    return [
        ValidationImage(
            quantise_maps(maps(predictors[one.fold], one.image)[:4]),
            one.labels,
            np.ones(one.labels.shape, bool),
        )
        for one in images
    ]


def first_choice(
    images: list[ValidationImage], card: ModelCard, split_of: Path | None
) -> tuple[float, SplitChoice]:
    """Threshold and split parameters of a model, or the best ones."""
    chosen = best_choice(images, card) if split_of is None else load_card(split_of)
    return chosen.threshold, chosen.split


def best_choice(images: list[ValidationImage], card: ModelCard) -> Choice:
    """Threshold and split parameters that `release` would choose."""
    assert card.training is not None  # models of this project carry their settings
    return choose_on_maps(images, ValidationSettings(card.network, card.training, card.mpp_um))


def scores(
    images: Sequence[ValidationImage],
    card: ModelCard,
    threshold: float,
    split: SplitChoice,
    *,
    distances: bool = True,
) -> Scores:
    """Pooled scores with a threshold and split parameters."""
    assert card.training is not None
    least_um2 = card.training.min_area_um2
    parameters = split.parameters(
        threshold=threshold,
        min_area_um2=least_um2,
        sdf_um=card.sdf_um,
        use_sdf=card.splits_by_distance,
    )
    truth = [one.labels for one in images]
    masks = [one.maps[0] >= quantised_threshold(threshold) for one in images]
    sizes = {"mpp_um": card.mpp_um, "um2_per_px": card.mpp_um**2}
    glands = [split_glands(*one.maps[:3], parameters=parameters, **sizes) for one in images]
    objects = object_scores(
        truth, glands, mpp_um=card.mpp_um, min_object_um2=least_um2, distances=distances
    )
    return Scores(pixel_scores(truth, masks).dice, objects)
