"""Independent items on threads, with progress.

Threads are enough: decoders, zstd and numpy release the interpreter lock.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from tiling.raster.progress import count_progress

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
    function: Callable[[Item], Result], items: Sequence[Item], *, job: JobSettings, nouns: str
) -> list[Result]:
    """Apply a function to every item; results in the order of the items.

    Parameters
    ----------
    function : called once per item; items must not share a shard that it writes
    items : arguments of the calls, which start in this order
    job : number of threads, 1 = this thread; progress: a bar on a terminal, or a line per minute in
        a log
    nouns : what the items are, in the plural ("shards"), for the progress

    Raises
    ------
    Exception
        The first error of the function. No further items are started, and the running ones end
        before it is raised: the caller can then close the files that they read.
    """
    from tqdm import tqdm

    on_terminal = sys.stderr.isatty()
    # In a log the progress is one line per minute, and no line for a shorter job.
    interval_s = 0.5 if on_terminal else 60.0
    log_line = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]\n"
    results: dict[int, Result] = {}
    with (
        closing(_completed(function, items, min(job.workers, len(items)))) as completed,
        tqdm(
            total=len(items),
            desc=nouns,
            unit="",
            mininterval=interval_s,
            maxinterval=interval_s,
            delay=interval_s,
            bar_format=None if on_terminal else log_line,
            disable=not job.progress,
        ) as bar,
        count_progress(nouns, len(items)) as progress,
    ):
        for index, result in completed:
            results[index] = result
            bar.update()
            progress.advance()
    return [results[index] for index in range(len(items))]


def _completed(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Generator[tuple[int, Result], None, None]:
    """Index and result of each item, in the order in which the items end.

    At most `workers` items are submitted at a time, so no item waits in a queue when an error
    stops the work.
    """
    remaining = enumerate(items)
    if workers <= 1:
        for index, item in remaining:
            yield index, function(item)
        return
    with ThreadPoolExecutor(workers) as pool:  # its end waits for the running items
        running: dict[Future[Result], int] = {}
        while True:
            for index, item in islice(remaining, workers - len(running)):
                running[pool.submit(function, item)] = index
            if not running:
                return
            ended = wait(running, return_when=FIRST_COMPLETED).done
            for future in sorted(ended, key=running.__getitem__):
                yield running.pop(future), future.result()
