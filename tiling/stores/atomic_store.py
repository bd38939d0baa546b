"""Writing a store so that it appears complete or not at all.

A store is written as `X.zarr.partial` and renamed when it is complete. A lock on `X.zarr.lock`
excludes a second writer; the operating system releases it when the process ends, for any reason.
`X.zarr.journal` lists the finished blocks: after a kill the next run writes only the missing
blocks, and the store has the same bytes as one that was written without interruption.
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tiling.raster.atomic_files import write_atomic
from tiling.slide_errors import StoreError

_LOCK_WAIT_S = 10.0
_LOCK_RETRY_S = 0.2


class UnfinishedStore:
    """A store that is being written, with the journal of its finished blocks.

    Attributes
    ----------
    folder : where to write; it becomes the store when the `with` block ends without an error
    resumed : True when the folder holds blocks of an earlier run with the same parameters
    """

    def __init__(self, folder: Path, journal: Path, resumed: bool) -> None:
        self.folder = folder
        self.resumed = resumed
        self._journal = journal
        self._journal_lock = threading.Lock()
        self._notes = _read_journal(journal)

    def is_finished(self, block: str) -> bool:
        """Whether this run or an earlier one finished the block of this name."""
        return block in self._notes

    def note(self, block: str) -> Any:  # noqa: ANN401  # any JSON value
        """The note that was recorded with a finished block."""
        return self._notes[block]

    def record_finished(self, block: str, note: object = None) -> None:
        """Add a block to the journal, after its bytes were written.

        Parameters
        ----------
        block : name of the block
        note : a small JSON value that `note` returns, also in a later run
        """
        with self._journal_lock, self._journal.open("a") as file:
            file.write(json.dumps([block, note]) + "\n")
            file.flush()
            os.fsync(file.fileno())
            self._notes[block] = note


@contextmanager
def write_store(
    path: Path, parameters: dict[str, Any], *, resume: bool = True
) -> Iterator[UnfinishedStore]:
    """Write a store at `path` so that it appears complete or not at all.

    Parameters
    ----------
    path : the finished store, a folder
    parameters : all values that the bytes depend on; an unfinished store of other parameters is
        deleted
    resume : keep the finished blocks of an earlier run with the same parameters

    Raises
    ------
    StoreError
        See `locked`.
    """
    folder = path.with_name(path.name + ".partial")
    journal = path.with_name(path.name + ".journal")
    checksum = _parameters_checksum(parameters)
    with locked(path):
        resumed = resume and folder.is_dir() and _recorded_checksum(journal) == checksum
        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_atomic(journal, json.dumps(["parameters", checksum]) + "\n")
        yield UnfinishedStore(folder, journal, resumed)
        # zarr leaves temporary files beside its chunks when the process is killed.
        for temporary in folder.rglob("*.partial"):
            temporary.unlink()
        _replace_store(path, folder)
        journal.unlink()
        shutil.rmtree(_replaced_store(path), ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock `path + ".lock"` while `path` is written; the lock file is never deleted.

    Raises
    ------
    StoreError
        Another running process writes the same store, or the file system has no locks (flock).
    """
    lock = path.with_name(path.name + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        _acquire(file, lock, path)
        file.truncate(0)
        job = os.environ.get("SLURM_JOB_ID", "-")
        file.write(f"host {socket.gethostname()}, pid {os.getpid()}, job {job}")
        file.flush()
        yield


def _acquire(file: IO[str], lock: Path, path: Path) -> None:
    """Lock an open lock file; try again for some seconds while another process has the lock."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                writer = file.read().strip() or "an unknown process"
                raise StoreError(
                    f"{path}: being written by {writer}; "
                    "wait until it ends or stop it, then run again"
                ) from None
            time.sleep(_LOCK_RETRY_S)
        except OSError as error:
            raise StoreError(
                f"{lock}: this file system has no locks ({error}); "
                "put `results` on a file system that has them"
            ) from error
        else:
            return


def _replace_store(path: Path, folder: Path) -> None:
    """Put `folder` in the place of the store at `path`.

    The old store is renamed before it is deleted: a process that is killed in the middle of a
    deletion leaves a part of the store, which would still open and read as fill values.
    """
    old = _replaced_store(path)
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    os.replace(folder, path)


def _replaced_store(path: Path) -> Path:
    return path.with_name(path.name + ".replaced")


def _parameters_checksum(parameters: dict[str, Any]) -> str:
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _recorded_checksum(journal: Path) -> str | None:
    """Checksum of the parameters in the first line of a journal; None without one."""
    if not journal.is_file():
        return None
    first_line = journal.read_text().split("\n", 1)[0]
    try:
        return str(json.loads(first_line)[1])
    except (ValueError, IndexError):
        return None


def _read_journal(journal: Path) -> dict[str, Any]:
    """Notes of the finished blocks, by name of the block."""
    text = journal.read_text()
    complete = text[: text.rfind("\n") + 1]
    if complete != text:
        # A killed run may leave half a line; the next block must start on a line of its own.
        write_atomic(journal, complete)
    notes = {}
    for line in complete.splitlines():
        try:
            block, note = json.loads(line)
        except ValueError:
            # A full disk leaves half a line with the next one joined to it. Both blocks count as
            # missing and are written again.
            continue
        notes[block] = note
    return notes
