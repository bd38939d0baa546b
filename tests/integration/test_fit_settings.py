"""Complete training runs with each setting, network and kind of tile."""

import json

import numpy as np
import pytest
import torch
from short_runs import FILES, SHORT_TRAINING, read_files, read_history, train

from semimoe.methods import METHODS
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.tensor_files import load_tensors
from tiling.raster.tile import Tile

pytestmark = pytest.mark.xdist_group("trained_models")


def test_training_works_with_every_training_option_and_with_stored_pseudo_labels(
    tmp_path, discs
) -> None:
    base = SHORT_TRAINING.to_dict()
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
            {"precision": "bf16", "max_grad_norm": None, "epochs": 1, "ema_decay": 0.9},
            {"statistics": "frozen", "augment": "flips", "mask_loss": "dice+ce", "epochs": 1},
        )
    ):
        out = train(
            "semimoe",
            tmp_path / str(number),
            discs(3, 40),
            discs(4, 40, labels=False),
            training=TrainingSettings(**base | changes),
        )
        assert np.isfinite(float(read_history(out)[-1]["loss"]))
    teacher = {"pseudo": "teacher-glands", "ema_decay": 0.9, "unsup_schedule": "ramp", "epochs": 1}
    train(
        "semimoe",
        tmp_path / "teacher",
        discs(3, 40),
        discs(4, 40, labels=False),
        training=TrainingSettings(**base | teacher | {"augment": "scanners"}),
    )
    stored = train(
        "semimoe", tmp_path / "stored", discs(3, 40), discs(4, 40, labels=False, pseudo=True)
    )
    online = train("semimoe", tmp_path / "online", discs(3, 40), discs(4, 40, labels=False))
    assert read_history(stored)[-1]["unsup_seg"] != read_history(online)[-1]["unsup_seg"]


@pytest.mark.parametrize(
    "network",
    [
        {"tasks": "seg+sdf", "sdf_bins": 8},
        {"tasks": "seg+bnd", "experts": "shared"},
        {"tasks": "seg"},
        {"sdf_scale": "skeleton", "experts": "shared", "sdf_bins": 11},
        {"gates": "single", "experts": "shared", "sdf_bins": 8},
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
def test_every_network_is_trained_logged_and_used_for_prediction(tmp_path, discs, network) -> None:
    settings = NetworkSettings(**{"width": 4, "encoder": "unet", "experts": "separate"} | network)
    one_epoch = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 1})
    run = {
        "labelled": discs(3, 40),
        "unlabelled": discs(4, 40, labels=False),
        "validation": discs(1, 40, seed=9),
        "training": one_epoch,
    }
    out = train("semimoe", tmp_path / "model", network=settings, **run)
    row = read_history(out)[-1]
    for task in ("seg", "sdf", "bnd"):
        has_expert = task in settings.expert_tasks
        assert {
            row[name] != "" for name in (f"sup_{task}_expert", f"unsup_{task}", f"s_{task}")
        } == {has_expert}
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


def test_the_pseudo_labels_of_a_single_gate_are_derived_from_its_mask(tmp_path, discs) -> None:
    one_epoch = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 1})
    single = NetworkSettings(encoder="unet", experts="separate", width=4, gates="single")
    folders = [
        train(
            "semimoe",
            tmp_path / pseudo,
            discs(3, 40),
            discs(4, 40, labels=False),
            network=single,
            training=one_epoch.model_copy(update={"pseudo": pseudo}),
        )
        for pseudo in ("gates", "derived")
    ]
    assert read_files(folders[0], FILES[:2]) == read_files(folders[1], FILES[:2])


class UniformTiles:
    """Tiles of gland only or of background only; optionally annotated on the left half only."""

    def __init__(self, gland: int, *, partly: bool) -> None:
        self.gland, self.partly = gland, partly

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 255, (3, 40, 40)).astype(np.uint8)
        weight = (np.arange(40) < 20).astype(np.uint8)[None].repeat(40, 0) if self.partly else None
        return Tile(image, np.full((40, 40), self.gland, np.int32), weight)


@pytest.mark.parametrize("gland", [0, 1])
@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("network", [{}, {"sdf_scale": "tile", "boundary": "outer"}])
def test_tiles_of_gland_only_or_background_only_give_finite_losses_and_weights(
    tmp_path, gland, partly, network
) -> None:
    source = UniformTiles(gland, partly=partly)
    one_epoch = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 1, "augment": "flips"})
    out = train(
        "semimoe",
        tmp_path / "model",
        source,
        source,
        source,
        network=NetworkSettings(width=4, encoder="unet", **network),
        training=one_epoch,
    )
    row = read_history(out)[-1]
    assert all(np.isfinite(float(row[name])) for name in ("loss", "unsup_share", "val_dice_gate"))
    assert all(
        np.isfinite(tensor.numpy()).all()
        for tensor in load_tensors(out / "model.safetensors")[0].values()
    )


def test_every_method_takes_the_steps_of_one_pass_over_the_larger_source(tmp_path, discs) -> None:
    training = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 1, "steps_per_epoch": None})
    folders = {
        m: train(m, tmp_path / m, discs(2, 40), discs(7, 40, labels=False), training=training)
        for m, method in METHODS.items()
        if method.is_installed
    }
    assert {
        method: read_history(folder)[0]["steps"] for method, folder in folders.items()
    } == dict.fromkeys(folders, "4")
    assert {
        (folders[method] / "warm_start.safetensors").is_file() for method in ("semimoe", "unet")
    } == {False}


def test_labels_of_unlabelled_tiles_do_not_change_the_model(tmp_path, discs) -> None:
    with_labels = train("semimoe", tmp_path / "with", discs(3, 40), discs(4, 40, seed=5))
    without_labels = train(
        "semimoe", tmp_path / "without", discs(3, 40), discs(4, 40, seed=5, labels=False)
    )
    assert read_files(with_labels, FILES[:1]) == read_files(without_labels, FILES[:1])
    assert read_history(with_labels)[-1]["pseudo_dice"] != ""
    assert read_history(without_labels)[-1]["pseudo_dice"] == ""


def test_labels_outside_the_annotated_area_do_not_change_the_model(tmp_path, discs) -> None:
    class PartlyAnnotated(discs):
        def __init__(self, outside: int) -> None:
            super().__init__(3, 40)
            self.outside = outside

        def __getitem__(self, index):
            tile = super().__getitem__(index)
            weight = (np.arange(40) < 24).astype(np.uint8)[None].repeat(40, 0)
            return tile._replace(
                labels=np.where(weight > 0, tile.labels, self.outside).astype(np.int32),
                weight=weight,
            )

    folders = [
        train(
            "supervised",
            tmp_path / str(outside),
            PartlyAnnotated(outside),
            None,
            PartlyAnnotated(outside),
        )
        for outside in (0, 77)
    ]
    assert read_files(folders[0]) == read_files(folders[1])


def test_unlabelled_batches_do_not_change_the_running_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).train()
    before = {name: values.clone() for name, values in model.named_buffers()}
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with keep_running_statistics(model):
        model(images)
    assert torch.equal(model[1].running_mean, before["1.running_mean"])
    assert torch.equal(model[1].running_var, before["1.running_var"])
    model(images)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])
