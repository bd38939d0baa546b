"""Runs cells side by side, each in a process of its own: a failed one does not end the others."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from semimoe.benchmark.table_cells import TableCell
from tiling.raster.file_lock import is_locked

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

# Imported once, by the process that the processes of the cells are copies of.
IMPORTED_FIRST = (
    "semimoe.commands.train",
    "semimoe.commands.evaluate",
    "semimoe.training.fit",
    "semimoe.training.finish",
    "semimoe.training.start_run",
    "semimoe.training.batch_loader",
    "semimoe.prediction.image_predictor",
    "semimoe.benchmark.cell_cost",
    "torch._dynamo",  # the first optimiser step imports it, which takes a second
)
_SHOWN_CHARACTERS = 300
CellFunction = Callable[[TableCell], None]


class CellOutcome(NamedTuple):
    """What became of a cell.

    Attributes
    ----------
    problem : why it has no scores; "": it has
    seconds : how long its process ran
    """

    cell: TableCell
    problem: str
    seconds: float


class _RunningCell(NamedTuple):
    cell: TableCell
    process: "ForkServerProcess"
    started_s: float


def run_cells(
    cells: Sequence[TableCell], run_cell: CellFunction, *, jobs: int
) -> Iterator[CellOutcome]:
    """Run cells, a teacher before the cells that need its model; gives each outcome at its end.

    The processes end when this process ends, for any reason.

    Parameters
    ----------
    run_cell : a function of a module, which writes the files of a cell; it writes messages to
        the log of the cell
    jobs : most cells at a time
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED_FIRST))
    waiting = list(cells)
    running: list[_RunningCell] = []
    failed: set[str] = set()
    try:
        while waiting or running:
            unfinished = {cell.name for cell in waiting} | {one.cell.name for one in running}
            # Cells that another call is making now come last.
            for cell in sorted(waiting, key=lambda one: is_locked(one.being_made)):
                teacher = cell.teacher
                if teacher is not None and teacher.name in failed:
                    waiting.remove(cell)
                    failed.add(cell.name)
                    yield CellOutcome(cell, f"needs the model of {teacher.text}", 0.0)
                elif len(running) < jobs and (teacher is None or teacher.name not in unfinished):
                    waiting.remove(cell)
                    process = context.Process(target=_run_in_process, args=(run_cell, cell))
                    process.start()
                    running.append(_RunningCell(cell, process, time.monotonic()))
            if not running:  # only cells without their teacher were left; `wait` would not end
                continue
            ended = set(wait([one.process.sentinel for one in running]))
            for one in [one for one in running if one.process.sentinel in ended]:
                running.remove(one)
                one.process.join()
                problem = _problem(one)
                if problem:
                    failed.add(one.cell.name)
                yield CellOutcome(one.cell, problem, time.monotonic() - one.started_s)
                one.process.close()
    finally:
        for one in running:
            one.process.terminate()
            one.process.join()


def log_file(cell: TableCell) -> "os.PathLike[str]":
    """Messages of the process of a cell."""
    return cell.folder / "log.txt"


def _problem(one: _RunningCell) -> str:
    """Why a process failed, with the last line of its log; "": it did not fail."""
    status = one.process.exitcode
    if status == 0:
        return ""
    if status == -signal.SIGKILL:
        return "killed, perhaps because memory was full (fewer --jobs need less)"
    if status is not None and status < 0:
        return f"ended by signal {-status}"
    message = _last_line(Path(log_file(one.cell)))
    return f"status {status}" + (f" ({message})" if message else "")


def _last_line(path: Path) -> str:
    """The last line of a text that is not empty, shortened."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.rpartition("\r")[2][:_SHOWN_CHARACTERS]


def _run_in_process(run_cell: CellFunction, cell: TableCell) -> None:
    """Run a cell in this process, whose output goes to the log."""
    from tqdm import tqdm

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The default lock is shared by processes. If this one is terminated, Python warns of it.
    tqdm.set_lock(threading.RLock())
    cell.folder.mkdir(parents=True, exist_ok=True)
    with open(log_file(cell), "a", buffering=1, encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
        run_cell(cell)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
