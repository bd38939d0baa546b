"""Processes of cells: what Ctrl-C leaves."""

import os
import signal
import subprocess
import sys

from child_processes import wait_for_file

SCRIPT = """
import signal
import sys
import time
from pathlib import Path

from tqdm import tqdm

from semimoe.benchmark import cell_processes
from semimoe.benchmark.table_cells import TableCell, TableRequest
from semimoe.benchmark.table_rows import TABLE_ROWS


def run_cell(cell):
    with tqdm(total=2) as bar:
        bar.update()
        (cell.folder / "started").touch()
        time.sleep(600)


if __name__ == "__main__":
    # A program that a script starts in the background ignores Ctrl-C, and so do its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cell_processes.IMPORTED_FIRST = ()
    request = TableRequest(Path("data"), Path(sys.argv[1]), "honest", "cpu", ("testA",))
    cell = TableCell(request, TABLE_ROWS["unet"], 0.2, 0)
    try:
        list(cell_processes.run_cells([cell], run_cell, jobs=1))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_ctrl_c_ends_a_cell_with_a_progress_bar_without_a_message(tmp_path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_for_file(process, tmp_path, "out/cells/*/started", most_s=60)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # its child processes end with it
    assert (process.returncode, errors) == (130, "")
