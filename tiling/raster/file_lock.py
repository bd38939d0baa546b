"""Locks that exclude a second writer of a store or of a model folder."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LOCK_WAIT_S = 10.0
_LOCK_RETRY_S = 0.2
# The content of every lock file that a process wrote begins with this.
_CONTENT_START = "host "


class LockError(ValueError):
    """A path that this process must not write now. The job fails.

    Another process writes it, this user may not, the file system has no locks, or an unrelated
    file has the name of the lock.
    """


@contextmanager
def locked(path: Path, *, wait_s: float = _LOCK_WAIT_S, writer: str = "") -> Iterator[None]:
    """Hold the lock `path + ".lock"` while `path` is written; the lock file is never deleted.

    The operating system releases the lock when the process ends, for any reason.

    Parameters
    ----------
    wait_s : how long to wait while another process has the lock
    writer : more about this process, for the message to others

    Raises
    ------
    LockError
        Another running process writes the same path, its lock is not writable for this user, the
        file system has no locks (flock), or a file that is no lock has the name of the lock.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+", errors="replace")
    except PermissionError:
        raise LockError(
            f"{lock}: not writable for this user, perhaps made by another one; write to another"
            " folder, or change the owner of these files"
        ) from None
    with file:
        _acquire(file, lock, path, wait_s)
        _check_content(file, lock)
        file.truncate(0)
        job = os.environ.get("SLURM_JOB_ID", "-")
        file.write(f"{_CONTENT_START}{socket.gethostname()}, pid {os.getpid()}, job {job}{writer}")
        file.flush()
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a path now; False if that cannot be told."""
    try:
        file = path.with_name(path.name + ".lock").open("a+")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _acquire(file: IO[str], lock: Path, path: Path, wait_s: float) -> None:
    """Lock an open lock file; try again for `wait_s` while another process has the lock."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                writer = file.read().strip() or "an unknown process"
                raise LockError(
                    f"{path}: being written by {writer}; "
                    "wait until it ends or stop it, then run again"
                ) from None
            time.sleep(_LOCK_RETRY_S)
        except OSError as error:
            raise LockError(
                f"{lock}: this file system has no locks ({error}); "
                "put the results on a file system that has them"
            ) from error
        else:
            return


def _check_content(file: IO[str], lock: Path) -> None:
    """Refuse a file that no process wrote as a lock: to write the lock empties it.

    After a power cut the content of a lock may be zeros.
    """
    file.seek(0)
    if file.read(len(_CONTENT_START)).strip("\0") not in ("", _CONTENT_START):
        raise LockError(
            f"{lock}: is no lock file of this program; rename it, or delete it if it is not needed"
        )
    file.seek(0)
