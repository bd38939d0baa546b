"""The scripts for a GPU machine, on the CPU at a tiny size."""

import csv
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "gpu"


def run_script(monkeypatch, name: str, *options: str) -> None:
    """Run a script in this process as if it were called."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert not exit_info.value.code


def figures(out: Path) -> list[dict[str, str]]:
    with (out / "figures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_steps_are_measured_until_the_deadline(tmp_path, monkeypatch, capsys) -> None:
    run_script(
        monkeypatch, "1_training_steps.py", "--out", str(tmp_path), "--device", "cpu",
        "--threads", "1", "--tile", "32", "--batches", "2", "--seconds", "0", "--minutes", "0.001",
    )  # fmt: skip
    (row,) = figures(tmp_path)
    assert float(row["tiles/s"]) > 0
    assert float(row["step ms"]) == pytest.approx(2000 / float(row["tiles/s"]), rel=0.1)
    assert "deadline: default, semimoe" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "figures.zip") as archive:
        assert {"figures.csv", "table.md"} <= set(archive.namelist())


def test_a_cell_of_the_table_is_trained_and_scored(tmp_path, monkeypatch) -> None:
    """A folder with the names of GlaS and images of 32 px."""
    rng = np.random.default_rng(0)
    names = [f"train/train_{number}" for number in range(1, 86)] + ["testA/testA_1"]
    for name in names:
        path = tmp_path / "glas" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 8:24] = 1
        image = np.where(mask[..., None] > 0, 90, 210) + rng.integers(0, 30, (32, 32, 3))
        Image.fromarray(image.astype(np.uint8)).save(f"{path}.png")
        Image.fromarray(mask).save(f"{path}_anno.png")
    run_script(
        monkeypatch, "2_table_cells.py", "--data", str(tmp_path / "glas"), "--mpp", "1.24",
        "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1",
        "--methods", "supervised", "--", "--epochs=1", "--steps=1", "--width=4", "--tile=32",
        "--batch=1", "--set=network.encoder=unet",
    )  # fmt: skip
    (row,) = figures(tmp_path / "out")
    assert row["outcome"] == "finished"
    dice = float(row["pooled scores on testA"].split()[0])
    assert 0 <= dice <= 1
