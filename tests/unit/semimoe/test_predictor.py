"""Blending of tiles, and what a predictor gives."""

import json

import numpy as np
import pytest
import torch
from short_runs import CARD_VALUES

from semimoe.model_card import ChoiceWithFlips, load_card, parse_card, save_card
from semimoe.model_errors import DeviceError, ModelError
from semimoe.networks.mixture import NetworkOutputs, SemiMoE, TaskLogits
from semimoe.prediction.flips import resolve_flips, with_flips
from semimoe.prediction.image_predictor import ImagePredictor
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings
from semimoe.tensor_files import save_tensors

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
CARD = {**CARD_VALUES, "network": NETWORK.to_dict()}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_tensors(tmp_path / "model.safetensors", SemiMoE(NETWORK).state_dict(), {})
    save_card(tmp_path, parse_card(CARD, source="test"))
    return tmp_path


def test_maps_are_in_their_ranges_and_do_not_depend_on_the_batch(folder) -> None:
    predictor = Predictor.load(folder, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 48), np.uint8)
    maps, gates = predictor.maps_and_gate_weights(images)
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
    maps, gates = predictor.maps_and_gate_weights(images)
    assert predictor.max_tiles_at_once is None
    forward = SemiMoE.forward

    def small(self, given):
        if len(given) > 1:
            raise torch.OutOfMemoryError
        return forward(self, given)

    monkeypatch.setattr(SemiMoE, "forward", small)
    in_parts = predictor.maps_and_gate_weights(images)
    assert predictor.max_tiles_at_once == 1
    assert "continuing with 1 tiles at a time" in caplog.text
    np.testing.assert_allclose(in_parts[0], maps, atol=1e-5)
    np.testing.assert_allclose(in_parts[1], gates, atol=1e-5)
    monkeypatch.setattr(
        SemiMoE, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError())
    )
    with pytest.raises(DeviceError, match="use smaller tiles"):
        predictor(images)


def test_a_limit_that_was_set_holds_from_the_first_batch(folder, monkeypatch) -> None:
    predictor = Predictor.load(folder, device="cpu", threads=1)
    predictor.max_tiles_at_once = 2
    seen = []
    forward = SemiMoE.forward
    monkeypatch.setattr(
        SemiMoE, "forward", lambda self, images: seen.append(len(images)) or forward(self, images)
    )
    predictor(np.zeros((5, 3, 32, 32), np.uint8))
    assert seen == [2, 2, 1]


def test_bf16_maps_are_close_to_those_of_fp32_and_fp32_maps_are_reproducible(folder) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    exact = [
        Predictor.load(folder, device="cpu", threads=1, precision="fp32").maps_and_gate_weights(
            images
        )
        for _ in range(2)
    ]
    rough = Predictor.load(folder, device="cpu", threads=1, precision="bf16").maps_and_gate_weights(
        images
    )
    for one, two, near in zip(*exact, rough, strict=True):
        np.testing.assert_array_equal(one, two)
        assert near.dtype == np.float32
        assert not np.array_equal(one, near)
        assert np.abs(one - near).mean() < 2 / 255
    np.testing.assert_array_equal(
        Predictor.load(folder, device="cpu", threads=1).maps_and_gate_weights(images)[0],
        exact[0][0],
    )


@pytest.mark.parametrize(("native", "taken"), [("bf16", "bf16"), ("fp32", "fp32")])
def test_auto_is_the_native_precision_of_the_machine(folder, monkeypatch, native, taken) -> None:
    monkeypatch.setattr("semimoe.devices.native_precision", lambda _: native)
    assert Predictor.load(folder, device="cpu", threads=1, precision="auto").precision == taken
    assert Predictor.load(folder, device="cpu", threads=1).precision == "fp32"


class Slanted(torch.nn.Module):
    """A network without symmetry and with one gate: its outputs depend on a pixel and its place."""

    settings = NetworkSettings(
        encoder="unet", experts="separate", width=4, gates="single", tasks="seg"
    )

    def forward(self, images: torch.Tensor) -> NetworkOutputs:
        place = torch.arange(images.shape[2])[:, None] * 3.0 + torch.arange(images.shape[3]) * 7.0
        logit = (images[:, 0].float() + place)[:, None] / 50 - 4  # (B, 1, H, W)
        seg = torch.cat([torch.zeros_like(logit), logit], 1)
        corner = images[:, 0, 0, 0].float().view(-1, 1, 1) / 255
        return NetworkOutputs(TaskLogits(seg, None, None), TaskLogits(-seg, None, None), corner)


def test_flips_are_the_mean_of_four_predictions_turned_back() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 48), np.uint8)
    plain, flipped = (
        Predictor(Slanted(), {}, torch.device("cpu"), flips=flips) for flips in (False, True)
    )
    expected, weights = np.zeros((3, 4, 32, 48)), np.zeros(3)
    for up_down in (1, -1):
        for left_right in (1, -1):
            maps, gates = plain.maps_and_gate_weights(
                np.ascontiguousarray(images[:, :, ::up_down, ::left_right])
            )
            expected += maps[:, :, ::up_down, ::left_right] / 4
            weights += gates[:, 0, 0] / 4
    maps, gates = flipped.maps_and_gate_weights(images)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(gates[:, 0, 0], weights, atol=1e-6)
    assert np.abs(maps - plain(images)).max() > 0.1, "the oracle would not notice a missing flip"


def test_tiles_predicted_in_training_have_the_same_mean_over_flips() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 48), np.uint8)
    plain, flipped = (
        Predictor(Slanted(), {}, torch.device("cpu"), flips=flips) for flips in (False, True)
    )
    np.testing.assert_array_equal(with_flips(plain)(images), flipped(images))


def test_flips_are_used_on_a_gpu_if_the_threshold_was_chosen_with_them(folder) -> None:
    card = load_card(folder)
    chosen = ChoiceWithFlips(
        threshold=0.6, split=card.split.model_copy(update={"growth_um": 5.0}), validation={}
    )
    with_flips_chosen = card.model_copy(update={"flips": chosen})
    of_auto = {
        (one.flips is not None, device): resolve_flips("auto", one, device)
        for one in (card, with_flips_chosen)
        for device in ("cpu", "gpu")
    }
    assert [key for key, flips in of_auto.items() if flips] == [(True, "gpu")]
    assert resolve_flips(True, card, "cpu")
    assert not resolve_flips(False, with_flips_chosen, "gpu")
    save_card(folder, with_flips_chosen)
    used = {
        flips: Predictor.load(folder, device="cpu", threads=1, flips=flips).card
        for flips in (False, True)
    }
    assert {flips: (one.threshold, one.split.growth_um) for flips, one in used.items()} == {
        False: (0.5, 10.0),
        True: (0.6, 5.0),
    }
    for flips, expected in (("auto", True), (False, False)):
        images = ImagePredictor(folder, device="cpu", threads=1, flips=flips)
        assert (images.flips, images.card.threshold == 0.6) == (expected, expected)


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_prediction_of_a_flipped_image_is_the_flipped_prediction(
    folder, axes, precision
) -> None:
    predictor = Predictor.load(folder, device="cpu", threads=1, flips=True, precision=precision)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 48), np.uint8)
    maps, gates = predictor.maps_and_gate_weights(images)
    turned, same = predictor.maps_and_gate_weights(np.flip(images, axes))
    np.testing.assert_array_equal(turned, np.flip(maps, axes))
    np.testing.assert_array_equal(same, gates)


def test_disagreement_is_the_range_of_three_gland_probabilities() -> None:
    outputs = SemiMoE(NETWORK).eval()(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    seg = torch.zeros(1, 2, 16, 16)
    sure = torch.cat([-seg[:, :1] - 40, seg[:, 1:] + 40], 1)
    agree = outputs._replace(
        gates=outputs.gates._replace(seg=sure),
        experts=outputs.experts._replace(seg=sure, sdf=torch.full((1, 1, 16, 16), 40.0)),
    )
    assert maps_from_outputs(agree)[:, 3].max() < 1e-3
    dissent = agree._replace(experts=agree.experts._replace(sdf=torch.full((1, 1, 16, 16), -40.0)))
    assert maps_from_outputs(dissent)[:, 3].min() > 0.999


@pytest.mark.parametrize(
    "damage",
    ["no card", "card", "weights", "other network", "pickle", "missing key", "other method"],
)
def test_a_damaged_model_is_refused_by_name(folder, damage) -> None:
    weights, card = folder / "model.safetensors", folder / "model.json"
    if damage == "no card":
        card.unlink()
    elif damage == "card":
        card.write_text("{")
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other network":
        other = CARD | {"network": NETWORK.to_dict() | {"width": 8}}
        save_card(folder, parse_card(other, source="test"))
    elif damage == "pickle":
        torch.save({}, weights)
    elif damage == "other method":
        card.write_text(json.dumps(CARD | {"method": "unknown"}))
    else:
        card.write_text(json.dumps({k: v for k, v in CARD.items() if k != "threshold"}))
    with pytest.raises(ModelError, match=str(folder)):
        Predictor.load(folder, device="cpu", threads=1)


def test_the_same_weights_are_the_same_bytes(tmp_path) -> None:
    tensors = {name: torch.full((2,), float(i)) for i, name in enumerate("cab")}
    save_tensors(tmp_path / "one", tensors, {"b": 1, "a": 2})
    save_tensors(tmp_path / "two", dict(reversed(tensors.items())), {"a": 2, "b": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
