"""Processes of cells: what Ctrl-C leaves."""

import os
import signal
import subprocess
import sys
import time

SCRIPT = """
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
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/cells/*/started")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (130, "")
