"""Settings, schedule and device: what is accepted, what is refused and how."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from semimoe import devices as device
from semimoe.devices import choose_device, claim_free_gpu
from semimoe.model_errors import DeviceError, SettingsError
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.presets import preset
from semimoe.settings import NetworkSettings, TrainingSettings, checked
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
def test_settings_out_of_range_are_refused_by_name(kind, values, name) -> None:
    with pytest.raises(SettingsError, match=f"group.*{name}"):
        checked(kind, values, where="group")


@pytest.mark.parametrize("name", ["paper", "public-code"])
def test_presets_survive_json(name) -> None:
    network, training = preset(name)
    assert NetworkSettings(**json.loads(json.dumps(network.to_dict()))) == network
    assert TrainingSettings(**json.loads(json.dumps(training.to_dict()))) == training


def test_presets_are_what_the_paper_says_and_what_its_code_does() -> None:
    """Every line of `method.md` on which they differ, and what they share."""
    (paper_net, paper), (code_net, code) = preset("paper"), preset("public-code")
    assert (paper_net.gate, code_net.gate) == ("paper", "code")
    assert (paper_net.boundary, code_net.boundary) == ("instance", "outer")
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
        assert (training.pseudo, training.statistics, training.augment) == (
            "gates",
            "both",
            "paper",
        )
        assert (training.warm_start_epochs, training.max_grad_norm, training.steps_per_epoch) == (
            0,
            None,
            None,
        )


def test_steps_are_one_pass_over_the_larger_list_bounded() -> None:
    assert (
        steps_per_epoch(
            10, 70, TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32", batch=8)
        )
        == 9
    )
    assert (
        steps_per_epoch(
            10**6, 0, TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32")
        )
        == 500
    )


def test_cosine_falls_to_zero_and_halving_warms_up_then_halves() -> None:
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


def test_unsupervised_weight_grows_to_its_maximum() -> None:
    assert [
        unsupervised_weight(t, TrainingSettings(epochs=20, warm_start_epochs=8, precision="fp32"))
        for t in (0, 0.5, 1)
    ] == [0, 0.25, 0.5]
    paper = preset("paper")[1]
    assert unsupervised_weight(0, paper) == pytest.approx(5 * 2.718281828**-5)
    assert unsupervised_weight(1, paper) == 5


def test_a_gpu_that_is_not_there_is_named_with_the_way_out(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="--resources gpu=0"):
        choose_device("gpu", threads=1)


def test_two_jobs_take_two_devices_and_a_third_is_told(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from semimoe.devices import claim_free_gpu\n"
        "try: print(claim_free_gpu(2, Path(sys.argv[1])), flush=True); sys.stdin.read()\n"
        "except ValueError as error: print(error)"
    )
    jobs = []
    said = []
    for _ in range(3):
        jobs.append(
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        said.append(jobs[-1].stdout.readline().strip())
    for job in jobs:
        job.communicate()
    assert said[:2] == ["0", "1"]
    assert "other jobs of this program use all 2 GPUs" in said[2]


@pytest.fixture
def holding(monkeypatch):
    """What this process holds; given back at the end."""
    held: dict = {}
    monkeypatch.setattr(device, "_LOCK_FILES", held)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield held
    for handle in held.values():
        handle.close()


def test_a_device_is_locked_by_its_own_name_in_whatever_order_it_is_seen(
    tmp_path, monkeypatch, holding
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    with (tmp_path / "semimoe-gpu-3.lock").open("a") as other:  # of a job that sees it first, too
        fcntl.flock(other, fcntl.LOCK_EX)
        assert claim_free_gpu(2, tmp_path) == 1
    assert claim_free_gpu(2, tmp_path) == 1, "a process keeps its device"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "semimoe-gpu-1.lock",
        "semimoe-gpu-3.lock",
    ]


def test_the_lock_of_another_user_is_respected_and_taken_when_free(
    tmp_path, monkeypatch, holding
) -> None:
    lock = tmp_path / "semimoe-gpu-0.lock"
    lock.touch()
    opened = Path.open

    def refused(path, mode="r", *more):
        if path == lock and mode == "a":
            raise PermissionError
        return opened(path, mode, *more)

    monkeypatch.setattr(Path, "open", refused)
    with opened(lock) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert claim_free_gpu(2, tmp_path) == 1
    holding.pop(1).close()
    assert claim_free_gpu(2, tmp_path) == 0
