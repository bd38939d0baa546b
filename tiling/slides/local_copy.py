"""A copy of a slide on a fast local disk while it is read.

Many small reads over a network take much longer than one copy.
"""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.slide_errors import StoreError
from tiling.slides.slide_files import files_of_slide, is_vms

log = logging.getLogger(__name__)
_PREFIX = "gland-slide-"
_MARGIN = 1.05  # free space that is required, times the size of the slide


@contextmanager
def local_copy(path: Path, scratch: Path | None) -> Iterator[Path]:
    """Copy a slide to a local disk; the copy is removed at the end.

    Parameters
    ----------
    path : slide file; the folder of a MIRAX slide and the other files of a DICOM series are copied
        too
    scratch : folder on a local disk; None: no copy is made

    Yields
    ------
    Path
        The copy, or `path` itself when no copy is made.

    Raises
    ------
    StoreError
        The local disk has too little free space.
    OSError
        A disk or mount fails.
    """
    # The index of a VMS slide may name files anywhere: it is read without a copy.
    if scratch is None or is_vms(path):
        yield path
        return
    scratch.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_copies(scratch)
    files = files_of_slide(path)
    size = sum(file.stat().st_size for file in files)
    _check_free_space(scratch, path, size)
    prefix = f"{_PREFIX}{socket.gethostname()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix=prefix))
    try:
        for file in files:
            _copy(file, folder / file.relative_to(path.parent))
        log.info("%s: copied to %s (%.0f MB)", path, scratch, size / 1e6)
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_free_space(scratch: Path, path: Path, size: int) -> None:
    free = shutil.disk_usage(scratch).free
    if size * _MARGIN > free:
        raise StoreError(
            f"{scratch}: the local copy of {path} needs {size / 1e9:.2f} GB, "
            f"{free / 1e9:.2f} GB are free; remove files there, or set `scratch: null`"
        )


def _copy(file: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
    if copy.stat().st_size != file.stat().st_size:
        raise OSError(f"{file}: changed while it was copied to {copy.parent}; run again")


def _remove_abandoned_copies(scratch: Path) -> None:
    """Remove the copies of killed processes of this machine."""
    if not Path("/proc/self").exists():
        return  # no way to see which processes run
    for folder in scratch.glob(f"{_PREFIX}*-*-*"):
        # The name of a host may contain dashes too.
        host, pid, _ = folder.name.removeprefix(_PREFIX).rsplit("-", 2)
        if host == socket.gethostname() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
