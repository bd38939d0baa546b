"""How far the parts of a job are, for messages on the terminal.

A job counts what it has done; another thread reads the numbers. The log has a bar of its own.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Parts that are running, the innermost last.
_RUNNING: list["Progress"] = []


@dataclass
class Progress:
    """Count of one part of a job.

    Attributes
    ----------
    unit : what is counted, in the plural
    total : number at the end
    done : number so far
    first : number at the start, which an interrupted run has left
    started_s : of the monotonic clock
    """

    unit: str
    total: int
    done: int = 0
    first: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def advance(self, count: int = 1) -> None:
        """Count items that are done."""
        self.done += count

    def remaining_s(self, now_s: float | None = None) -> float | None:
        """Seconds that are left at the mean speed so far; None before the first item.

        Parameters
        ----------
        now_s : of the monotonic clock; None: now

        >>> Progress("tiles", 10, done=4, first=2, started_s=0.0).remaining_s(20.0)
        60.0
        """
        counted = self.done - self.first
        if counted <= 0:
            return None
        elapsed_s = (time.monotonic() if now_s is None else now_s) - self.started_s
        return elapsed_s / counted * (self.total - self.done)


@contextmanager
def count_progress(unit: str, total: int, *, done: int = 0) -> Iterator[Progress]:
    """Count a part of a job while the block runs; inside another part, the inner one is shown."""
    progress = Progress(unit, total, done, done)
    _RUNNING.append(progress)
    try:
        yield progress
    finally:
        _RUNNING.remove(progress)


def current_progress() -> Progress | None:
    """The innermost part that is running; None if nothing is counted."""
    parts = _RUNNING[-1:]
    return parts[0] if parts else None
