"""`table`: cells are trained and scored, kept, and continued after a kill."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from child_processes import wait_for_file
from disc_pictures import Discs
from PIL import Image

from semimoe.__main__ import main
from semimoe.methods import METHODS
from semimoe.model_errors import SettingsError
from tiling.raster.file_lock import locked
from workflow.config.configuration import Configuration
from workflow.stages.job_resources import JobResources
from workflow.stages.method_table import cell_files, make_cell, make_table, table_cells

# One process starts the processes of all cells.
pytestmark = pytest.mark.xdist_group("table")

TINY = [
    "--recipe=cpu", "--mpp=1.24", "--labelled", "0.4", "--set=network.encoder=unet",
    "--set=network.width=8", "--set=training.frozen_stages=0", "--set=training.tile_px=64",
    "--set=training.epochs=1", "--set=training.steps_per_epoch=2", "--set=training.batch=2",
    "--set=training.validate_every=1", "--set=training.precision=fp32",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the layout of GlaS."""
    folder = tmp_path_factory.mktemp("glas")
    for part, count, seed in (("train", 5, 0), ("testA", 2, 7)):
        (folder / part).mkdir()
        for number in range(count):
            one = Discs(count, 64, seed=seed)[number]
            path = folder / part / f"{part}_{number + 1}"
            Image.fromarray(np.ascontiguousarray(one.image.transpose(1, 2, 0))).save(f"{path}.bmp")
            Image.fromarray(one.labels.astype(np.uint8)).save(f"{path}_anno.bmp")
    return folder


def test_finished_cells_are_kept_and_other_settings_are_refused(data, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ["table", "--data", str(data), "--out", str(out), *TINY, "--seeds", "0"]
    words += ["--methods", "unet", "--variants", "stored"]
    assert main([*words, "--list"]) == 0
    *lines, total, advice = capsys.readouterr().out.splitlines()
    assert [line.split(": train (time not known) and score")[0] for line in lines] == [
        "supervised, 40 %, seed 0", "unet, 40 %, seed 0", "stored, 40 %, seed 0",
    ]  # fmt: skip
    assert total.startswith("3 cells, training time not known")
    assert advice.startswith("3 of the rows have no known time: --measure-times")
    assert not out.exists()  # nothing was measured or written
    assert main([*words, "--list", "--measure-times"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(": train (about " in line for line in lines[:3])
    assert lines[3].startswith("3 cells, training about ")
    assert [path.name for path in out.iterdir()] == ["step_times.json"]
    assert main([*words, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == lines  # they were kept
    assert main(words) == 0
    cards = sorted(out.glob("cells/*/model/model.json"))
    assert len(cards) == 3
    times = [path.stat().st_mtime_ns for path in cards]
    (out / "cells" / "unet-40-seed0" / "scores-testA-honest.json").unlink()
    assert main([*words, "--list"]) == 0
    assert "unet, 40 %, seed 0: score\n1 cell, training about 0 s" in capsys.readouterr().out
    assert main(words) == 0
    assert [path.stat().st_mtime_ns for path in cards] == times
    assert main([*words, "--set=training.lr=0.1"]) == 2
    assert "training.lr 0.002, now 0.1" in capsys.readouterr().err
    mask = data / "testA" / "testA_1_anno.bmp"
    before = mask.read_bytes()
    try:
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(mask)
        assert main(words) == 2
        assert "files of testA images changed" in capsys.readouterr().err
    finally:
        mask.write_bytes(before)
    cost = out / "cells" / "unet-40-seed0" / "cost.json"
    cost.write_text("{")
    assert main(words) == 2
    assert f"{cost}: damaged" in capsys.readouterr().err


def test_a_killed_table_of_all_methods_is_completed(data, tmp_path, capsys) -> None:
    """The first call is killed after its first cell; the second one makes only the rest."""
    out = tmp_path / "out"
    words = ["table", "--data", str(data), "--out", str(out), *TINY, "--seeds", "0"]
    words += ["--methods", "all", "--jobs", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "semimoe", *words],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        wait_for_file(process, out, "cells/*/scores-*.json", most_s=120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/model/model.json")}
    assert 1 <= len(finished) < len(METHODS)
    assert main(words) == 0
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in finished.items())
    with (out / "table.csv").open(newline="") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    installed = {name for name, method in METHODS.items() if method.is_installed}
    assert set(rows) == installed
    # Same images and steps in all rows; the second network of CPS is trained, but not saved.
    assert (
        len({(row["labelled"], row["unlabelled"], row["validation"]) for row in rows.values()}) == 1
    )
    assert int(rows["cps"]["trained_parameters"]) == 2 * int(rows["cps"]["parameters"])
    assert all(int(row["multiply_adds"]) > 1e6 for row in rows.values())
    text = (out / "table.md").read_text()
    assert text == capsys.readouterr().out
    assert all(f"| {METHODS[name].label} |" in text for name in installed)
    plot = (out / "table.svg").read_text()
    assert "</svg>" in plot
    assert main(words) == 0  # nothing is missing
    assert (out / "table.svg").read_text() == plot


def test_a_folder_of_the_layout_of_crag_as_published(tmp_path) -> None:
    """Images/ and Annotation/ in train/ and valid/: one labelled image of five, none held out."""
    for part, count in (("train", 5), ("valid", 1)):
        for folder in ("Images", "Annotation"):
            (tmp_path / "crag" / part / folder).mkdir(parents=True)
        for number in range(count):
            one = Discs(count, 64, seed=number)[number]
            name = f"{part}_{number + 1}.png"
            pixels = np.ascontiguousarray(one.image.transpose(1, 2, 0))
            Image.fromarray(pixels).save(tmp_path / "crag" / part / "Images" / name)
            mask = Image.fromarray(one.labels.astype(np.uint8))
            mask.save(tmp_path / "crag" / part / "Annotation" / name)
    out = tmp_path / "out"
    words = ["table", "--data", str(tmp_path / "crag"), "--out", str(out), "--mpp", "0.5"]
    words += ["--recipe=paper-crag", "--protocol=as-published", "--methods", "cps", "--jobs=1"]
    words += ["--labelled", "0.2", "--seeds", "0", "--set=network.width=4"]
    words += ["--set=training.epochs=1", "--set=training.steps_per_epoch=1"]
    words += ["--set=training.batch=1", "--set=training.precision=fp32"]
    assert main([*words, "--pictures", "valid_1"]) == 0
    with (out / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["part"], row["protocol"], row["recipe"]) == ("valid", "as-published", "paper-crag")
    assert (row["labelled"], row["unlabelled"], row["validation"]) == ("1", "4", "0")
    assert (row["published_dice"], row["published_jaccard"]) == ("89.42", "80.87")
    with Image.open(out / "pictures" / "errors-20-seed0.png") as picture:
        assert picture.height > picture.width  # a line for the image and one for each row
    assert main([*words, "--pictures", "valid_7"]) == 2


def test_jobs_of_the_workflow_make_cells_and_table(data, tmp_path, monkeypatch) -> None:
    values = {
        "results": str(tmp_path / "results"),
        "benchmark": {
            "data": str(data), "methods": ["unet"], "labelled": [0.4], "seeds": [0],
            "recipe": "cpu", "mpp_um": 1.24,
            "settings": [word.removeprefix("--set=") for word in TINY if word.startswith("--set=")],
        },
    }  # fmt: skip
    (cell,) = table_cells(Configuration(**values))
    job = JobResources(gpu=0, threads=1, code_version=1)
    with monkeypatch.context() as patched:
        patched.setattr(
            "semimoe.training.fit.fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt())
        )
        with pytest.raises(KeyboardInterrupt):  # Ctrl-C ends the job; the cell did not fail
            make_cell(values, cell.name, job)
    make_cell(values, cell.name, job)
    assert all(Path(file).is_file() for file in cell_files(cell))
    make_table(values)
    out = tmp_path / "results" / "benchmark"
    names = {path.name for path in out.iterdir()}
    assert {"table.md", "table.csv", "differences.csv", "table.svg"} <= names
    values["benchmark"]["settings"].append("network.width=12")
    with pytest.raises(SettingsError, match="width 8, now 12"):
        table_cells(Configuration(**values))


def test_a_failed_cell_is_named_and_the_others_run(data, tmp_path, capsys, caplog) -> None:
    out = tmp_path / "out"
    blocked = out / "cells" / "supervised-40-seed0" / "model"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("no folder")
    words = ["table", "--data", str(data), "--out", str(out), *TINY, "--seeds", "0"]
    assert main([*words, "--methods", "unet", "--variants", "stored", "--jobs", "1"]) == 1
    assert "needs the model of supervised, 40 %, seed 0" in caplog.text
    assert f"see {out}/cells/supervised-40-seed0/log.txt" in caplog.text
    assert f"status 2 (semimoe train: {blocked}" in caplog.text
    assert str(blocked) in (blocked.parent / "log.txt").read_text()
    assert "| U-Net |" in capsys.readouterr().out


def test_a_table_of_something_else_is_not_replaced(data, tmp_path, capsys) -> None:
    (tmp_path / "table.csv").write_text("mine")
    assert main(["table", "--data", str(data), "--out", str(tmp_path), "--list"]) == 2
    assert "table.csv would be replaced; move it away" in capsys.readouterr().err
    assert (tmp_path / "table.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "DATA", "--out", "o", "--measure-times"], "only with --list"),
        ([], "give files written by `evaluate --json`, or --data and --out"),
        (["--data", "DATA"], "--out: a folder for cells and tables is needed"),
        (["a.json", "--data", "DATA"], "a.json: give either files of results or --data"),
        (["--data", "DATA", "--out", "o", "--methods", "unett"], "did you mean unet?"),
        (["--data", "DATA", "--out", "o", "--parts", "testC"], "no folder testC"),
        (["--data", "DATA", "--out", "o", "--parts", "train"], "it is no test part"),
        (["--data", "DATA", "--out", "o", "--seeds", "-1"], "--seeds -1: numbers from 0"),
        (["--data", "DATA", "--out", "o", "--device", "gpu"], "a GPU was requested"),
        (["--data", "DATA", "--out", "o", "--labelled", "0"], "a share in (0, 1] is needed"),
    ],
)
def test_wrong_requests_are_one_line(data, words, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert main(["table", *(str(data) if word == "DATA" else word for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not any(tmp_path.iterdir())


def test_a_cell_that_another_process_makes_comes_last_and_is_not_made_twice(
    data, tmp_path, caplog
) -> None:
    """This process holds the lock of the first cell while the second one is made."""
    caplog.set_level("INFO")
    out = tmp_path / "out"
    words = ["table", "--data", str(data), "--out", str(out), *TINY, "--seeds", "0"]
    first, second = out / "cells" / "supervised-40-seed0", out / "cells" / "unet-40-seed0"

    def release_after_the_second_cell() -> None:
        with locked(first / "cell"):
            held.set()
            deadline = time.monotonic() + 120
            while not list(second.glob("scores-*.json")) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not list(first.glob("model/model.json"))

    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(release_after_the_second_cell)
        assert held.wait(10)
        assert main([*words, "--methods", "supervised", "unet", "--jobs", "1"]) == 0
        other.result()
    finished = [line for line in caplog.messages if "finished in" in line]
    assert ["unet" in line for line in finished] == [True, False]
