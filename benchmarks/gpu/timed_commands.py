"""Commands of `semimoe` that a deadline stops."""

import subprocess
import sys
from pathlib import Path

from gpu_report import GpuReport

FINISHED = "finished"


def run_semimoe(command: list[str], log: Path, report: GpuReport, *, least_s: float = 1) -> str:
    """Run a command of `semimoe` until the deadline; its output goes to the log.

    Parameters
    ----------
    least_s : so much time it has also at the deadline: a model without it would be lost

    Returns
    -------
    str
        `FINISHED`, or why the command did not end well.
    """
    with log.open("a") as file:
        try:
            result = subprocess.run(
                [sys.executable, "-m", "semimoe", *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=max(report.left_s(), least_s),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "stopped by the deadline"
    return FINISHED if result.returncode == 0 else f"failed, see {log.name}"
