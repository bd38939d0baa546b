"""A run that was killed at any moment and started again gives the same bytes."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_run import Run, environment

from workflow.job_record import JobRecord

pytestmark = pytest.mark.slow
_KILLS = 4
_METHODS = ("semimoe", "supervised")
# Logs differ from try to try; locks and resume folders are not results.
_NOT_RESULTS = {"logs"}


def results_of(folder: Path) -> dict[str, bytes]:
    files = (
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".snakemake_timestamp" and path.suffix != ".lock"
    )
    return {
        str(path.relative_to(folder)): _content(path)
        for path in files
        if path.relative_to(folder).parts[0] not in _NOT_RESULTS
        and path.name not in ("timing.csv", "report.html", "preview.html")
    }


def test_a_run_killed_at_random_moments_and_repeated_gives_the_same_bytes(run: Run) -> None:
    # Without the other compared methods the run takes half as long; only tables are made again.
    compare = "compare=[supervised]"
    run.snakemake("--config", compare)
    pauses = random.Random(0)
    more = ("--config", "results=killed", compare)
    for _ in range(_KILLS):
        process = subprocess.Popen(
            run.arguments(*more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        time.sleep(pauses.uniform(6, 20))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run.snakemake("--unlock", *more)
    run.snakemake(*more)
    expected = {
        name: content
        for name, content in results_of(run.folder / "results").items()
        if not _is_of_another_method(name)
    }
    killed = results_of(run.folder / "killed")
    assert set(expected) == set(killed)
    assert [name for name in expected if expected[name] != killed[name]] == []


def _content(path: Path) -> bytes:
    """Content of a result; of a job record, without the state of files, which copies change."""
    if path.suffix == ".json" and (record := JobRecord.read(path)) is not None:
        return f"{record.id} {record.store}".encode()
    return path.read_bytes()


def _is_of_another_method(name: str) -> bool:
    parts = Path(name).parts
    if parts[0] == "records" and parts[1].startswith("train_"):
        return parts[-1].removesuffix(".json") not in _METHODS
    if parts[0] not in ("models", "compare"):
        return False
    return parts[1].split(".", maxsplit=1)[0] not in _METHODS
