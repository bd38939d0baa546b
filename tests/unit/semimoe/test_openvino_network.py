"""Networks that OpenVINO computes give the maps and gate weights of torch."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from short_runs import CARD_VALUES

from semimoe.methods import METHODS
from semimoe.model_card import parse_card
from semimoe.model_errors import DeviceError
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings

# Not importorskip: that import would report itself over the network.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the package openvino is not installed"
)
UNET = NetworkSettings(encoder="unet", experts="separate", width=4)
LITE = NetworkSettings(encoder="efficientnet-lite0", experts="shared", width=4)
TWO_TASKS = LITE.model_copy(update={"tasks": "seg+sdf", "gates": "single"})


def predictor(network: NetworkSettings, *, method: str = "semimoe", **options: object) -> Predictor:
    """A predictor with the same random weights in each call."""
    torch.manual_seed(0)
    values = {**CARD_VALUES, "method": method, "network": network.to_dict()}
    card = parse_card(values, source="test")
    model = METHODS[method].load_learner().build_network(network)
    return Predictor(model, card, torch.device("cpu"), **options)  # type: ignore[arg-type]


@needs_openvino
@pytest.mark.parametrize(
    ("network", "method"),
    [(LITE, "semimoe"), (TWO_TASKS, "semimoe"), (UNET, "unet")],
)
def test_maps_and_gate_weights_are_those_of_torch(network: NetworkSettings, method: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 64), np.uint8)
    maps, gates = predictor(network, method=method).maps_and_gate_weights(images)
    converted = predictor(network, method=method, runtime="openvino")
    openvino_maps, openvino_gates = converted.maps_and_gate_weights(images)
    assert maps.shape == openvino_maps.shape
    np.testing.assert_allclose(openvino_maps, maps, atol=5e-5)
    np.testing.assert_allclose(openvino_gates, gates, atol=1e-5)
    assert len(np.unique(maps)) > 100


@needs_openvino
def test_maps_of_openvino_do_not_depend_on_the_batch_and_follow_flips() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    converted = predictor(UNET, runtime="openvino")
    maps = converted(images)
    np.testing.assert_array_equal(converted(images[1:2])[0], maps[1])
    # Another size of tile, and back.
    assert converted(images[:, :, :16]).shape == (3, 4, 16, 32)
    np.testing.assert_array_equal(converted(images), maps)
    flipped = predictor(UNET, runtime="openvino", flips=True)
    expected = predictor(UNET, flips=True)(images)
    np.testing.assert_allclose(flipped(images), expected, atol=5e-5)


@needs_openvino
def test_openvino_reports_nothing(tmp_path: Path) -> None:
    """OpenVINO's own import writes a user number into the home folder, and sends it."""
    code = """
import socket
import numpy as np
def refuse(*_, **__):
    print("network")
    raise OSError
socket.getaddrinfo = refuse
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings
network = NetworkSettings(encoder="unet", experts="separate", width=4)
predictor = Predictor.untrained(network, threads=1, runtime="openvino")
print(predictor(np.zeros((1, 3, 32, 32), np.uint8)).shape)
"""
    home = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env=home, check=True, capture_output=True, text=True).stdout
    assert output == "(1, 4, 32, 32)\n"
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_auto_is_fp32_with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semimoe.devices.native_precision", lambda _: "bf16")
    chosen = [
        Predictor.untrained(UNET, threads=1, precision=precision, runtime=runtime).precision
        for precision, runtime in (("auto", "torch"), ("auto", "openvino"), ("bf16", "openvino"))
    ]
    assert chosen == ["bf16", "fp32", "bf16"]


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="openvino is not installed; install it with"):
        predictor(UNET, runtime="openvino")
