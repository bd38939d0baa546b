"""The command `make torture`, with a few faults of single jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torture import Tally

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]


def test_no_fault_of_a_job_is_lost() -> None:
    folders = [str(REPO / "tests" / name) for name in ("examples", "workflow")]
    done = subprocess.run(
        [sys.executable, str(REPO / "tests/faults/torture.py"), "--faults", "12", "--runs", "0"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), *folders])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.strip().splitlines()
    assert last.startswith("| together | 12 |")
    assert last.endswith("| 0 |"), "the last column counts lost faults"


def test_a_lost_fault_is_named_with_the_command_that_repeats_it() -> None:
    tally = Tally(seed=3, total=2)
    tally.add("a kind", "FIRST=7 FAULTS=1 RUNS=0", "recovered")
    tally.add("a kind", "FIRST=8 FAULTS=1 RUNS=0", "lost", "other bytes")
    assert "make torture SEED=3 FIRST=8 FAULTS=1 RUNS=0" in tally.lost[0]
    assert tally.table().splitlines()[-1] == "| together | 2 | 1 | 0 | 0 | 1 |"
