"""Random faults of single jobs and stores. Each function injects one, and says how it ended."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from file_checksums import files_of
from small_jobs import OUTPUTS, READERS, STAGES, SmallJobs

from semimoe.model_card import CARD, WEIGHTS
from tiling.stores.atomic_store import remove_store
from workflow.job_record import JobInput, recorded_inputs

RECOVERED, DETECTED, NO_EFFECT = "recovered", "detected", "no effect"
_OLD_S = 1_500_000_000.0
# Messages of damaged or lost bytes say what to do.
_REMEDIES = ("run again", "copy", "train it again", "draw", "export it again", "correct the path")


class LostFaultError(Exception):
    """A fault that was neither detected nor repaired."""


def require(condition: bool, what: str) -> None:
    """Raise LostFaultError unless the condition holds."""
    if not condition:
        raise LostFaultError(what)


def _repeat(jobs: SmallJobs, stage: str) -> str:
    """After a fault: outputs are whole or absent, and the next run gives the expected bytes."""
    require(jobs.is_expected(stage, may_be_absent=True), f"{stage}: a damaged output")
    require(jobs.run(stage) == 0, f"{stage} cannot be repeated: {jobs.message()[-300:]}")
    require(jobs.is_expected(stage), f"{stage}: other bytes after the fault")
    return RECOVERED


def _stopped(jobs: SmallJobs, rng: random.Random, number: int) -> str:
    stage = rng.choice(STAGES)
    jobs.remove_outputs(stage)
    for _ in range(rng.choice((1, 1, 2))):
        process = jobs.start(stage)
        time.sleep(rng.uniform(0, jobs.seconds[stage]))
        os.kill(process, number)
        jobs.end(process)
    return _repeat(jobs, stage)


def kill(jobs: SmallJobs, rng: random.Random) -> str:
    """SIGKILL at a random moment, once or twice."""
    return _stopped(jobs, rng, signal.SIGKILL)


def terminate(jobs: SmallJobs, rng: random.Random) -> str:
    """SIGTERM at a random moment."""
    return _stopped(jobs, rng, signal.SIGTERM)


def pause(jobs: SmallJobs, rng: random.Random) -> str:
    """SIGSTOP, and SIGCONT later: the job ends as if nothing had happened."""
    stage = rng.choice(STAGES)
    jobs.remove_outputs(stage)
    process = jobs.start(stage)
    time.sleep(rng.uniform(0, jobs.seconds[stage]))
    os.kill(process, signal.SIGSTOP)
    time.sleep(rng.uniform(0, 0.05))
    require(jobs.is_expected(stage, may_be_absent=True), f"{stage}: half an output is visible")
    os.kill(process, signal.SIGCONT)
    require(jobs.end(process) == 0, f"{stage} failed after a pause: {jobs.message()[-300:]}")
    require(jobs.is_expected(stage), f"{stage}: other bytes after a pause")
    return RECOVERED


def small_files(jobs: SmallJobs, rng: random.Random) -> str:
    """No file may grow beyond a random size: a write fails in the middle, as on a full disk."""
    stage = rng.choice(STAGES)
    jobs.remove_outputs(stage)
    size = rng.randrange(jobs.largest_output(stage) + 1)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    status = jobs.run(stage, limit)
    require(status != 0 or jobs.is_expected(stage), f"{stage}: status 0 with a damaged output")
    return _repeat(jobs, stage)


def two_writers(jobs: SmallJobs, rng: random.Random) -> str:
    """Two jobs write the same outputs; one of them may be killed."""
    stage = rng.choice(STAGES)
    jobs.remove_outputs(stage)
    first = jobs.start(stage)
    time.sleep(rng.uniform(0, jobs.seconds[stage] / 2))
    second = jobs.start(stage)
    if rng.random() < 0.3:
        os.kill(first, signal.SIGKILL)
    statuses = [jobs.end(first), jobs.end(second)]
    require(
        0 in statuses or "being written by" in jobs.message() or -signal.SIGKILL in statuses,
        f"{stage}: {statuses}, {jobs.message()[-300:]}",
    )
    return _repeat(jobs, stage)


def removal(jobs: SmallJobs, rng: random.Random) -> str:
    """SIGKILL while a finished store is removed."""
    stage = rng.choice([stage for stage in STAGES if OUTPUTS[stage][0].endswith(".zarr")])
    store = jobs.results / OUTPUTS[stage][0]
    process = os.fork()
    if not process:
        remove_store(store)
        os._exit(0)
    time.sleep(rng.uniform(0, 0.004))
    os.kill(process, signal.SIGKILL)
    jobs.end(process)
    return _repeat(jobs, stage)


def unfinished(jobs: SmallJobs, rng: random.Random) -> str:
    """A killed job, whose journal is then damaged, or a finished shard of it lost."""
    stage = rng.choice(("tile", "predict"))
    jobs.remove_outputs(stage)
    process = jobs.start(stage)
    time.sleep(rng.uniform(0.3, 1) * jobs.seconds[stage])
    os.kill(process, signal.SIGKILL)
    jobs.end(process)
    store = jobs.results / OUTPUTS[stage][0]
    partial, journal = (store.with_name(store.name + end) for end in (".partial", ".journal"))
    shards = [path for path in files_of(partial) if path.name != "zarr.json"]
    if shards and rng.random() < 0.5:
        rng.choice(shards).unlink()
    elif journal.is_file():
        _flip(journal, rng)
    return _repeat(jobs, stage)


def lost_file(jobs: SmallJobs, rng: random.Random) -> str:
    """A file of a finished store is deleted, or cut."""

    def damage(path: Path) -> None:
        if rng.random() < 0.5:
            path.unlink()
        else:
            data = path.read_bytes()
            path.write_bytes(data[: rng.randrange(len(data))])

    return _damaged_store(jobs, rng, damage)


def flipped_bit(jobs: SmallJobs, rng: random.Random) -> str:
    """A bit of a finished store flips."""
    return _damaged_store(jobs, rng, lambda path: _flip(path, rng))


def _damaged_store(jobs: SmallJobs, rng: random.Random, damage: Callable[[Path], None]) -> str:
    maker = rng.choice(tuple(READERS))
    store = jobs.results / OUTPUTS[maker][0]
    damage(rng.choice(files_of(store)))
    reader = rng.choice(READERS[maker])
    jobs.remove_outputs(reader)
    if jobs.run(reader) == 0:
        require(jobs.is_expected(reader), f"{reader} used a damaged {store.name} of {maker}")
        return NO_EFFECT
    message = jobs.message().strip().splitlines()[-1]
    require(any(word in message for word in _REMEDIES), f"no remedy: {message}")
    shutil.rmtree(store)
    _repeat(jobs, maker)
    require(jobs.run(reader) == 0, f"{reader} after the remedy: {jobs.message()[-300:]}")
    require(jobs.is_expected(reader), f"{reader}: other bytes after the remedy")
    return DETECTED


def damaged_weights(jobs: SmallJobs, rng: random.Random) -> str:
    """A bit of the weights flips, or the file is cut."""
    weights = jobs.inputs / "model" / WEIGHTS
    jobs.remove_outputs("predict")
    with _restored(weights) as data:
        if rng.random() < 0.8:
            _flip(weights, rng)
        else:
            weights.write_bytes(data[: rng.randrange(len(data))])
        require(jobs.run("predict") != 0, "predicted with damaged weights")
        message = jobs.message().strip().splitlines()[-1]
        require(any(word in message for word in _REMEDIES), f"no remedy: {message}")
    _repeat(jobs, "predict")
    return DETECTED


def replaced_input(jobs: SmallJobs, rng: random.Random) -> str:
    """Another content of an input, with an older time: the records of a run differ."""
    name, path = rng.choice([
        ("annotation", jobs.inputs / "a.geojson"), ("card", jobs.inputs / "model" / CARD),
        ("model", jobs.inputs / "model" / WEIGHTS), ("slide", jobs.inputs / "a.tiff"),
    ])  # fmt: skip
    inputs = [JobInput(name, str(path))]
    before = recorded_inputs(inputs)
    with _restored(path) as data:
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if name == "slide":  # the fingerprint is of the start and the end
            changed = bytearray(data[: -rng.randint(1, 100)])
        path.write_bytes(changed)
        os.utime(path, (_OLD_S, _OLD_S))
        after = recorded_inputs(inputs, before)
        require(before[0].checksum != after[0].checksum, f"a changed {name} was not noticed")
    again = recorded_inputs(inputs, after)
    require(again[0].checksum == before[0].checksum, f"the restored {name} counts as changed")
    return DETECTED


@contextmanager
def _restored(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    try:
        yield data
    finally:
        path.write_bytes(data)


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


# How often each kind is drawn, and its name in the table.
KINDS: dict[str, tuple[Callable[[SmallJobs, random.Random], str], int]] = {
    "a job is killed (SIGKILL)": (kill, 18),
    "a job is ended (SIGTERM)": (terminate, 8),
    "a job is stopped and goes on (SIGSTOP, SIGCONT)": (pause, 8),
    "writes fail in the middle (RLIMIT_FSIZE)": (small_files, 12),
    "two jobs write the same outputs": (two_writers, 4),
    "a removal of a store is killed": (removal, 12),
    "an unfinished store is damaged": (unfinished, 5),
    "a file of a store is lost or cut": (lost_file, 12),
    "a bit of a store flips": (flipped_bit, 12),
    "weights are damaged": (damaged_weights, 6),
    "an input is replaced by an older file": (replaced_input, 12),
}
