"""One cell of the table: trains and scores its model, by the commands of this program."""

import contextlib
import io
import json
import math
import shlex
import sys

from semimoe.__main__ import run_command
from semimoe.benchmark.cell_cost import measure_cost
from semimoe.benchmark.table_cells import TableCell
from semimoe.benchmark.table_plan import prepare_cell
from tiling.raster.atomic_files import write_atomic
from tiling.raster.file_lock import is_locked, locked


def run_cell(cell: TableCell) -> None:
    """Make what is missing of a cell; a killed training continues.

    While another process makes it, this one waits, and then makes what is still missing.

    Raises
    ------
    SettingsError
        It was begun with other settings.
    SystemExit
        A command failed; its message is on stderr.
    """
    if is_locked(cell.being_made):
        print("another process makes this cell; waiting for it", file=sys.stderr, flush=True)
    with locked(cell.being_made, wait_s=math.inf):
        _make_missing(cell)


def _make_missing(cell: TableCell) -> None:
    prepare_cell(cell)
    if not cell.is_trained:
        _run_command(cell.train_words())
    if not cell.cost_file.is_file():
        cost = measure_cost(cell.model, device=cell.request.device)
        write_atomic(cell.cost_file, json.dumps(cost.to_json_dict(), indent=2) + "\n")
    for part in cell.request.parts:
        if not cell.scores_file(part).is_file():
            write_atomic(cell.scores_file(part), _run_command(cell.evaluate_words(part)))


def _run_command(words: list[str]) -> str:
    """Run a command; returns its standard output."""
    print(f"python -m semimoe {shlex.join(words)}", file=sys.stderr, flush=True)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = run_command(words)
    if status:
        raise SystemExit(status)
    return output.getvalue()
