"""A copy of a slide on a fast local disk while it is read: many small reads over a network cost far more than one copy."""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.slide_errors import StoreError

log = logging.getLogger(__name__)
_PREFIX = "gland-slide-"
_SPARE = 1.05
_IN_PLACE = {".vms", ".vmu"}  # their parts have names of their own: read where they are


@contextmanager
def near(path: Path, scratch: Path | None) -> Iterator[Path]:
    """The path of a local copy, removed afterwards; without `scratch` the path itself.

    Parameters
    ----------
    path : slide; of a MIRAX slide its folder comes along, of a DICOM series the files beside it
    scratch : folder on a local disk

    Raises
    ------
    StoreError
        The scratch disk has no room for the copy.
    OSError
        A disk or mount fails.
    """
    if scratch is None or path.suffix.lower() in _IN_PLACE:
        yield path
        return
    scratch.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(scratch)
    files = _files_of(path)
    size = sum(file.stat().st_size for file in files)
    free = shutil.disk_usage(scratch).free
    if size * _SPARE > free:
        raise StoreError(
            f"{scratch}: {path} needs {size / 1e9:.2f} GB of scratch, {free / 1e9:.2f} GB are free; clear it, or set `scratch: null`"
        )
    folder = Path(
        tempfile.mkdtemp(dir=scratch, prefix=f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-")
    )
    try:
        for file in files:
            copy = folder / file.relative_to(path.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            if copy.stat().st_size != file.stat().st_size:
                raise OSError(f"{file}: changed while it was copied to {scratch}; run again")
        log.info("%s: copied to %s (%.0f MB)", path, scratch, size / 1e6)
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _files_of(path: Path) -> list[Path]:
    if path.suffix.lower() == ".mrxs":
        return [path, *sorted(file for file in path.with_suffix("").rglob("*") if file.is_file())]
    if path.suffix.lower() == ".dcm":
        return sorted(file for file in path.parent.iterdir() if file.suffix.lower() == ".dcm")
    return [path]


def _clear_leftovers(scratch: Path) -> None:
    """Copies of processes of this machine that were killed."""
    for folder in scratch.glob(f"{_PREFIX}*-*-*"):
        host, pid, _ = folder.name.removeprefix(_PREFIX).rsplit(
            "-", 2
        )  # a host's name may have dashes too
        if (
            host == socket.gethostname()
            and pid.isdigit()
            and not Path(f"/proc/{pid}").exists()
            and Path("/proc/self").exists()
        ):
            shutil.rmtree(folder, ignore_errors=True)
