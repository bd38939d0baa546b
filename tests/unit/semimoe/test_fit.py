"""Training for real, on tiny networks: it learns, it goes on after a kill, it compares fairly."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from disc_pictures import Item, fit_on_cpu

from semimoe.evaluation.metrics import pixel_scores
from semimoe.methods import METHODS
from semimoe.model_errors import TrainingError
from semimoe.networks.mixture import SemiMoE
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.tensor_files import load_tensors
from semimoe.training.recipe import TrainingData
from semimoe.training.training_run import TrainingRun
from tiling.raster.blending import predict_image

NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
LEARNING = TrainingSettings(
    precision="fp32",
    tile_px=32,
    batch=4,
    epochs=3,
    warm_start_epochs=2,
    steps_per_epoch=16,
    augment="paper",
    lr=5e-3,
    min_area_um2=20,
)
BRIEF = TrainingSettings(
    precision="fp32",
    tile_px=32,
    batch=2,
    epochs=2,
    warm_start_epochs=1,
    steps_per_epoch=2,
    min_area_um2=20,
)
FILES = ("model.safetensors", "history.csv", "model.json")


def train(
    method, out, labelled, unlabelled=None, validation=None, *, training=BRIEF, **more
) -> Path:
    data = TrainingData(labelled, unlabelled, validation)
    fit_on_cpu(method, data, **{"network": NETWORK, "training": training, "out": out} | more)
    return out


def bytes_of(folder: Path, names=FILES) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def dice_on(predict, source) -> float:
    items = [source[i] for i in range(len(source))]
    maps = [
        predict_image(predict, one.image, tile_px=32, overlap_px=8, batch=8)[0] for one in items
    ]
    return pixel_scores([one.labels for one in items], [one > 0.5 for one in maps]).dice


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A supervised run that learns discs, and Semi-MoE branching off it."""
    from disc_pictures import Discs

    base = tmp_path_factory.mktemp("learnt")
    supervised = train(
        "supervised",
        base / "supervised",
        Discs(6, 48),
        None,
        Discs(2, 90, seed=9),
        training=LEARNING,
    )
    semimoe = train(
        "semimoe",
        base / "semimoe",
        Discs(6, 48),
        Discs(10, 48, seed=5),
        Discs(2, 90, seed=9),
        training=LEARNING,
        warm_start=supervised,
        notes={"licence": "synthetic"},
    )
    unet = train("unet", base / "unet", Discs(6, 48), None, Discs(2, 90, seed=9), training=LEARNING)
    return {"supervised": supervised, "semimoe": semimoe, "unet": unet}


@pytest.mark.parametrize("method", ["semimoe", "supervised", "unet"])
def test_bf16_predicts_as_fp32_but_for_a_few_255ths(learnt, discs, method) -> None:
    images = np.stack([discs(4, 96, seed=77)[i].image for i in range(4)])
    fp32, bf16 = (
        Predictor.load(learnt[method], device="cpu", threads=1, precision=precision)(images)
        for precision in ("fp32", "bf16")
    )
    apart = 255 * np.abs(fp32 - bf16)
    assert 0 < apart[:, 0].max() <= 5
    assert apart.mean(axis=(0, 2, 3)).max() < 1
    assert np.quantile(apart, 0.99, axis=(0, 2, 3)).max() < 5
    assert ((fp32[:, 0] > 0.5) != (bf16[:, 0] > 0.5)).mean() < 0.005


@pytest.mark.parametrize("method", ["semimoe", "supervised", "unet"])
def test_a_tiny_net_learns_touching_discs_that_an_untrained_one_does_not_see(
    learnt, discs, method
) -> None:
    unseen = discs(2, 90, seed=77)
    assert dice_on(Predictor.load(learnt[method], device="cpu", threads=1), unseen) > 0.85
    torch.manual_seed(0)
    untrained = SemiMoE(NETWORK).eval()
    with torch.inference_mode():
        assert (
            dice_on(
                lambda images: maps_from_outputs(untrained(torch.from_numpy(images))).numpy(),
                unseen,
            )
            < 0.7
        )


def test_both_rows_of_a_comparison_have_the_same_schedule(learnt) -> None:
    supervised, semimoe = history(learnt["supervised"]), history(learnt["semimoe"])
    assert [row["epoch"] for row in supervised] == ["1", "2", "3"]
    assert [row["epoch"] for row in semimoe] == ["3"]
    assert supervised[-1]["lr"] == semimoe[-1]["lr"]
    assert {row["steps"] for row in supervised + semimoe} == {"16"}


def test_every_method_takes_as_many_steps_as_the_longer_list_needs(tmp_path, discs) -> None:
    training = TrainingSettings(**BRIEF.to_dict() | {"epochs": 1, "steps_per_epoch": None})
    made = {
        m: train(m, tmp_path / m, discs(2, 40), discs(7, 40, labels=False), training=training)
        for m in METHODS
    }
    assert {
        method: history(folder)[0]["steps"] for method, folder in made.items()
    } == dict.fromkeys(METHODS, "4")
    assert {
        (made[method] / "warm_start.safetensors").is_file() for method in ("semimoe", "unet")
    } == {False}


def test_a_plain_unet_is_a_row_like_any_other(learnt) -> None:
    card, semimoe = (
        json.loads((learnt[method] / "model.json").read_text()) for method in ("unet", "semimoe")
    )
    assert set(card) == set(semimoe)
    assert card["parameters"] < semimoe["parameters"] / 2.9
    predictor = Predictor.load(learnt["unet"], device="cpu", threads=1)
    maps, gates = predictor.maps_and_gate_weights(np.zeros((2, 3, 32, 48), np.uint8))
    assert maps.shape == (2, 4, 32, 48)
    assert gates.shape == (2, 3, 3)
    assert not gates.any()
    row = history(learnt["unet"])[-1]
    assert row["unsup_share"] == row["s_seg"] == row["gate_seg_seg"] == row["sup_seg_gate"] == ""
    assert float(row["val_dice_gate"]) > 0.85


def test_the_card_says_what_the_next_steps_need(learnt) -> None:
    card = json.loads((learnt["semimoe"] / "model.json").read_text())
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


def test_the_history_tells_what_the_unsupervised_term_did(learnt) -> None:
    supervised, row = history(learnt["supervised"])[-1], history(learnt["semimoe"])[-1]
    assert supervised["unsup_share"] == supervised["pseudo_dice"] == ""
    assert 0 < float(row["unsup_share"]) < 1
    assert float(row["pseudo_dice"]) > 0.5
    for task in ("seg", "sdf", "bnd"):
        assert sum(
            float(row[f"gate_{task}_{expert}"]) for expert in ("seg", "sdf", "bnd")
        ) == pytest.approx(1, abs=1e-4)
        assert float(row[f"s_{task}"]) < 1
    assert float(supervised["loss"]) < float(history(learnt["supervised"])[0]["loss"])


def test_without_unlabelled_tiles_the_branch_is_the_supervised_run(tmp_path, discs) -> None:
    supervised = train("supervised", tmp_path / "supervised", discs(3, 40))
    semimoe = train("semimoe", tmp_path / "semimoe", discs(3, 40), warm_start=supervised)
    assert (supervised / "model.safetensors").read_bytes() == (
        semimoe / "model.safetensors"
    ).read_bytes()


def test_labels_of_unlabelled_tiles_are_never_trained_on(tmp_path, discs) -> None:
    known = train("semimoe", tmp_path / "known", discs(3, 40), discs(4, 40, seed=5))
    bare = train("semimoe", tmp_path / "bare", discs(3, 40), discs(4, 40, seed=5, labels=False))
    assert (known / "model.safetensors").read_bytes() == (bare / "model.safetensors").read_bytes()
    assert history(known)[-1]["pseudo_dice"] != ""
    assert history(bare)[-1]["pseudo_dice"] == ""


def test_labels_outside_the_annotated_area_are_never_trained_on(tmp_path, discs) -> None:
    class Partly(discs):
        def __init__(self, outside: int) -> None:
            super().__init__(3, 40)
            self.outside = outside

        def __getitem__(self, index):
            item = super().__getitem__(index)
            weight = (np.arange(40) < 24).astype(np.uint8)[None].repeat(40, 0)
            return item._replace(
                labels=np.where(weight > 0, item.labels, self.outside).astype(np.int32),
                weight=weight,
            )

    folders = [
        train("supervised", tmp_path / str(outside), Partly(outside), None, Partly(outside))
        for outside in (0, 77)
    ]
    assert bytes_of(folders[0]) == bytes_of(folders[1])


def test_a_branch_needs_epochs_to_go_and_a_method_that_branches(tmp_path, discs) -> None:
    late = TrainingSettings(
        **BRIEF.to_dict() | {"epochs": 1, "warm_start_epochs": 1, "steps_per_epoch": 1}
    )
    whole = train("supervised", tmp_path / "whole", discs(2, 40), training=late)
    with pytest.raises(TrainingError, match="state after epoch 1"):
        train("semimoe", tmp_path / "semimoe", discs(2, 40), training=late, warm_start=whole)
    with pytest.raises(TrainingError, match="warm_start is for"):
        train("supervised", tmp_path / "again", discs(2, 40), warm_start=whole)


def test_stored_pseudo_labels_and_every_switch_train(tmp_path, discs) -> None:
    base = BRIEF.to_dict()
    for number, changes in enumerate(
        (
            {
                "update": "two-step",
                "optimizer": "sgd",
                "schedule": "halving",
                "unsup_schedule": "gaussian",
                "epochs": 1,
            },
            {"aggregate": "sum", "pseudo": "derived", "augment": "none", "epochs": 1},
            {"precision": "bf16", "max_grad_norm": None, "epochs": 1},
            {"statistics": "frozen", "augment": "flips", "epochs": 1},
        )
    ):
        out = train(
            "semimoe",
            tmp_path / str(number),
            discs(3, 40),
            discs(4, 40, labels=False),
            training=TrainingSettings(**base | changes),
        )
        assert np.isfinite(float(history(out)[-1]["loss"]))
    stored = train(
        "semimoe", tmp_path / "stored", discs(3, 40), discs(4, 40, labels=False, pseudo=True)
    )
    online = train("semimoe", tmp_path / "online", discs(3, 40), discs(4, 40, labels=False))
    assert history(stored)[-1]["unsup_seg"] != history(online)[-1]["unsup_seg"]


@pytest.mark.parametrize(
    "network",
    [
        {"tasks": "seg+sdf"},
        {"tasks": "seg+bnd", "experts": "shared"},
        {"tasks": "seg"},
        {"gates": "single", "experts": "shared"},
        {"gates": "single", "tasks": "seg+bnd"},
        {
            "experts": "shared",
            "gate": "code",
            "sdf_scale": "tile",
            "boundary": "outer",
            "gate_heads": "kaiming",
        },
    ],
)
def test_every_network_trains_is_logged_and_predicts(tmp_path, discs, network) -> None:
    settings = NetworkSettings(**{"width": 4, "encoder": "unet", "experts": "separate"} | network)
    once = TrainingSettings(**BRIEF.to_dict() | {"epochs": 1})
    run = {
        "labelled": discs(3, 40),
        "unlabelled": discs(4, 40, labels=False),
        "validation": discs(1, 40, seed=9),
        "training": once,
    }
    out = train("semimoe", tmp_path / "model", network=settings, **run)
    row = history(out)[-1]
    for task in ("seg", "sdf", "bnd"):
        there = task in settings.expert_tasks
        assert {
            row[name] != "" for name in (f"sup_{task}_expert", f"unsup_{task}", f"s_{task}")
        } == {there}
        for expert in ("seg", "sdf", "bnd"):
            assert (row[f"gate_{task}_{expert}"] != "") == (
                task in settings.gate_tasks and expert in settings.expert_tasks
            )
    card = json.loads((out / "model.json").read_text())
    assert card["sdf_scale"] == (settings.sdf_scale if "sdf" in settings.expert_tasks else "none")
    maps, gates = Predictor.load(out, device="cpu", threads=1).maps_and_gate_weights(
        np.zeros((2, 3, 32, 32), np.uint8)
    )
    assert maps.shape == (2, 4, 32, 32)
    assert (gates[0] > 0).sum() == len(settings.gate_tasks) * len(settings.expert_tasks)
    np.testing.assert_allclose(
        gates.sum(2)[:, : len(settings.gate_tasks) if settings.gates == "single" else 1],
        1,
        rtol=1e-5,
    )


def test_a_single_gates_pseudo_labels_are_derived_from_its_mask(tmp_path, discs) -> None:
    once = TrainingSettings(**BRIEF.to_dict() | {"epochs": 1})
    single = NetworkSettings(encoder="unet", experts="separate", width=4, gates="single")
    made = [
        train(
            "semimoe",
            tmp_path / how,
            discs(3, 40),
            discs(4, 40, labels=False),
            network=single,
            training=once.model_copy(update={"pseudo": how}),
        )
        for how in ("gates", "derived")
    ]
    assert bytes_of(made[0], FILES[:2]) == bytes_of(made[1], FILES[:2])


class Filled:
    """Tiles that are one gland, or none; optionally annotated on their left half only."""

    def __init__(self, gland: int, *, partly: bool) -> None:
        self.gland, self.partly = gland, partly

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 255, (3, 40, 40)).astype(np.uint8)
        weight = (np.arange(40) < 20).astype(np.uint8)[None].repeat(40, 0) if self.partly else None
        return Item(image, np.full((40, 40), self.gland, np.int32), weight)


@pytest.mark.parametrize("gland", [0, 1])
@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("network", [{}, {"sdf_scale": "tile", "boundary": "outer"}])
def test_tiles_that_are_all_gland_or_none_train_and_validate(
    tmp_path, gland, partly, network
) -> None:
    source = Filled(gland, partly=partly)
    once = TrainingSettings(**BRIEF.to_dict() | {"epochs": 1, "augment": "flips"})
    out = train(
        "semimoe",
        tmp_path / "model",
        source,
        source,
        source,
        network=NetworkSettings(width=4, encoder="unet", experts="separate", **network),
        training=once,
    )
    row = history(out)[-1]
    assert all(np.isfinite(float(row[name])) for name in ("loss", "unsup_share", "val_dice_gate"))
    assert all(
        np.isfinite(tensor.numpy()).all()
        for tensor in load_tensors(out / "model.safetensors")[0].values()
    )


def test_what_a_running_training_has_seen_lies_beside_its_state(
    tmp_path, discs, monkeypatch
) -> None:
    monkeypatch.setattr(
        "semimoe.training.finish.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
    )
    with pytest.raises(KeyboardInterrupt):
        train("supervised", tmp_path / "model", discs(2, 40))
    with (tmp_path / "model.resume" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_gates_that_prefer_no_expert_are_reported_in_log_and_card(
    tmp_path, discs, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(
        "semimoe.networks.gates.PaperGate.forward",
        lambda _, pooled: torch.softmax(0 * pooled[:, :3], 1),
    )
    long = TrainingSettings(**BRIEF.to_dict() | {"epochs": 21, "steps_per_epoch": 1})
    out = train("supervised", tmp_path / "model", discs(2, 40), training=long)
    warnings = json.loads((out / "model.json").read_text())["warnings"]
    assert (
        sum(
            "weighs all experts the same (weights within 0.01 of uniform for 20 epochs)" in warning
            for warning in warnings
        )
        == 3
    )
    assert [
        record.message[:9] for record in caplog.records if "all experts the same" in record.message
    ][:3] == ["epoch 20:"] * 3


def test_without_validation_the_card_says_so(tmp_path, discs) -> None:
    card = json.loads(
        (train("supervised", tmp_path / "model", discs(2, 40)) / "model.json").read_text()
    )
    assert (card["threshold"], card["threshold_from"], card["best_epoch"]) == (0.5, "default", 2)
    assert "no validation" in card["warnings"][0]


def test_fine_tuning_starts_at_the_given_model_with_a_tenth_of_the_rate(tmp_path, discs) -> None:
    first = train("supervised", tmp_path / "first", discs(3, 40))
    tuned = train("supervised", tmp_path / "tuned", discs(3, 40, seed=3), start_from=first)
    assert len(history(tuned)) == 2
    assert float(history(tuned)[0]["lr"]) == pytest.approx(float(history(first)[0]["lr"]) / 10)
    cards = [json.loads((folder / "model.json").read_text()) for folder in (first, tuned)]
    assert cards[0]["normalisation"] == cards[1]["normalisation"]
    assert "validation_before" not in cards[0]
    with pytest.raises(TrainingError, match="another network"):
        train(
            "supervised",
            tmp_path / "other",
            discs(3, 40),
            start_from=first,
            network=NetworkSettings(encoder="unet", experts="separate", width=8),
        )


def test_fine_tuning_says_what_it_gained_and_inherits_the_licence(learnt, tmp_path, discs) -> None:
    held_out = discs(2, 90, seed=9)
    tuned = train(
        "semimoe",
        tmp_path / "tuned",
        discs(2, 48, seed=3),
        None,
        held_out,
        start_from=learnt["semimoe"],
    )
    card = json.loads((tuned / "model.json").read_text())
    assert card["notes"] == {"licence": "synthetic", "start_from": str(learnt["semimoe"])}
    before = dice_on(Predictor.load(learnt["semimoe"], device="cpu", threads=1), held_out)
    assert card["validation_before"]["dice_at_half"] == pytest.approx(before, abs=2e-3)
    assert card["validation_before"]["tuned_dice_at_half"] == pytest.approx(
        max(float(row["val_dice_gate"]) for row in history(tuned)), rel=1e-4
    )


def test_a_loss_that_is_not_finite_stops_with_its_tiles(tmp_path, discs) -> None:
    with pytest.raises(
        TrainingError,
        match=r"epoch \d, step \d: the loss of supervised_phase is .*, on labelled tiles \[",
    ):
        train(
            "supervised",
            tmp_path / "model",
            discs(2, 40),
            training=TrainingSettings(**BRIEF.to_dict() | {"lr": 1e30, "max_grad_norm": None}),
        )


@pytest.mark.parametrize("lr", [1e30, 3e38])  # weights too large to compute with, or infinite
def test_weights_that_burst_in_the_very_last_step_are_noticed(tmp_path, discs, lr) -> None:
    once = TrainingSettings(
        **BRIEF.to_dict()
        | {"epochs": 1, "steps_per_epoch": 1, "optimizer": "sgd", "lr": lr, "max_grad_norm": None}
    )
    with pytest.raises(
        TrainingError,
        match=r"epoch 1, after step 1: weights are not finite; lower training\.lr",
    ):
        train("supervised", tmp_path / "model", discs(2, 40), training=once)
    assert not (tmp_path / "model" / "model.json").exists()
    assert not (tmp_path / "model.resume" / "epoch.safetensors").exists(), (
        "a run would go on from it"
    )


def test_a_model_of_another_resolution_is_said_in_log_and_card(tmp_path, discs, caplog) -> None:
    first = train("supervised", tmp_path / "first", discs(2, 40))
    near, far = (
        train("supervised", tmp_path / str(mpp), discs(2, 40), start_from=first, mpp_um=mpp)
        for mpp in (1.04, 0.9)
    )
    warnings = [
        [
            w
            for w in json.loads((folder / "model.json").read_text())["warnings"]
            if "um per pixel" in w
        ]
        for folder in (near, far)
    ]
    assert warnings[0] == []
    assert len(warnings[1]) == 1
    assert "trained at 1 um per pixel, and trains at 0.9" in warnings[1][0]
    assert caplog.messages.count(warnings[1][0]) == 1


def test_semimoe_without_unlabelled_tiles_says_so_in_log_and_card(tmp_path, discs, caplog) -> None:
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


@pytest.mark.parametrize(("platform", "used"), [("linux", 3 * 2**10), ("darwin", 3 * 2**20)])
def test_peak_memory_is_in_mb_on_every_system(monkeypatch, platform, used) -> None:
    monkeypatch.setattr("semimoe.training.training_run.sys.platform", platform)
    monkeypatch.setattr(
        "semimoe.training.training_run.resource.getrusage",
        lambda _: SimpleNamespace(ru_maxrss=used),
    )
    assert TrainingRun._peak_memory_mb(SimpleNamespace(device=torch.device("cpu"))) == 3


def test_no_labelled_tile_is_refused(tmp_path, discs) -> None:
    with pytest.raises(TrainingError, match="no labelled tile"):
        train("supervised", tmp_path / "model", discs(0))
    with pytest.raises(ValueError, match="epochs"):
        TrainingSettings(warm_start_epochs=0, precision="fp32", epochs=0)


def test_other_files_in_the_folder_are_left_alone_and_no_state_stays(tmp_path, discs) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("kept")
    train("supervised", tmp_path / "model", discs(2, 40))
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"mine.txt", "timing.csv", "warm_start.safetensors", *FILES}
    assert not (tmp_path / "model.resume").exists()


def test_training_leaves_the_callers_generator_alone(tmp_path, discs) -> None:
    before = torch.get_rng_state()
    train("supervised", tmp_path / "model", discs(2, 40))
    assert torch.equal(before, torch.get_rng_state())


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, discs) -> None:
    """SIGKILL in the middle of an epoch, outputs deleted as a workflow engine would, then the same call again."""
    longer = TrainingSettings(**BRIEF.to_dict() | {"epochs": 6})
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom disc_pictures import Discs\nfrom semimoe.settings import TrainingSettings\n"
        f"import importlib.util; spec = importlib.util.spec_from_file_location('t', {__file__!r})\n"
        "t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)\n"
        "t.train('supervised', Path(sys.argv[1]), Discs(3, 40), None, Discs(1, 40, seed=9), "
        f"training=TrainingSettings(**{longer.to_dict()!r}))\n"
    )
    killed = tmp_path / "killed"
    state = tmp_path / "killed.resume" / "epoch.safetensors"
    job = subprocess.Popen(
        [sys.executable, str(script), str(killed)], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while job.poll() is None and not state.is_file():
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    done = load_tensors(state)[1]["epoch"]
    assert 0 < done < longer.epochs
    assert not (killed / "model.json").exists()
    run = {"labelled": discs(3, 40), "validation": discs(1, 40, seed=9), "training": longer}
    train("supervised", killed, **run)
    whole = train("supervised", tmp_path / "whole", **run)
    assert bytes_of(killed, (*FILES, "warm_start.safetensors")) == bytes_of(
        whole, (*FILES, "warm_start.safetensors")
    )


def test_state_of_other_settings_is_discarded(tmp_path, discs, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    plain = train("supervised", tmp_path / "plain", discs(2, 40), seed=1)
    monkeypatch.setattr("semimoe.training.finish.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        train("supervised", tmp_path / "model", discs(2, 40), seed=0)
    assert (tmp_path / "model.resume").is_dir()
    monkeypatch.undo()
    assert bytes_of(train("supervised", tmp_path / "model", discs(2, 40), seed=1)) == bytes_of(
        plain
    )


def test_unlabelled_batches_leave_the_running_statistics_alone() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).train()
    before = {name: values.clone() for name, values in model.named_buffers()}
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with keep_running_statistics(model):
        model(images)
    assert torch.equal(model[1].running_mean, before["1.running_mean"])
    assert torch.equal(model[1].running_var, before["1.running_var"])
    model(images)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])
