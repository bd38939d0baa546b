"""Independent blocks on threads (decoders, zstd and numpy release the interpreter lock), with progress."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class JobSettings:
    """How a job works; its results do not depend on it.

    Attributes
    ----------
    workers : threads
    progress : show progress on stderr
    """

    workers: int = 1
    progress: bool = False


def for_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    what: str,
    progress: bool,
) -> list[Result]:
    """Apply a function to every item; results in the order of the items.

    Parameters
    ----------
    function : called once per item; items must not share a shard that it writes
    items : what to work on
    workers : threads; 1 runs in this thread
    what : plural noun for the progress line ("shards")
    progress : show a bar on a terminal, or a line a minute in a log

    Raises
    ------
    Exception
        The first error of the function; items not yet begun are left out, and those begun are finished before it is raised.
    """
    from dask.base import compute
    from dask.delayed import delayed
    from tqdm import tqdm

    if not items:
        return []
    terminal = sys.stderr.isatty()
    # A bar redraws itself on a terminal; in a log it is a line a minute, and nothing for what takes less.
    seconds, look = (
        (0.5, None)
        if terminal
        else (60.0, "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]\n")
    )
    turn = _Turn()
    with tqdm(
        total=len(items),
        desc=what,
        unit="",
        mininterval=seconds,
        maxinterval=seconds,
        delay=seconds,
        bar_format=look,
        disable=not progress,
    ) as bar:
        # By index: dask would walk through an item that is a list or tuple.
        def one(index: int) -> Result:
            with turn.starting():
                result = function(items[index])
            with turn.change:
                bar.update()
            return result

        # Dask takes what is ready from the largest name down: so the work goes in order, and a disk is read forwards.
        tasks = [
            delayed(one, pure=False)(index, dask_key_name=f"{len(items) - index:09d}")
            for index in range(len(items))
        ]
        scheduler = "synchronous" if workers <= 1 else "threads"
        try:
            results: tuple[Result, ...] = compute(
                *tasks, scheduler=scheduler, num_workers=max(workers, 1), traverse=False
            )  # type: ignore[no-untyped-call]
        finally:
            turn.end()
        return list(results)


class _Turn:
    """Who is at work: after an error dask returns at once, but the caller may close the slide only when the last thread has left it."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self._running = 0
        self._over = False

    @contextmanager
    def starting(self) -> Iterator[None]:
        with self.change:
            if self._over:
                raise CancelledError
            self._running += 1
        try:
            yield
        finally:
            with self.change:
                self._running -= 1
                self.change.notify_all()

    def end(self) -> None:
        with self.change:
            self._over = True
            self.change.wait_for(lambda: self._running == 0)
