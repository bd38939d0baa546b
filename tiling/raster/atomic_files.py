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

    The hidden file is `.{name}.{process id}.partial`. The folder is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file beside its final place and rename it; its folder is created if it is missing.

    Until then the content is in the hidden file `.{name}.{process id}.partial` of the same folder.
    """
    with partial_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_partial_files(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` left in the folder."""
    name = re.compile(re.escape(f".{path.name}.") + r"\d+\.partial")
    for leftover in path.parent.glob(".*.partial"):
        if name.fullmatch(leftover.name):
            leftover.unlink()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text.

    Raises
    ------
    OSError
        The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
