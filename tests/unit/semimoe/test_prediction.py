"""Blending of tiles, and what a predictor gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semimoe.errors import DeviceError, ModelError
from semimoe.network.model import SemiMoE
from semimoe.prediction import Predictor, maps_of, predict_array
from semimoe.settings import NetworkSettings
from semimoe.weights import save_card, save_tensors

NETWORK = NetworkSettings(width=4)
CARD = {
    "method": "semimoe",
    "network": NETWORK.to_dict(),
    "mpp_um": 1.0,
    "tile_px": 32,
    "threshold": 0.5,
    "split": {},
    "sdf_um": 20.0,
    "sdf_scale": "um",
    "normalisation": {},
}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "model.safetensors", SemiMoE(NETWORK).state_dict(), {})
    save_card(tmp_path, CARD)
    return tmp_path


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 75), st.integers(1, 75), st.integers(0, 31), st.integers(1, 5))
def test_an_identity_prediction_restores_the_image(height, width, overlap, batch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    made = predict_array(lambda tiles: tiles.astype(np.float32), image, tile_px=32, overlap_px=overlap, batch=batch)
    np.testing.assert_allclose(made, image, atol=1e-3)


def test_maps_are_in_their_ranges_and_do_not_depend_on_the_batch(folder) -> None:
    predictor = Predictor.load(folder, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 48), np.uint8)
    maps, gates = predictor.with_gates(images)
    assert maps.shape == (3, 4, 32, 48)
    assert maps.dtype == gates.dtype == np.float32
    assert gates.shape == (3, 3, 3)
    np.testing.assert_allclose(gates.sum(2), 1, rtol=1e-5)
    assert ((maps[:, [0, 2, 3]] >= 0) & (maps[:, [0, 2, 3]] <= 1)).all()
    assert (np.abs(maps[:, 1]) <= 1).all()
    np.testing.assert_allclose(predictor(images[1:2])[0], maps[1], atol=1e-5)


def test_out_of_memory_halves_the_batch_and_changes_nothing(folder, caplog, monkeypatch) -> None:
    predictor = Predictor.load(folder, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    maps, gates = predictor.with_gates(images)
    assert predictor.most_at_once is None
    forward = SemiMoE.forward

    def small(self, given):
        if len(given) > 1:
            raise torch.OutOfMemoryError
        return forward(self, given)

    monkeypatch.setattr(SemiMoE, "forward", small)
    in_parts = predictor.with_gates(images)
    assert predictor.most_at_once == 1
    assert "going on with 1 tiles at a time" in caplog.text
    np.testing.assert_allclose(in_parts[0], maps, atol=1e-5)
    np.testing.assert_allclose(in_parts[1], gates, atol=1e-5)
    monkeypatch.setattr(SemiMoE, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(DeviceError, match="use smaller tiles"):
        predictor(images)


def test_disagreement_is_the_range_of_three_opinions() -> None:
    outputs = SemiMoE(NETWORK).eval()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    seg = torch.zeros(1, 2, 16, 16)
    sure = torch.cat([-seg[:, :1] - 40, seg[:, 1:] + 40], 1)
    agree = outputs._replace(
        gates=outputs.gates._replace(seg=sure), experts=outputs.experts._replace(seg=sure, sdf=torch.full((1, 1, 16, 16), 40.0))
    )
    assert maps_of(agree)[:, 3].max() < 1e-3
    dissent = agree._replace(experts=agree.experts._replace(sdf=torch.full((1, 1, 16, 16), -40.0)))
    assert maps_of(dissent)[:, 3].min() > 0.999


@pytest.mark.parametrize("damage", ["no card", "card", "weights", "other network", "pickle", "missing key", "other method"])
def test_a_damaged_model_is_refused_by_name(folder, damage) -> None:
    weights, card = folder / "model.safetensors", folder / "model.json"
    if damage == "no card":
        card.unlink()
    elif damage == "card":
        card.write_text("{")
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other network":
        save_card(folder, CARD | {"network": NETWORK.to_dict() | {"width": 8}})
    elif damage == "pickle":
        torch.save({}, weights)
    elif damage == "other method":
        save_card(folder, CARD | {"method": "unknown"})
    else:
        save_card(folder, {key: value for key, value in CARD.items() if key != "threshold"})
    with pytest.raises(ModelError, match=str(folder)):
        Predictor.load(folder, device="cpu", threads=1)


def test_the_same_weights_are_the_same_bytes(tmp_path) -> None:
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate("cab")}
    save_tensors(tmp_path / "one", tensors, {"b": 1, "a": 2})
    save_tensors(tmp_path / "two", dict(reversed(tensors.items())), {"a": 2, "b": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
