"""Independent blocks on threads (decoders, zstd and numpy release the interpreter lock), with progress."""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, what: str, progress: bool) -> list[Result]:
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
        The first error of the function; items not yet begun are left out.
    """
    from dask.base import compute
    from dask.delayed import delayed
    from tqdm import tqdm

    if not items:
        return []
    terminal = sys.stderr.isatty()
    # A bar redraws itself on a terminal; in a log it is a line a minute, and nothing for what takes less.
    seconds, look = (0.5, None) if terminal else (60.0, "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]\n")
    count = threading.Lock()
    with tqdm(
        total=len(items), desc=what, unit="", mininterval=seconds, maxinterval=seconds, delay=seconds, bar_format=look, disable=not progress
    ) as bar:
        # By index: dask would walk through an item that is a list or tuple.
        def one(index: int) -> Result:
            result = function(items[index])
            with count:
                bar.update()
            return result

        tasks = [delayed(one, pure=False)(index) for index in range(len(items))]
        scheduler = "synchronous" if workers <= 1 else "threads"
        results: tuple[Result, ...] = compute(*tasks, scheduler=scheduler, num_workers=max(workers, 1), traverse=False)  # type: ignore[no-untyped-call]
        return list(results)
