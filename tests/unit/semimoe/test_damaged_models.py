"""Models whose bytes changed after they were written, and values that are not finite."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from flipped_bits import flip_a_bit
from short_runs import CARD_VALUES, NETWORK

from semimoe.model_card import WEIGHTS, load_card, parse_card, save_card
from semimoe.model_errors import ModelError
from semimoe.model_weights import load_weights
from semimoe.networks.efficientnet import LITE0, LiteEncoder
from semimoe.networks.mixture import SemiMoE
from semimoe.prediction.image_predictor import ImagePredictor
from semimoe.prediction.predictor import Predictor
from semimoe.tensor_files import load_metadata, load_tensors, save_tensors
from semimoe.training.checkpoints import CHECKPOINT, choose_checkpoint, is_resumable
from tiling.raster.atomic_files import file_checksum

CARD = {**CARD_VALUES, "network": NETWORK.to_dict()}
FLIPS = 100
SHIPPED = Path(__file__).parents[3] / "models" / "glas"


def write_model(folder: Path, *, has_checksum: bool = True, factor: float = 1.0) -> Path:
    torch.manual_seed(0)
    state = {name: tensor * factor for name, tensor in SemiMoE(NETWORK).state_dict().items()}
    save_tensors(folder / WEIGHTS, state, {"epoch": 3})
    checksum = {"weights_sha256": file_checksum(folder / WEIGHTS)} if has_checksum else {}
    save_card(folder, parse_card(CARD | checksum, source="test"))
    return folder


@pytest.mark.parametrize("has_checksum", [True, False])
def test_a_flipped_bit_in_weights_is_an_error_with_the_file_and_the_remedy(
    tmp_path: Path, has_checksum: bool
) -> None:
    """Also without a checksum in the card: the file of the weights has one, too."""
    model = write_model(tmp_path / "model", has_checksum=has_checksum)
    card, rng = load_card(model), np.random.default_rng(0)
    data = (model / WEIGHTS).read_bytes()
    for _ in range(FLIPS):
        flip_a_bit(model / WEIGHTS, rng)
        with pytest.raises(ModelError, match=r"model\.safetensors: .*(train|copy) .*again"):
            load_weights(model, card)
        (model / WEIGHTS).write_bytes(data)
    load_weights(model, card)


def test_a_flipped_bit_in_the_header_of_weights_is_an_error(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.int64)}, {})
    data, rng = (tmp_path / "x").read_bytes(), np.random.default_rng(1)
    for _ in range(FLIPS):
        flip_a_bit(tmp_path / "x", rng)
        with pytest.raises(ModelError, match=r"x: .*(train|copy) it again"):
            load_tensors(tmp_path / "x")
        (tmp_path / "x").write_bytes(data)


def test_a_damaged_checkpoint_starts_the_training_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_tensors(tmp_path / "c", {"a": torch.zeros(300)}, {"checksum": "1", "epoch": 3})
    assert is_resumable(tmp_path / "c", "1")
    data = bytearray((tmp_path / "c").read_bytes())
    data[-40] ^= 4
    (tmp_path / "c").write_bytes(data)
    assert not is_resumable(tmp_path / "c", "1")
    assert "damaged (wrong checksum)" in caplog.text
    assert "starting from the first epoch" in caplog.text


def test_a_checkpoint_of_other_settings_is_kept_and_found_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, earlier = tmp_path / "m.resume", tmp_path / "m.resume.earlier"

    def write(checksum: str) -> None:
        save_tensors(folder / CHECKPOINT, {"a": torch.zeros(3)}, {"checksum": checksum})

    def checksums() -> list[str | None]:
        paths = [path / CHECKPOINT for path in (folder, earlier)]
        return [load_metadata(path)["checksum"] if path.exists() else None for path in paths]

    choose_checkpoint(folder, "right")
    assert not folder.exists()
    write("right")
    choose_checkpoint(folder, "right")
    assert checksums() == ["right", None]
    choose_checkpoint(folder, "wrong")
    assert checksums() == [None, "right"]
    assert f"is kept in {earlier} until this training is finished" in caplog.text
    choose_checkpoint(folder, "right")  # the wrong run was stopped in its first epoch
    assert checksums() == ["right", None]
    choose_checkpoint(folder, "wrong")
    write("wrong")
    choose_checkpoint(folder, "right")
    assert checksums() == ["right", "wrong"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.resume", "m.resume.earlier"]


def test_a_damaged_checkpoint_is_named_and_does_not_replace_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, earlier = tmp_path / "m.resume", tmp_path / "m.resume.earlier"
    save_tensors(earlier / CHECKPOINT, {"a": torch.zeros(3)}, {"checksum": "1"})
    folder.mkdir()
    (folder / "history.csv").touch()
    (folder / CHECKPOINT).write_bytes(b"damaged")
    choose_checkpoint(folder, "2")
    assert f"{folder / CHECKPOINT}" in caplog.text
    assert not folder.exists()
    assert load_metadata(earlier / CHECKPOINT)["checksum"] == "1"


def test_weights_of_another_training_are_an_error(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    other = write_model(tmp_path / "other", factor=1.5)
    shutil.copy(other / WEIGHTS, model / WEIGHTS)
    with pytest.raises(ModelError, match=r"not the weights of model\.json .*copy both files again"):
        Predictor.load(model, device="cpu", threads=1)


def test_a_card_without_checksum_is_accepted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Predictor.load(write_model(tmp_path, has_checksum=False), device="cpu", threads=1)
    assert "model.json has no checksum of the weights" in caplog.text


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "x", metadata={"semimoe": '{"epoch": 3}'})
    tensors, metadata = load_tensors(tmp_path / "x")
    assert (tensors["a"].tolist(), metadata) == ([1.0, 1.0], {"epoch": 3})
    assert load_metadata(tmp_path / "x") == {"epoch": 3}


def test_the_shipped_weights_are_those_of_their_card(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_weights(SHIPPED, load_card(SHIPPED))
    assert not caplog.text


def test_damaged_pretrained_weights_of_the_encoder_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semimoe.networks import efficientnet

    (tmp_path / "imagenet").mkdir()
    copy = Path(shutil.copy(LITE0.weights, tmp_path / "imagenet"))
    monkeypatch.setattr(efficientnet, "__file__", str(tmp_path / "efficientnet.py"))
    flip_a_bit(copy, np.random.default_rng(0))
    with pytest.raises(ModelError, match=r"damaged .*fetch the file again"):
        LiteEncoder(LITE0).load_pretrained()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_an_error(tmp_path: Path, value: float) -> None:
    """Maps of NaN have no gland: the result would look like a slide without glands."""
    model = write_model(tmp_path / "model", factor=value)
    images = np.zeros((2, 3, 32, 32), np.uint8)
    for precision, remedy in (("fp32", "train the model"), ("bf16", "set the precision to fp32")):
        predictor = Predictor.load(model, device="cpu", threads=1, precision=precision)
        with pytest.raises(ModelError, match=f"model: NaN or infinite .* 2 of 2 tiles; {remedy}"):
            predictor(images)
    with pytest.raises(ModelError, match="NaN or infinite"):
        ImagePredictor(model, device="cpu", threads=1).maps(images[0])
