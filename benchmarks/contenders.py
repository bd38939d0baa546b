"""What the benchmarks share: each contender runs in a process of its own, timed, its memory sampled as PSS of the process.

On a machine that others use too, read the processor's seconds: they hardly depend on the others.
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
    """Wall seconds of the work, seconds of all processors, peak PSS in MiB, and what the contender counted."""

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
    found = json.loads(text.splitlines()[-1])
    return Measured(found["seconds"], found["cpu_s"], peak / 2**20, found["counted"])


def serve(contenders: dict[str, Contender]) -> bool:
    """Whether this process was started by `measured`: then the contender has run, and its figures are printed."""
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


def row(what: str, found: Measured, *, beside: Measured | None = None, note: str = "") -> None:
    """Print one line of a table, with the ratios of wall and of processor time to another contender."""
    ratio = (
        f"{beside.seconds / found.seconds:5.2f} x, cpu {beside.cpu_s / found.cpu_s:5.2f} x"
        if beside
        else " " * 20
    )
    print(
        f"  {what:44s} {found.seconds:8.2f} s (cpu {found.cpu_s:7.1f})  {ratio}  peak {found.peak_mib:6.0f} MiB  {note}",
        flush=True,
    )


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
