"""Peak memory of a command and of all its child processes.

It is the sum of their PSS, which counts shared pages once, sampled twice a second (of their
resident memory, which is more, where the system does not know the PSS).

python benchmarks/peak_memory.py -- make demo
"""

import argparse
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil

_INTERVAL_S = 0.5
_MIB = 2**20


def tree_pss(root: psutil.Process) -> int:
    """Bytes of proportional set size of a process and all below it, now."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        # A process may end before its memory is read.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.rss)  # sandboxes may not know the PSS
    return total


def run_and_measure(
    command: list[str],
    *,
    folder: Path | None = None,
    log: Path | None = None,
    limit_s: float | None = None,
) -> tuple[int | None, float, int]:
    """Exit status, seconds, and the largest memory in bytes of a command.

    Parameters
    ----------
    folder : working directory
    log : file for the output; None: it is printed
    limit_s : the command is killed after this time, and its status is None
    """
    start, peak = time.perf_counter(), 0
    with contextlib.ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("w"))
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        while process.poll() is None:
            if limit_s is not None and time.perf_counter() - start > limit_s:
                process.kill()
                process.wait()
                return None, time.perf_counter() - start, peak
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, tree_pss(psutil.Process(process.pid)))
            time.sleep(_INTERVAL_S)
    return process.wait(), time.perf_counter() - start, peak


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="+")
    command = parser.parse_args().command
    status, seconds, peak = run_and_measure(command)
    print(
        f"{' '.join(command)}: status {status}, {seconds:.0f} s, "
        f"peak {peak / _MIB:.0f} MiB (PSS of the process tree)"
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
