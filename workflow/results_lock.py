"""The lock of a folder of results: one run writes it at a time."""

import sys
from contextlib import ExitStack
from pathlib import Path

from tiling.raster.file_lock import LockError, locked
from workflow.result_paths import ResultPaths

_WAIT_S = 1.0


def results_lock(paths: ResultPaths) -> ExitStack:
    """Lock the results until the returned stack is closed, or this process ends for any reason.

    The jobs of a run do not take this lock: they are parts of the run that holds it.

    Raises
    ------
    SystemExit
        Another run writes these results, from this or another working directory.
    """
    stack = ExitStack()
    try:
        stack.enter_context(
            locked(paths.run_lock, wait_s=_WAIT_S, writer=f", working directory {Path.cwd()}")
        )
    except LockError as error:
        sys.exit(f"Nothing was started: {error}")
    return stack
