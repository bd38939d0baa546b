"""Stores that appear whole or not at all.

A store is written as `X.zarr.partial` and renamed when complete. A lock that dies with its holder keeps a second writer out;
a journal of finished blocks lets a killed run go on where it stopped, with the same bytes.
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
from typing import Any

from tiling.raster.atomic_files import write_atomic
from tiling.slide_errors import StoreError

_LOCK_WAIT_S = 10.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path + ".lock"` while writing `path`; the lock dies with this process, the lock file stays.

    Raises
    ------
    StoreError
        Another living process writes the same store, or the file system has no flock.
    """
    lock = path.with_name(path.name + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as handle:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    handle.seek(0)
                    holder = handle.read().strip() or "an unknown process"
                    raise StoreError(
                        f"{path}: being written by {holder}; wait for it or stop it, then run again"
                    ) from None
                time.sleep(0.2)
            except OSError as error:
                raise StoreError(
                    f"{lock}: this file system has no locks ({error}); put `results` on one that has"
                ) from error
        handle.truncate(0)
        handle.write(
            f"host {socket.gethostname()}, pid {os.getpid()}, job {os.environ.get('SLURM_JOB_ID', '-')}"
        )
        handle.flush()
        yield


class Partial:
    """A store under construction: `folder` to write into, and the journal of what is finished.

    Attributes
    ----------
    folder : where to write; becomes the store when the `with` block ends without an error
    resumed : an earlier run with the same parameters left finished blocks here
    """

    def __init__(self, folder: Path, journal: Path, resumed: bool) -> None:
        self.folder = folder
        self.resumed = resumed
        self._journal = journal
        self._write = threading.Lock()
        self._done = _read_journal(journal)

    def is_done(self, key: str) -> bool:
        """Whether an earlier run, or this one, finished this block."""
        return key in self._done

    def note(self, key: str) -> Any:  # noqa: ANN401  # whatever JSON the block recorded
        """What was recorded with a finished block."""
        return self._done[key]

    def done(self, key: str, note: object = None) -> None:
        """Record a finished block (after its bytes are written) with a small JSON note."""
        with self._write, self._journal.open("a") as handle:
            handle.write(json.dumps([key, note]) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
            self._done[key] = note


@contextmanager
def building(
    path: Path, parameters: dict[str, Any], *, keep_partial: bool = True
) -> Iterator[Partial]:
    """Write a store at `path` so that it appears whole or not at all.

    Parameters
    ----------
    path : the finished store, a folder
    parameters : everything the bytes depend on; a partial store of other parameters is started afresh
    keep_partial : go on with blocks that an earlier, killed run finished

    Raises
    ------
    StoreError
        See `locked`.
    """
    partial = path.with_name(path.name + ".partial")
    journal = path.with_name(path.name + ".journal")
    stamp = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()
    with locked(path):
        resumed = keep_partial and partial.is_dir() and _stamp_of(journal) == stamp
        if not resumed:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write_atomic(journal, json.dumps(["parameters", stamp]) + "\n")
        yield Partial(partial, journal, resumed)
        # A killed zarr leaves temporary files beside its chunks.
        for leftover in partial.rglob("*.partial"):
            leftover.unlink()
        # Taken away whole: one that is killed while it removes a store leaves part of it, which opens and reads as fill.
        replaced = path.with_name(path.name + ".replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            os.replace(path, replaced)
        os.replace(partial, path)
        journal.unlink()
        shutil.rmtree(replaced, ignore_errors=True)


def _read_journal(journal: Path) -> dict[str, Any]:
    text = journal.read_text()
    whole = text[: text.rfind("\n") + 1]
    if (
        whole != text
    ):  # the last line of a killed run may be cut; what is added next must not join it
        write_atomic(journal, whole)
    found = {}
    for line in whole.splitlines():
        try:
            key, note = json.loads(line)
        except (
            ValueError
        ):  # cut by a full disk, and the next line joined to it: those blocks are made again
            continue
        found[key] = note
    return found


def _stamp_of(journal: Path) -> str | None:
    if not journal.is_file():
        return None
    first = journal.read_text().split("\n", 1)[0]
    try:
        return str(json.loads(first)[1])
    except (ValueError, IndexError):
        return None
