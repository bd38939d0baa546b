"""Opens a file that a person named, if it is a regular file."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tiling.slide_errors import AnnotationError

# Errors of the path itself; other errors (EIO, ESTALE, ...) are those of a disk or a mount.
_PATH_ERRORS = {
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EINVAL,
}


@contextmanager
def open_regular_file(path: Path, *, column: str = "annotation") -> Iterator[BinaryIO]:
    """Open a file for reading; never waits, as a named pipe without a writer would.

    Parameters
    ----------
    path : file to open
    column : of the sheet in which the path stands, for messages

    Raises
    ------
    AnnotationError
        There is no such file, it may not be read, or it is a folder, a pipe or a device.
    OSError
        The disk or a mount fails.
    """
    remedy = f"correct the path (in a sheet: column '{column}')"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        if error.errno not in _PATH_ERRORS:
            raise
        raise AnnotationError(f"{path}: cannot be opened ({error.strerror}); {remedy}") from error
    except ValueError as error:  # a path with a NUL
        raise AnnotationError(f"{str(path)!r}: no path of a file; {remedy}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        is_folder = stat.S_ISDIR(mode)
        what = "a folder; give the file in it" if is_folder else "a pipe or a device, no file"
        raise AnnotationError(f"{path}: {what}; {remedy}")
    with os.fdopen(descriptor, "rb") as file:
        yield file
