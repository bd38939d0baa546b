"""Files of earlier jobs that are read back: damaged ones are named, with the remedy."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ResultError(ValueError):
    """A file that an earlier job wrote is damaged. The job fails."""


_READ_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    csv.Error,
    SyntaxError,
)


@contextmanager
def reading_result(path: Path) -> Iterator[None]:
    """Read a file that an earlier job wrote, inside the block.

    Raises
    ------
    ResultError
        The content is not what that job writes.
    """
    try:
        yield
    except _READ_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ResultError(f"{path}: damaged ({reason}); remove it and run again") from error
