"""The benchmarks on held-out images: changes of images, contexts of tiles, adapted statistics."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from short_runs import CARD_VALUES
from torch import nn

from semimoe.model_card import parse_card, save_card
from semimoe.networks.mixture import SemiMoE
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings
from semimoe.tensor_files import save_tensors

NETWORK = NetworkSettings(encoder="unet", experts="shared", width=4)


@pytest.fixture
def benchmark(monkeypatch) -> Any:
    """Imports a script of `benchmarks/`."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 250, (3, 48, 64), np.uint8)


def test_changes_of_stain_shift_are_repeatable_and_change_the_image(benchmark, image) -> None:
    changes = benchmark("stain_shift").CHANGES
    for name, change in changes.items():
        changed = change(image)
        assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(changed, change(image), err_msg=name)
        assert (np.abs(changed.astype(int) - image).mean() > 1) == (name != "none"), name


def test_a_stain_of_twice_the_amount_has_twice_the_optical_density(benchmark) -> None:
    stain = benchmark("stain_shift").stain_amounts(2.0, 1.0)
    haematoxylin = np.array([0.650, 0.704, 0.286]) / np.linalg.norm([0.650, 0.704, 0.286])
    once, twice = (256 * np.exp(-0.5 * amount * haematoxylin) - 1 for amount in (1, 2))
    pixel = np.rint(once).astype(np.uint8).reshape(3, 1, 1)
    assert stain(pixel).ravel() == pytest.approx(twice, abs=2)


def test_a_tile_in_the_grid_of_slides_sees_what_surrounds_the_image(benchmark, image) -> None:
    context = benchmark("prediction_context")

    def mean_of_tile(tiles: np.ndarray) -> np.ndarray:
        return np.broadcast_to(tiles.mean((1, 2, 3), np.float32)[:, None, None, None] / 255, (
            len(tiles), 4, *tiles.shape[2:],
        ))  # fmt: skip

    dark = np.zeros((3, 80, 96), np.uint8)
    sizes = {"tile_px": 128}
    mirror, glass = (
        context.tiles_of_slide(mean_of_tile, dark, glass=glass, **sizes) for glass in (False, True)
    )
    assert mirror.shape == glass.shape == (4, 80, 96)
    assert mirror.max() == 0
    assert glass.min() > 0.1
    alone = context.tiles_of_image(mean_of_tile, dark, **sizes)
    np.testing.assert_array_equal(alone, mirror)


def test_kept_maps_are_those_of_the_same_weights_runtime_and_flips(
    benchmark, image, tmp_path
) -> None:
    calls = []

    def maps(predictor: SimpleNamespace, image: np.ndarray) -> np.ndarray:
        calls.append(predictor)
        return np.full((4, *image.shape[1:]), len(calls), np.float32)

    cached = benchmark("prediction_context").cached(maps, tmp_path)
    predictors = [
        SimpleNamespace(card=SimpleNamespace(weights_sha256=weights), runtime=runtime, flips=flips)
        for weights, runtime, flips in (
            *(("a", "torch", False), ("b", "torch", False)),
            *(("a", "openvino", False), ("a", "torch", True)),
        )
    ]
    for _ in range(2):
        values = [int(cached(predictor, image)[0, 0, 0]) for predictor in predictors]
        assert values == [1, 2, 3, 4]
    assert calls == predictors


def test_adapted_statistics_are_those_of_the_tiles_by_their_share(benchmark, tmp_path) -> None:
    stain_shift = benchmark("stain_shift")
    torch.manual_seed(0)
    network = SemiMoE(NETWORK)
    save_tensors(tmp_path / "model.safetensors", network.state_dict(), {})
    card = {**CARD_VALUES, "network": NETWORK.to_dict()}
    save_card(tmp_path, parse_card(card, source="test"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    images = [SimpleNamespace(image=pixels)]
    statistics = stain_shift.adapted_statistics(tmp_path, images)
    tiles = torch.from_numpy(stain_shift.drawn_tiles(images))
    means: dict[nn.Module, torch.Tensor] = {}

    def keep_mean(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        means[layer] = inputs[0].mean((0, 2, 3))

    layers = stain_shift.normalisation_layers(network)
    for layer in layers:
        layer.register_forward_pre_hook(keep_mean)
    with torch.no_grad():
        network.train()(tiles)
    assert len(layers) == len(statistics) > 3
    # Dropout follows the last layers of batch normalisation.
    for (mean, _), layer in zip(statistics, layers, strict=True):
        np.testing.assert_allclose(mean, means[layer], atol=1e-4)
    plain = Predictor.load(tmp_path, device="cpu", threads=1)
    unchanged, adapted = (
        stain_shift.adapted_predictor(tmp_path, statistics, share) for share in (0.0, 1.0)
    )
    tile = pixels[None]
    np.testing.assert_array_equal(unchanged(tile), plain(tile))
    assert np.abs(adapted(tile) - plain(tile)).max() > 0.01
