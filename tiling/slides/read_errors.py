"""Errors of the libraries that decode image files, brought to two exceptions.

Modules that call such a library raise these; `tiling.slides.slide_reader` and the readers of masks
turn them into errors that name the file and the remedy.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import PIL.Image

from tiling.raster.parser_errors import PARSER_ERRORS


class FileReadError(Exception):
    """A library could not open or decode a file; `str()` is the reason."""


class NotBrightfieldError(Exception):
    """The pixels of a file are not 8-bit RGB; `str()` is the reason."""


class RefusedFileError(Exception):
    """A file that can be decoded must not be used as it is; `str()` is reason and remedy."""


_PARSER_ERRORS: tuple[type[Exception], ...] = (
    *PARSER_ERRORS,
    PIL.Image.DecompressionBombError,
)


@contextmanager
def file_read_errors() -> Iterator[None]:
    """Raise FileReadError in place of the errors of a parser; errors of the disk stay OSError."""
    try:
        yield
    except _PARSER_ERRORS as error:
        # EINVAL: a damaged offset that no file can have. Others (ENOSPC, EIO, a lost mount) are
        # errors of the disk: the job fails, not the slide.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise FileReadError(f"{type(error).__name__}: {error}") from error
