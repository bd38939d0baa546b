"""A second training into the folder of a running one."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from disc_pictures import Discs
from short_runs import train

from tiling.raster.file_lock import LockError, locked


def test_a_second_training_into_one_folder_is_refused_and_names_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semimoe.training.fit.locked", partial(locked, wait_s=0.0))
    code = f"""
from pathlib import Path
from tiling.raster.file_lock import locked
with locked(Path({str(tmp_path / "model")!r})):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(LockError, match=rf"model: being written by host .*, pid {first.pid}"):
            train("supervised", tmp_path / "model", Discs(2, 48))
    assert not (tmp_path / "model").exists()
