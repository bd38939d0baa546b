"""Training runs of several processes, and of a process that is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import disc_pictures
import pytest
import torch
from disc_pictures import Discs, save_discs
from short_runs import FILES, SHORT_TRAINING, read_files, train

from semimoe.__main__ import main
from semimoe.settings import TrainingSettings
from semimoe.tensor_files import load_tensors

pytestmark = pytest.mark.xdist_group("trained_models")


def test_two_processes_train_the_same_model_as_one_process(tmp_path: Path) -> None:
    """Each of two gloo processes takes half of every batch; frozen statistics, no dropout.

    Tolerance: 1e-5 absolute after six steps, on weights that change by about 1e-2 (the order of
    sums differs).
    """
    save_discs(tmp_path / "data")
    command = [
        "train", "--data", str(tmp_path / "data"),
        "--labelled", "0.5", "--mpp", "1", "--width", "4", "--tile", "32", "--epochs", "2",
        "--steps", "3", "--batch", "4", "--lr", "0.01", "--set", "training.statistics=frozen",
        "--set", "network.dropout=0", "--set", "training.optimizer=sgd",
        "--set", "network.encoder=unet",
        "--set", "training.precision=fp32",
    ]  # fmt: skip
    assert main([*command, "--devices", "1", "--out", str(tmp_path / "1")]) == 0
    # The command starts the second process itself, so that it runs outside this process.
    process = subprocess.run(
        [sys.executable, "-m", "semimoe", *command, "--devices", "2", "--out", str(tmp_path / "2")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    single, shared = (load_tensors(tmp_path / devices / "model.safetensors")[0] for devices in "12")
    for name, tensor in single.items():
        torch.testing.assert_close(shared[name], tensor, atol=1e-5, rtol=0)
    cards = [json.loads((tmp_path / devices / "model.json").read_text()) for devices in "12"]
    assert [card["devices"] for card in cards] == [1, 2]
    assert cards[0]["threshold"] == cards[1]["threshold"]
    rows = [(tmp_path / devices / "history.csv").read_text().splitlines() for devices in "12"]
    for first, second in zip(*(row[1:] for row in rows), strict=True):
        assert [float(cell) for cell in first.split(",") if cell] == pytest.approx(
            [float(cell) for cell in second.split(",") if cell], rel=1e-3
        )


# The third checkpoint is cut off in the middle, and the process is killed.
KILLED_IN_A_CHECKPOINT = """
import os, signal
from pathlib import Path
write_bytes, checkpoints = Path.write_bytes, []
def write_half_and_die(path, data):
    if path.name.startswith(".epoch.safetensors"):
        checkpoints.append(path)
    if len(checkpoints) == 3:
        write_bytes(path, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write_bytes(path, data)
Path.write_bytes = write_half_and_die
"""


def test_a_run_killed_in_a_checkpoint_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL, then the same call again. Whole runs are killed at random moments elsewhere."""
    four_epochs = TrainingSettings(**SHORT_TRAINING.to_dict() | {"epochs": 4, "ema_decay": 0.9})
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(disc_pictures.__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from disc_pictures import Discs\n"
        "from semimoe.settings import TrainingSettings\n"
        "from short_runs import train\n"
        f"{KILLED_IN_A_CHECKPOINT}\n"
        "train('supervised', Path(sys.argv[1]), Discs(3, 40), None, Discs(1, 40, seed=9), "
        f"training=TrainingSettings(**{four_epochs.to_dict()!r}))\n"
    )
    killed = tmp_path / "killed"
    checkpoint = tmp_path / "killed.resume" / "epoch.safetensors"
    job = subprocess.Popen(
        [sys.executable, str(script), str(killed)], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert job.wait() == -signal.SIGKILL
    assert load_tensors(checkpoint)[1]["epoch"] == 2
    assert not (killed / "model.json").exists()
    arguments = {
        "labelled": Discs(3, 40),
        "validation": Discs(1, 40, seed=9),
        "training": four_epochs,
    }
    train("supervised", killed, **arguments)
    complete = train("supervised", tmp_path / "complete", **arguments)
    names = (*FILES, "warm_start.safetensors")
    assert read_files(killed, names) == read_files(complete, names)
