"""Complete training runs: the model learns, and log and card describe the run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from short_runs import NETWORK, SHORT_TRAINING, dice_on, read_history, train

from semimoe.devices import RunDevice
from semimoe.model_errors import TrainingError
from semimoe.networks.mixture import SemiMoE
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.prediction.predictor import Predictor
from semimoe.settings import TrainingSettings
from semimoe.training.training_run import TrainingRun

pytestmark = pytest.mark.xdist_group("trained_models")


@pytest.mark.parametrize("method", ["semimoe", "supervised", "unet"])
def test_predictions_in_bf16_and_fp32_differ_by_a_few_grey_values_only(
    trained_models, discs, method
) -> None:
    images = np.stack([discs(4, 96, seed=77)[i].image for i in range(4)])
    fp32, bf16 = (
        Predictor.load(trained_models[method], device="cpu", threads=1, precision=precision)(images)
        for precision in ("fp32", "bf16")
    )
    difference = 255 * np.abs(fp32 - bf16)
    # The largest one is at the edge of a disc; it depends on the last bits of the training.
    assert 0 < difference[:, 0].max() <= 8
    # Disagreement is not compared: it is a steep function of the distance.
    assert difference[:, :3].mean(axis=(0, 2, 3)).max() < 1
    assert np.quantile(difference[:, :3], 0.99, axis=(0, 2, 3)).max() < 5
    assert ((fp32[:, 0] > 0.5) != (bf16[:, 0] > 0.5)).mean() < 0.01


@pytest.mark.parametrize("method", ["semimoe", "supervised", "unet"])
def test_a_trained_network_segments_touching_discs_and_an_untrained_one_does_not(
    trained_models, discs, method
) -> None:
    new_discs = discs(2, 90, seed=77)
    assert (
        dice_on(Predictor.load(trained_models[method], device="cpu", threads=1), new_discs) > 0.85
    )
    torch.manual_seed(0)
    untrained = SemiMoE(NETWORK).eval()
    with torch.inference_mode():
        assert (
            dice_on(
                lambda images: maps_from_outputs(untrained(torch.from_numpy(images))).numpy(),
                new_discs,
            )
            < 0.7
        )


def test_card_history_and_predictor_of_a_plain_unet_have_the_same_form_as_of_semimoe(
    trained_models,
) -> None:
    card, semimoe = (
        json.loads((trained_models[method] / "model.json").read_text())
        for method in ("unet", "semimoe")
    )
    assert set(card) == set(semimoe)
    assert card["parameters"] < semimoe["parameters"] / 1.9
    predictor = Predictor.load(trained_models["unet"], device="cpu", threads=1)
    maps, gates = predictor.maps_and_gate_weights(np.zeros((2, 3, 32, 48), np.uint8))
    assert maps.shape == (2, 4, 32, 48)
    assert gates.shape == (2, 3, 3)
    assert not gates.any()
    row = read_history(trained_models["unet"])[-1]
    assert row["unsup_share"] == row["s_seg"] == row["gate_seg_seg"] == row["sup_seg_gate"] == ""
    assert float(row["val_dice_gate"]) > 0.85


def test_the_card_holds_what_later_stages_need(trained_models) -> None:
    card = json.loads((trained_models["semimoe"] / "model.json").read_text())
    assert card["method"] == "semimoe"
    assert card["threshold_from"] == "validation"
    assert 0.02 <= card["threshold"] <= 0.98
    assert set(card["split"]) == {"seed_depth_um", "boundary_level", "growth_um"}
    assert (card["mpp_um"], card["tile_px"], card["sdf_um"], card["sdf_scale"]) == (
        1.0,
        32,
        20.0,
        "um",
    )
    assert card["notes"] == {"licence": "synthetic"}
    assert card["validation"]["dice"] > 0.85
    assert card["parameters"] == sum(p.numel() for p in SemiMoE(NETWORK).parameters())


def test_the_history_has_columns_of_the_unsupervised_loss(trained_models) -> None:
    supervised, row = (
        read_history(trained_models["supervised"])[-1],
        read_history(trained_models["semimoe"])[-1],
    )
    assert supervised["unsup_share"] == supervised["pseudo_dice"] == ""
    assert 0 < float(row["unsup_share"]) < 1
    assert float(row["pseudo_dice"]) > 0.5
    for task in ("seg", "sdf", "bnd"):
        assert sum(
            float(row[f"gate_{task}_{expert}"]) for expert in ("seg", "sdf", "bnd")
        ) == pytest.approx(1, abs=1e-4)
        assert float(row[f"s_{task}"]) < 1
    assert float(supervised["loss"]) < float(read_history(trained_models["supervised"])[0]["loss"])


def test_log_and_card_note_gates_that_weigh_all_experts_the_same(
    tmp_path, discs, monkeypatch, caplog
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(
        "semimoe.networks.gates.PaperGate.forward",
        lambda _, pooled: torch.softmax(0 * pooled[:, :3], 1),
    )
    monkeypatch.setattr("semimoe.training.history._UNIFORM_EPOCHS", 3)
    long = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 4, "steps_per_epoch": 1})
    out = train("supervised", tmp_path / "model", discs(2, 40), training=long)
    card = json.loads((out / "model.json").read_text())
    notes = card["gate_notes"]
    assert not any("all experts the same" in warning for warning in card["warnings"])
    assert {
        record.levelname for record in caplog.records if "all experts the same" in record.message
    } == {"INFO"}
    assert (
        sum(
            "weighs all experts the same (weights within 0.01 of uniform for 3 epochs)" in note
            for note in notes
        )
        == 3
    )
    assert [
        record.message[:8] for record in caplog.records if "all experts the same" in record.message
    ][:3] == ["epoch 3:"] * 3


def test_without_validation_the_card_has_the_default_threshold_and_a_warning(
    tmp_path, discs
) -> None:
    card = json.loads(
        (train("supervised", tmp_path / "model", discs(2, 40)) / "model.json").read_text()
    )
    assert (card["threshold"], card["threshold_from"], card["best_epoch"]) == (0.5, "default", 2)
    assert "no validation" in card["warnings"][0]


def test_a_finished_model_is_never_trained_over(tmp_path, discs) -> None:
    """The check is made with the lock of the folder, after other processes have finished."""
    weights = train("supervised", tmp_path / "model", discs(2, 40)) / "model.safetensors"
    before = weights.read_bytes()
    with pytest.raises(TrainingError, match="model: holds a finished model; name another folder"):
        train("supervised", tmp_path / "model", discs(2, 40), seed=1)
    assert weights.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_deleted_when_the_training_is_finished(
    tmp_path, discs
) -> None:
    (tmp_path / "model.resume").mkdir()
    (tmp_path / "model.resume" / "epoch.safetensors").write_bytes(b"of other settings")
    train("supervised", tmp_path / "model", discs(2, 40))
    assert [path.name for path in tmp_path.iterdir() if "resume" in path.name] == []


def test_log_and_card_warn_if_semimoe_has_no_unlabelled_tiles(tmp_path, discs, caplog) -> None:
    for name, unlabelled in (
        ("none", None),
        ("empty", discs(0)),
        ("some", discs(2, 40, labels=False)),
    ):
        warnings = json.loads(
            (train("semimoe", tmp_path / name, discs(2, 40), unlabelled) / "model.json").read_text()
        )["warnings"]
        assert any("no unlabelled tile was used" in warning for warning in warnings) == (
            name != "some"
        )
    assert sum("no unlabelled tile was used" in message for message in caplog.messages) == 2


@pytest.mark.parametrize(("platform", "max_rss"), [("linux", 3 * 2**10), ("darwin", 3 * 2**20)])
def test_peak_memory_is_in_mb_on_linux_and_macos(monkeypatch, platform, max_rss) -> None:
    monkeypatch.setattr("semimoe.training.training_run.sys.platform", platform)
    monkeypatch.setattr(
        "semimoe.training.training_run.resource.getrusage",
        lambda _: SimpleNamespace(ru_maxrss=max_rss),
    )
    assert (
        TrainingRun._peak_memory_mb(SimpleNamespace(device=RunDevice(torch.device("cpu"), "fp32")))
        == 3
    )
