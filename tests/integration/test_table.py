"""`table`: cells are trained and scored, kept, and continued after a kill."""

import numpy as np
import pytest
from disc_pictures import Discs
from PIL import Image

from semimoe.__main__ import main

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
    assert capsys.readouterr().out.splitlines() == [
        "supervised, 40 %, seed 0", "unet, 40 %, seed 0", "stored, 40 %, seed 0",
    ]  # fmt: skip
    assert main(words) == 0
    cards = sorted(out.glob("cells/*/model/model.json"))
    assert len(cards) == 3
    times = [path.stat().st_mtime_ns for path in cards]
    (out / "cells" / "unet-40-seed0" / "scores-testA-honest.json").unlink()
    assert main(words) == 0
    assert [path.stat().st_mtime_ns for path in cards] == times
    assert main([*words, "--set=training.lr=0.1"]) == 2
    assert "training.lr 0.002, now 0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give results of `evaluate --json`, or --data and --out"),
        (["--data", "DATA"], "--out: a folder for cells and tables is needed"),
        (["a.json", "--data", "DATA"], "a.json: give either results or --data"),
        (["--data", "DATA", "--out", "o", "--methods", "unett"], "did you mean unet?"),
        (["--data", "DATA", "--out", "o", "--parts", "testC"], "no folder testC"),
        (["--data", "DATA", "--out", "o", "--labelled", "0"], "shares in (0, 1] are needed"),
    ],
)
def test_wrong_requests_are_one_line(data, words, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["table", *(str(data) if word == "DATA" else word for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not any(tmp_path.iterdir())
