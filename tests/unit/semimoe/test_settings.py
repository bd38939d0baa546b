"""Settings, presets, schedule, and the choice of a device."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel, ValidationError

from semimoe import devices
from semimoe.devices import choose_device, claim_free_gpu, start_device
from semimoe.model_errors import DeviceError, SettingsError
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.presets import preset
from semimoe.setting_problems import checked, validation_problems
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.schedule import lr_factor, steps_per_epoch


@pytest.mark.parametrize(
    ("kind", "values", "name"),
    [
        (NetworkSettings, {"width": 6}, "width"),
        (NetworkSettings, {"experts": "two"}, "experts"),
        (NetworkSettings, {"sdf_um": 0}, "sdf_um"),
        (NetworkSettings, {"tasks": "sdf+bnd"}, "tasks"),
        (NetworkSettings, {"dropout": 1.0}, "dropout"),
        (TrainingSettings, {"tile_px": 100}, "tile_px"),
        (TrainingSettings, {"update": "both"}, "update"),
        (TrainingSettings, {"epochs": 5, "warm_start_epochs": 6}, "warm_start_epochs"),
        (TrainingSettings, {"lr": 0}, "lr"),
    ],
)
def test_an_error_names_the_setting_that_is_out_of_range(kind, values, name) -> None:
    with pytest.raises(SettingsError, match=f"group.*{name}"):
        checked(kind, values, where="group")


@pytest.mark.parametrize("name", ["paper", "paper-crag", "public-code"])
def test_presets_are_equal_after_json(name) -> None:
    network, training = preset(name)
    assert NetworkSettings(**json.loads(json.dumps(network.to_dict()))) == network
    assert TrainingSettings(**json.loads(json.dumps(training.to_dict()))) == training


def test_the_presets_have_the_values_of_the_paper_and_of_its_public_code() -> None:
    """First the values that differ between the two, then the common ones."""
    (paper_net, paper), (code_net, code) = preset("paper"), preset("public-code")
    assert (paper_net.gate, code_net.gate) == ("paper", "code")
    assert paper_net.boundary == code_net.boundary == "outer"
    crag_net, crag = preset("paper-crag")
    assert crag_net == paper_net
    assert (paper.augment, crag.augment, code.augment) == ("flips", "paper", "paper")
    assert (paper.gamma, crag.gamma, code.gamma) == (0.4, 0.8, 0.4)
    assert crag.model_copy(update={"augment": "flips", "gamma": 0.4}) == paper
    assert (paper.unsup_max, paper.unsup_schedule, code.unsup_max, code.unsup_schedule) == (
        5.0,
        "gaussian",
        0.5,
        "linear",
    )
    assert (paper.update, code.update) == ("two-step", "joint")
    assert (paper.sdf_weight, code.sdf_weight) == (1.0, 0.5)
    for network, training in (preset("paper"), preset("public-code")):
        assert (network.width, network.tasks, network.experts, network.gates) == (
            64,
            "seg+sdf+bnd",
            "separate",
            "multi",
        )
        assert (network.sdf_scale, network.gate_heads, network.dropout) == ("tile", "kaiming", 0.1)
        assert (training.optimizer, training.lr, training.weight_decay, training.schedule) == (
            "sgd",
            0.5,
            5e-5,
            "halving",
        )
        assert (training.epochs, training.batch, training.tile_px, training.precision) == (
            200,
            2,
            256,
            "fp32",
        )
        assert (
            training.aggregate,
            training.gamma,
            training.amol_lr,
            training.amol_weight_decay,
        ) == ("amol", 0.4, 0.05, 5e-5)
        assert (training.pseudo, training.statistics) == ("gates", "both")
        assert (training.warm_start_epochs, training.max_grad_norm, training.steps_per_epoch) == (
            0,
            None,
            None,
        )


def test_an_epoch_is_one_pass_over_the_larger_source_with_at_most_500_steps() -> None:
    training = TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32", batch=8)
    assert steps_per_epoch(10, 70, training) == 9
    assert steps_per_epoch(10**6, 0, training) == 500


def test_the_cosine_schedule_falls_to_zero_and_the_halving_schedule_warms_up_and_halves() -> None:
    cosine = TrainingSettings(warm_start_epochs=0, precision="fp32", epochs=10)
    assert [round(lr_factor(e, cosine), 3) for e in (0, 5, 10)] == [1.0, 0.5, 0.0]
    paper = preset("paper")[1]
    assert [lr_factor(e, paper) for e in (0, 19, 20, 69, 70, 120)] == [
        0.05,
        1.0,
        1.0,
        1.0,
        0.5,
        0.25,
    ]


def test_the_unsupervised_weight_grows_to_its_maximum() -> None:
    def weight(progress, training) -> float:
        return float(unsupervised_weight(torch.tensor(float(progress)), training))

    training = TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32")
    assert [weight(t, training) for t in (0, 0.5, 1)] == [0, 0.25, 0.5]
    paper = preset("paper")[1]
    assert weight(0, paper) == pytest.approx(5 * 2.718281828**-5)
    assert weight(1, paper) == 5


def test_a_missing_gpu_is_an_error_with_a_remedy(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--resources gpu=0"):
        choose_device("gpu", threads=1)


def test_two_jobs_lock_two_gpus_and_a_third_job_stops_with_an_error(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from semimoe.devices import claim_free_gpu\n"
        "try: print(claim_free_gpu(2, Path(sys.argv[1])), flush=True); sys.stdin.read()\n"
        "except ValueError as error: print(error)"
    )
    jobs, lines = [], []
    for _ in range(3):
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        lines.append(jobs[-1].stdout.readline().strip())
    for job in jobs:
        job.communicate()
    assert lines[:2] == ["0", "1"]
    assert "other jobs of this program use all 2 GPUs" in lines[2]


@pytest.fixture
def locked_gpus(monkeypatch):
    """GPUs that this process has locked, with their files; unlocked after the test."""
    locked: dict = {}
    monkeypatch.setattr(devices, "_LOCK_FILES", locked)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield locked
    for file in locked.values():
        file.close()


def test_the_lock_of_a_gpu_has_the_same_name_in_every_order_of_visible_devices(
    tmp_path, monkeypatch, locked_gpus
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    # Another job uses the GPU that is the first visible one here.
    with (tmp_path / "semimoe-gpu-3.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert claim_free_gpu(2, tmp_path) == 1
    assert claim_free_gpu(2, tmp_path) == 1, "a process keeps its GPU"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "semimoe-gpu-1.lock",
        "semimoe-gpu-3.lock",
    ]


def test_a_gpu_locked_by_another_user_is_skipped_and_used_once_it_is_free(
    tmp_path, monkeypatch, locked_gpus
) -> None:
    lock = tmp_path / "semimoe-gpu-0.lock"
    lock.touch()
    path_open = Path.open

    def open_as_other_user(path, mode="r", *more):
        if path == lock and mode == "a":
            raise PermissionError
        return path_open(path, mode, *more)

    monkeypatch.setattr(Path, "open", open_as_other_user)
    with path_open(lock) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert claim_free_gpu(2, tmp_path) == 1
    locked_gpus.pop(1).close()
    assert claim_free_gpu(2, tmp_path) == 0


def test_other_users_can_open_a_lock_file_that_a_private_umask_created(
    tmp_path, locked_gpus
) -> None:
    before = os.umask(0o077)
    try:
        claim_free_gpu(2, tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "semimoe-gpu-0.lock").stat().st_mode & 0o777 == 0o644


def test_a_lock_file_that_cannot_be_opened_is_named_with_a_remedy(tmp_path, monkeypatch) -> None:
    path_open = Path.open

    def refuse(path, mode="r", *more):
        if mode == "x":
            return path_open(path, mode, *more)
        raise PermissionError(13, "Permission denied")

    (tmp_path / "semimoe-gpu-0.lock").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DeviceError, match=r"gpu-0\.lock: .*Permission denied.* set TMPDIR"):
        claim_free_gpu(2, tmp_path)


def test_too_few_gpus_are_an_error_with_the_number_that_is_there(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"3 GPUs were requested, .* finds 1; give --devices 1"):
        start_device("gpu", devices=3, threads=1, precision="fp32")


def test_the_problem_of_a_group_is_said_without_all_its_values() -> None:
    for values, message in (
        ({"pseudo": "teacher"}, "training.pseudo=teacher needs training.ema_decay above 0"),
        (
            {"pseudo": "teacher", "ema_decay": 0.9, "batch": 1},
            "training.pseudo=teacher mixes tiles (CutMix); training.batch must be at least 2",
        ),
    ):
        with pytest.raises(ValidationError) as caught:
            _Configuration(training=values)
        (problem,) = validation_problems(caught.value)
        assert problem.startswith(f"training: {message}")


class _Configuration(BaseModel):
    training: TrainingSettings
