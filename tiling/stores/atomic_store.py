"""Writing a store so that it appears complete or not at all.

A store is written as `X.zarr.partial` and renamed when it is complete. A lock on `X.zarr.lock`
excludes a second writer. `X.zarr.journal` lists the finished blocks with their files: after a kill
the next run writes only the missing blocks, and the store has the same bytes as one that was
written without interruption. A finished store lists its files, see `tiling.stores.manifest`.
"""

import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c

from tiling.raster.atomic_files import sync_to_disk, write_atomic
from tiling.raster.file_lock import locked
from tiling.stores.manifest import seal_store

log = logging.getLogger(__name__)


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
        self._notes = _read_journal(journal, folder)

    def is_finished(self, block: str) -> bool:
        """Whether this run or an earlier one finished the block of this name."""
        return block in self._notes

    def note(self, block: str) -> Any:  # noqa: ANN401  # any JSON value
        """The note that was recorded with a finished block."""
        return self._notes[block]

    def record_finished(self, block: str, note: object = None, files: Iterable[Path] = ()) -> None:
        """Add a block to the journal, after its bytes were written.

        Parameters
        ----------
        block : name of the block
        note : a small JSON value that `note` returns, also in a later run
        files : what was written for it; a later run writes the block again if one is lost
        """
        sizes = {
            file.relative_to(self.folder).as_posix(): file.stat().st_size
            for file in files
            if file.exists()  # a shard without any chunk has no file
        }
        with self._journal_lock, self._journal.open("a") as file:
            file.write(_journal_line(json.dumps([block, note, sizes])))
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
    path : the finished store, a folder; a link there is replaced, what it leads to stays
    parameters : all values that the bytes depend on; an unfinished store of other parameters is
        deleted
    resume : keep the finished blocks of an earlier run with the same parameters

    Raises
    ------
    LockError
        See `locked`.
    """
    folder = path.with_name(path.name + ".partial")
    journal = path.with_name(path.name + ".journal")
    checksum = _parameters_checksum(parameters)
    with locked(path):
        resumed = resume and folder.is_dir() and _recorded_checksum(journal) == checksum
        if not resumed:
            _delete(folder)
            folder.mkdir(parents=True)
            write_atomic(journal, json.dumps(["parameters", checksum]) + "\n")
        for metadata in folder.rglob("zarr.json"):
            metadata.unlink()  # the same is written again: what a disk damaged is not read
        yield UnfinishedStore(folder, journal, resumed)
        # zarr leaves temporary files beside its chunks when the process is killed.
        for temporary in folder.rglob("*.partial"):
            temporary.unlink()
        seal_store(folder)
        _replace_store(path, folder)
        journal.unlink()
        _delete(_replaced_store(path))


def remove_store(path: Path) -> None:
    """Remove a finished store, if there is one; other programs see all of it or nothing.

    It is renamed first: a process that is killed in the middle of a removal must not leave a part
    of a store at `path`. Of a link to a store only the link is removed.
    """
    _delete(_move_away(path))


def _replace_store(path: Path, folder: Path) -> None:
    """Put `folder` in the place of the store at `path`.

    The old store is renamed before it is deleted: a process that is killed in the middle of a
    deletion leaves a part of the store, which would still open and read as fill values.
    """
    _move_away(path)
    os.replace(folder, path)
    sync_to_disk(path.parent)


def _move_away(path: Path) -> Path:
    """Rename the store at `path`, if there is one; returns its new path, which may be missing."""
    old = _replaced_store(path)
    _delete(old)
    if path.is_symlink():
        log.warning("%s: the link is removed; %s stays as it is", path, path.readlink())
    if os.path.lexists(path):
        os.replace(path, old)
    return old


def _delete(folder: Path) -> None:
    """Delete a folder if it exists; of a link to a folder only the link."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _replaced_store(path: Path) -> Path:
    return path.with_name(path.name + ".replaced")


def _parameters_checksum(parameters: dict[str, Any]) -> str:
    text = json.dumps(parameters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _recorded_checksum(journal: Path) -> str | None:
    """Checksum of the parameters in the first line of a journal; None without one."""
    if not journal.is_file():
        return None
    first_line = journal.read_text(errors="replace").split("\n", 1)[0]
    try:
        return str(json.loads(first_line)[1])
    except (ValueError, LookupError, TypeError):  # damaged
        return None


def _journal_line(text: str) -> str:
    """A line of the journal: JSON and its CRC-32C."""
    return f"{text} {google_crc32c.value(text.encode()):08x}\n"


def _read_journal(journal: Path, folder: Path) -> dict[str, Any]:
    """Notes of the finished blocks whose files are complete, by name of the block."""
    text = journal.read_text(errors="replace")
    complete = text[: text.rfind("\n") + 1]
    if complete != text:
        # A killed run may leave half a line; the next block must start on a line of its own.
        write_atomic(journal, complete)
    notes = {}
    for line in complete.splitlines():
        values = line[:-9]
        # A full disk leaves half a line with the next one joined to it. Both blocks count as
        # missing and are written again.
        if line != _journal_line(values).removesuffix("\n"):
            continue
        block, note, sizes = json.loads(values)
        files = {folder / name: size for name, size in sizes.items()}
        if all(file.is_file() and file.stat().st_size == size for file, size in files.items()):
            notes[block] = note
    return notes
