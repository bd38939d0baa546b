"""Checksums of what a job or a run wrote."""

import hashlib
from pathlib import Path


def files_of(path: Path) -> list[Path]:
    """The files of a store, or the file itself."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def checksums(path: Path) -> dict[str, str]:
    """Checksum of each file of a store, or of a file."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files_of(path)
    }
