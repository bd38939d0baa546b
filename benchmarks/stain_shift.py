"""Scores of held-out images after changes of stain, colour and focus that training never makes.

python benchmarks/stain_shift.py FOLD1 FOLD2 ... --data GLAS

Each model predicts the images that its card names as held out, unchanged and after each change of
`CHANGES`. Threshold and split parameters are those that are best on the unchanged images, for all
rows. Changes are made at the working resolution. They are outside the range of the augmentation
`scanners` (amounts of stains within 40 %, density of a colour within .08, blur within 1.5 px).

With --adapt, rows of a second table have statistics of batch normalisation that were computed again
on changed images of the same fold (AdaBN, Li et al. 2016, arXiv 1603.04779): 16 tiles that are
drawn from all its images, as if these were one slide. The given shares of the new statistics are
mixed with those of training; a share of 1 is AdaBN as published.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from held_out_images import (
    SCORE_HEADER,
    HeldOutImage,
    first_choice,
    fold_arguments,
    images_of_folds,
    scores,
    with_maps,
)
from numpy.typing import NDArray
from PIL import Image
from prediction_context import whole_image
from scipy.ndimage import gaussian_filter
from torch import nn

from semimoe.methods import METHODS
from semimoe.methods.learner import Network
from semimoe.model_card import ModelCard, load_card
from semimoe.model_weights import load_weights
from semimoe.prediction.predictor import Predictor
from semimoe.training.split_scores import ValidationImage

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # of an image (3, H, W)
# Optical density of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_ADAPTATION_TILES, _TILE_PX = 16, 256


def stain_amounts(haematoxylin: float, eosin: float) -> Change:
    """Amounts of the stains, multiplied."""
    change = np.linalg.inv(_STAINS) @ np.diag([haematoxylin, eosin, 1.0]) @ _STAINS

    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        density = -np.log((image.astype(np.float32) + 1) / 256)
        return _rounded(np.exp(-np.tensordot(change.T, density, axes=1)) * 256 - 1)

    return apply


def colour_factors(red: float, green: float, blue: float) -> Change:
    """Intensities of the colours, multiplied: another lamp or white balance."""
    factors = np.array([red, green, blue])[:, None, None]
    return lambda image: _rounded(image * factors)


def gamma(exponent: float) -> Change:
    return lambda image: _rounded(255 * (image / 255) ** exponent)


def saturation(factor: float) -> Change:
    """Distance of each colour from grey, multiplied."""

    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        grey = image.mean(0, keepdims=True)
        return _rounded(grey + factor * (image - grey))

    return apply


def blur(sigma_px: float) -> Change:
    return lambda image: _rounded(
        gaussian_filter(image.astype(np.float32), (0, sigma_px, sigma_px))
    )


def jpeg(quality: int) -> Change:
    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(
            file, "JPEG", quality=quality
        )
        decoded = np.asarray(Image.open(file).convert("RGB"))
        return np.ascontiguousarray(decoded.transpose(2, 0, 1))

    return apply


def noise(standard_deviation: float) -> Change:
    """Noise of a sensor; the same for images of the same size."""

    def apply(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        values = np.random.default_rng(0).normal(0, standard_deviation, image.shape)
        return _rounded(image + values)

    return apply


CHANGES: dict[str, Change] = {
    "none": lambda image: image,
    "haematoxylin x 1.8": stain_amounts(1.8, 1),
    "haematoxylin x 0.45": stain_amounts(0.45, 1),
    "eosin x 1.8": stain_amounts(1, 1.8),
    "eosin x 0.45": stain_amounts(1, 0.45),
    "red x 0.75": colour_factors(0.75, 1, 1),
    "blue x 0.75": colour_factors(1, 1, 0.75),
    "gamma 0.5": gamma(0.5),
    "gamma 2": gamma(2),
    "saturation x 0.3": saturation(0.3),
    "blur 3 px": blur(3),
    "JPEG quality 30": jpeg(30),
    "JPEG quality 10": jpeg(10),
    "noise 15": noise(15),
}


def main() -> None:
    parser = fold_arguments(__doc__)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--adapt", type=float, nargs="*", default=[], help="shares, from 0 to 1")
    arguments = parser.parse_args()
    card = load_card(arguments.folds[0])
    images = images_of_folds(arguments)
    predictors = {
        fold: Predictor.load(
            fold, device="cpu", threads=arguments.threads, runtime=arguments.runtime
        )
        for fold in arguments.folds
    }
    unchanged = with_maps(images, whole_image, predictors)
    threshold, split = first_choice(unchanged, card, arguments.split_of)
    print(f"threshold {threshold:g}, {split}\n{'':32s}{SCORE_HEADER}", flush=True)

    def show(name: str, predicted: list[ValidationImage]) -> None:
        row = scores(predicted, card, threshold, split, distances=False)
        print(f"{name:32s}{row}", flush=True)

    for name in arguments.changes:
        changed = [one._replace(image=CHANGES[name](one.image)) for one in images]
        is_changed = name != "none"
        show(name, with_maps(changed, whole_image, predictors) if is_changed else unchanged)
        statistics = {
            fold: adapted_statistics(fold, [one for one in changed if one.fold == fold])
            for fold in arguments.folds
            if arguments.adapt
        }
        for share in arguments.adapt:
            adapted = {
                fold: adapted_predictor(fold, statistics[fold], share) for fold in arguments.folds
            }
            show(f"  statistics x {share:g}", with_maps(changed, whole_image, adapted))


# Running mean and variance of each layer.
Statistics = list[tuple[torch.Tensor, torch.Tensor]]


def adapted_statistics(folder: Path, images: list[HeldOutImage]) -> Statistics:
    """Statistics of batch normalisation on tiles of the images."""
    network = load_network(folder, load_card(folder))
    layers = normalisation_layers(network)
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches, of which there is one
        layer.train()
    with torch.no_grad():
        network(torch.from_numpy(drawn_tiles(images)))
    return [(running(layer.running_mean), running(layer.running_var)) for layer in layers]


def adapted_predictor(folder: Path, statistics: Statistics, share: float) -> Predictor:
    """A model whose statistics are mixed with others."""
    card = load_card(folder)
    network = load_network(folder, card)
    for layer, (mean, variance) in zip(normalisation_layers(network), statistics, strict=True):
        running(layer.running_mean).lerp_(mean, share)
        running(layer.running_var).lerp_(variance, share)
    return Predictor(network, card, torch.device("cpu"))


def normalisation_layers(network: nn.Module) -> list[nn.BatchNorm2d]:
    """All layers of batch normalisation, in the order of the network."""
    return [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]


def running(statistic: torch.Tensor | None) -> torch.Tensor:
    """Running mean or variance of a layer: all layers have them."""
    assert statistic is not None
    return statistic


def load_network(folder: Path, card: ModelCard) -> Network:
    """The network of a model, in evaluation mode."""
    network = METHODS[card.method].load_learner().build_network(card.network)
    network.load_state_dict(load_weights(folder, card)[0])
    return network.eval()


def drawn_tiles(images: list[HeldOutImage]) -> NDArray[np.uint8]:
    """Tiles at random places of random images: uint8 (B, 3, T, T)."""
    generator = np.random.default_rng(0)
    tiles = []
    for number in generator.integers(0, len(images), _ADAPTATION_TILES):
        image = images[number].image
        ends = [(0, max(_TILE_PX - side, 0)) for side in image.shape[1:]]
        image = np.pad(image, [(0, 0), *ends], mode="symmetric")
        y, x = (int(generator.integers(0, side - _TILE_PX + 1)) for side in image.shape[1:])
        tiles.append(image[:, y : y + _TILE_PX, x : x + _TILE_PX])
    return np.stack(tiles)


def _rounded(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
