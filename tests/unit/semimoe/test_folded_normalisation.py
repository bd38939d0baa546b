"""Networks whose batch normalisation is a part of the convolutions give the same maps."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_steps import METHOD_NAMES
from short_runs import CARD_VALUES
from torch import nn

from semimoe.methods import METHODS
from semimoe.model_card import load_card, parse_card
from semimoe.model_weights import load_weights
from semimoe.networks.folded_normalisation import fold_batch_normalisation
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings

MODEL = Path(__file__).parents[3] / "models" / "glas"
UNET = NetworkSettings(encoder="unet", experts="separate", width=4)
LITE = NetworkSettings(encoder="efficientnet-lite0", experts="shared", width=4)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 64), np.uint8)


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def maps_as_trained(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return maps_from_outputs(network.eval()(torch.from_numpy(images))).numpy()


def network_with_statistics(method: str, settings: NetworkSettings) -> nn.Module:
    """Factors, offsets and running statistics are random, as after a training."""
    torch.manual_seed(0)
    network = METHODS[method].load_learner().build_network(settings)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor, 0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("settings", [UNET, LITE], ids=["unet", "efficientnet"])
def test_every_network_gives_the_same_maps_without_batch_normalisation(method, settings) -> None:
    network = network_with_statistics(method, settings)
    expected = maps_as_trained(copy.deepcopy(network), IMAGES)
    card = parse_card(
        {**CARD_VALUES, "method": method, "network": settings.to_dict()}, source="test"
    )
    assert count_norms(network) > 0
    predictor = Predictor(copy.deepcopy(network), card, torch.device("cpu"))
    assert count_norms(predictor._model) == 0
    np.testing.assert_allclose(predictor(IMAGES), expected, atol=0.1 / 255)
    assert expected.std(axis=(0, 2, 3)).max() > 1 / 255
    as_trained = Predictor(network, card, torch.device("cpu"), precision="bf16")
    assert count_norms(as_trained._model) > 0


def test_the_shipped_model_gives_the_same_maps_without_batch_normalisation() -> None:
    card = load_card(MODEL)
    network = METHODS[card.method].load_learner().build_network(card.network)
    network.load_state_dict(load_weights(MODEL, card)[0])
    # Smooth, so that the gland probability varies.
    coarse = torch.from_numpy(IMAGES[:1, :, :8, :8]).float()
    images = nn.functional.interpolate(coarse, scale_factor=16, mode="bicubic").clamp(0, 255)
    images = images.to(torch.uint8).numpy()
    predictor = Predictor.load(MODEL, device="cpu", threads=1)
    assert count_norms(predictor._model) == 0
    maps, expected = predictor(images), maps_as_trained(network, images)
    np.testing.assert_allclose(maps, expected, atol=0.1 / 255)
    np.testing.assert_array_equal(maps[:, 0] > 0.5, expected[:, 0] > 0.5)
    assert np.ptp(expected[:, 0]) > 0.3


def test_a_normalisation_that_follows_no_convolution_stays() -> None:
    layers = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    ).eval()
    fold_batch_normalisation(layers)
    assert [type(layer).__name__ for layer in layers] == [
        "BatchNorm2d",
        "Conv2d",
        "ReLU",
        "BatchNorm2d",
        "Conv2d",
    ]
