"""Progress of a long job on the terminal, a line per minute."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tiling.raster.durations import duration_text
from tiling.raster.progress import current_progress

# A little less than a minute: at least one line appears in every minute.
_INTERVAL_S = 55.0


@contextmanager
def progress_lines(
    terminal: TextIO, job: str, log: str, *, interval_s: float = _INTERVAL_S
) -> Iterator[None]:
    """Print a line about the job every minute while the block runs.

    Nothing is printed where the environment variable `CI` is set.

    Parameters
    ----------
    job : first words of each line
    log : named where nothing is counted
    interval_s : time between two lines
    """
    if os.environ.get("CI"):
        yield
        return
    ended = threading.Event()
    started_s = time.monotonic()

    def report() -> None:
        while not ended.wait(interval_s):
            text = _progress_text(time.monotonic() - started_s, log)
            try:
                print(f"{job}: {text}", file=terminal, flush=True)
            except (OSError, ValueError):  # the terminal was closed; the job goes on
                return

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _progress_text(elapsed_s: float, log: str) -> str:
    """What a job has done, and the time that it needs for the rest."""
    progress = current_progress()
    if progress is None or not progress.total:
        return f"running for {duration_text(elapsed_s)}, see {log}"
    share = f"{100 * progress.done / progress.total:.0f} %"
    count = f"{progress.done} of {progress.total} {progress.unit} ({share})"
    remaining_s = progress.remaining_s()
    rest = "" if remaining_s is None else f", about {duration_text(remaining_s)} left"
    return count + rest
