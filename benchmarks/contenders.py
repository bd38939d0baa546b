"""Running the contenders of a benchmark, each in its own process, with its time and peak memory.

The memory is the PSS of the process, sampled. On a machine that others use too, compare the seconds
of the processors: they hardly depend on other programs.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

_INTERVAL_S = 0.05
Contender = Callable[..., dict[str, float] | None]


class Measured(NamedTuple):
    """One run of a contender.

    Attributes
    ----------
    seconds : wall time of the work
    cpu_s : time of all processors
    peak_mib : largest PSS of the process
    counted : numbers that the contender returned
    """

    seconds: float
    cpu_s: float
    peak_mib: float
    counted: dict[str, float]


def measured(script: str, name: str, *arguments: object) -> Measured:
    """Run contender `name` of a script whose `main` calls `serve` first."""
    command = [sys.executable, script, "--contender", name, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_full_info().pss)
        except psutil.Error:
            break
        time.sleep(_INTERVAL_S)
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name}: status {process.returncode}")
    result = json.loads(text.splitlines()[-1])
    return Measured(result["seconds"], result["cpu_s"], peak / 2**20, result["counted"])


def serve(contenders: dict[str, Contender]) -> bool:
    """Run the contender and print its result if `measured` started this process.

    Returns
    -------
    Whether `measured` started this process
    """
    if sys.argv[1:2] != ["--contender"]:
        return False
    name, *arguments = sys.argv[2:]
    start = time.perf_counter()
    counted = contenders[name](*arguments)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {"seconds": seconds, "cpu_s": used.ru_utime + used.ru_stime, "counted": counted or {}}
        )
    )
    return True


def row(
    label: str, run: Measured, *, compared_with: Measured | None = None, note: str = ""
) -> None:
    """Print one line of a table, with the ratios of both times to those of another contender."""
    ratio = " " * 20
    if compared_with is not None:
        wall, cpu = compared_with.seconds / run.seconds, compared_with.cpu_s / run.cpu_s
        ratio = f"{wall:5.2f} x, cpu {cpu:5.2f} x"
    print(
        f"  {label:44s} {run.seconds:8.2f} s (cpu {run.cpu_s:7.1f})  {ratio}  "
        f"peak {run.peak_mib:6.0f} MiB  {note}",
        flush=True,
    )


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
