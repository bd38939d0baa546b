"""Numbers that show whether a file has changed, without its content."""

from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Numbers that change when a file is changed or replaced, also by an older file.

    Attributes
    ----------
    size_bytes, inode : of the file
    modified_ns : time of the last change of the content
    changed_ns : time of the last change of the inode, which a program cannot set
    """

    size_bytes: int
    inode: int
    modified_ns: int
    changed_ns: int


def file_state(path: Path) -> FileState | None:
    """The state of a file; None if there is none, or it may not be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileState(status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
