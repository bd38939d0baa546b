"""Small files that appear complete or not at all, and checksums of files."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to: renamed to `path` at the end, deleted on an error.

    The hidden file is `.{name}.{process id}.partial`. Its content is on the disk before it is
    renamed: after a power cut, `path` is never empty. The folder is created if it is missing.
    Hidden files that killed processes left are deleted first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partial_files(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        sync_to_disk(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file beside its final place and rename it, see `partial_file`."""
    with partial_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_partial_files(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` left in the folder.

    The file of a process that runs on this machine stays.
    """
    name = re.compile(re.escape(f".{path.name}.") + r"(\d{1,9})\.partial")
    with os.scandir(path.parent) as entries:
        matches = [(entry.path, name.fullmatch(entry.name)) for entry in entries]
    for leftover, match in matches:
        if match is not None and not _is_running(int(match[1])):
            Path(leftover).unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the list of names of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text.

    Raises
    ------
    OSError
        The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return process_id > 0
