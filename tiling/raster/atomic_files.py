"""Small files that appear complete or not at all, and checksums of files."""

import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A file name has at most 255 bytes on most file systems; what is added to it here has less than 35.
_MOST_NAME_BYTES = 220
# No process writes a small file for so long.
_OLD_S = 2 * 24 * 3600.0


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to: renamed to `path` at the end, deleted on an error.

    For the name of the hidden file see `partial_path`. Its content is on the disk before it is
    renamed: after a power cut, `path` is never empty. The folder is created if it is missing.
    Hidden files that killed processes left are deleted first.

    Raises
    ------
    OSError
        `path` is a folder, a device or a pipe, or the disk fails.
    """
    if path.exists() and not path.is_file():  # renaming would replace a device by a file
        raise OSError(f"{path}: exists and is not a regular file; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partial_files(path)
    partial = partial_path(path, os.getpid())
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

    The files of processes that run stay, and those of other machines for two days: whether their
    processes run is not known here.
    """
    name = re.compile(re.escape(f".{_shown_name(path)}.") + r"([0-9a-f]{8})-(\d{1,9})\.partial")
    with os.scandir(path.parent) as entries:
        matches = [(Path(entry.path), name.fullmatch(entry.name)) for entry in entries]
    for leftover, match in matches:
        if match is None:
            continue
        is_of_this_machine = match[1] == _host_checksum()
        if not _is_running(int(match[2])) if is_of_this_machine else _is_old(leftover):
            leftover.unlink(missing_ok=True)


def partial_path(path: Path, process_id: int) -> Path:
    """The hidden path to which a process of this machine writes the content of `path`.

    It is `.{name}.{host}-{process id}.partial`. The host is a checksum of the name of the machine,
    because process ids of two machines that share a folder may be equal. A long name is replaced
    by its checksum.
    """
    return path.with_name(f".{_shown_name(path)}.{_host_checksum()}-{process_id}.partial")


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


def _shown_name(path: Path) -> str:
    """The name of a file, or its checksum if it is long."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= _MOST_NAME_BYTES else hashlib.sha256(name).hexdigest()


def _host_checksum() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_old(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime > _OLD_S
    except FileNotFoundError:
        return False


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return process_id > 0
