"""Random faults, of which none may be lost: `make torture FAULTS=1000 SEED=0`.

Most faults hit single jobs of a small slide, some hit whole runs of Snakemake. A fault is recovered
if the next run gives the bytes of an undisturbed run, and detected if an error names it with a
remedy. Everything else is lost: it is printed with the command that repeats it, and the exit status
is 1. The faults depend on seed and number only: `--first N` continues those of jobs, and
`--first-run N` those of runs. Moments of kills do not repeat exactly.
Ctrl-C prints the table of the faults so far.
"""

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from job_faults import DETECTED, KINDS, NO_EFFECT, RECOVERED, LostFaultError
from run_faults import RUN_KINDS, FaultyRun
from small_jobs import SmallJobs

_PROGRESS_S = 30.0
_LOST = "lost"


class Tally:
    """What became of the faults, by kind."""

    def __init__(self, seed: int, total: int) -> None:
        self._seed, self._total = seed, total
        self._counts: dict[str, Counter[str]] = {}
        self._start_s = self._shown_s = time.monotonic()
        self.lost: list[str] = []

    @property
    def done(self) -> int:
        """Number of faults so far."""
        return sum(counts.total() for counts in self._counts.values())

    def add(self, kind: str, again: str, outcome: str, problem: str = "") -> None:
        """Count a fault, which `make torture` repeats with `again`; show progress."""
        self._counts.setdefault(kind, Counter())[outcome] += 1
        if outcome == _LOST:
            again = f"make torture SEED={self._seed} {again}"
            self.lost.append(f"LOST {kind}: {problem}\n    again: {again}")
            print(self.lost[-1], flush=True)
        now_s = time.monotonic()
        if now_s - self._shown_s > _PROGRESS_S:
            self._shown_s = now_s
            left_s = (now_s - self._start_s) / self.done * max(self._total - self.done, 0)
            print(
                f"{time.strftime('%H:%M:%S')} {self.done} of {self._total} faults, "
                f"{len(self.lost)} lost, about {left_s / 60:.0f} minutes left",
                flush=True,
            )

    def table(self) -> str:
        """The result as a Markdown table."""
        columns = (RECOVERED, DETECTED, NO_EFFECT, _LOST)
        lines = [f"| fault | faults | {' | '.join(columns)} |", "|---|--:|--:|--:|--:|--:|"]
        sums: Counter[str] = Counter()
        for kind, counts in self._counts.items():
            sums += counts
            cells = " | ".join(str(counts[column]) for column in columns)
            lines.append(f"| {kind} | {counts.total()} | {cells} |")
        cells = " | ".join(str(sums[column]) for column in columns)
        return "\n".join([*lines, f"| together | {sums.total()} | {cells} |"])


def _job_faults(tally: Tally, options: argparse.Namespace, end_s: float, folder: Path) -> None:
    kinds, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    jobs = SmallJobs(folder)
    for number in range(options.first, options.first + options.faults):
        if time.monotonic() > end_s:
            print(f"deadline; continue with --first {number}")
            break
        rng = random.Random(f"{options.seed} {number}")
        kind = rng.choices(kinds, weights)[0]
        jobs.restore()
        again = f"FIRST={number} FAULTS=1 RUNS=0"
        try:
            tally.add(kind, again, KINDS[kind][0](jobs, rng))
        except LostFaultError as error:
            tally.add(kind, again, _LOST, str(error))


def _run_faults(tally: Tally, options: argparse.Namespace, end_s: float, folder: Path) -> None:
    run = FaultyRun(folder)
    kinds = list(RUN_KINDS)
    for number in range(options.first_run, options.first_run + options.runs):
        if time.monotonic() > end_s:
            print(f"deadline; continue with --first-run {number}")
            break
        rng = random.Random(f"run {options.seed} {number}")
        kind = kinds[number % len(kinds)]
        again = f"FIRST_RUN={number} FAULTS=0 RUNS=1"
        try:
            tally.add(kind, again, RUN_KINDS[kind](run, rng))
        except LostFaultError as error:
            tally.add(kind, again, _LOST, str(error))
            run = FaultyRun(Path(tempfile.mkdtemp(dir=folder)))


def main() -> int:
    """Inject faults; the exit status is 1 if one was lost."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--faults", type=int, default=1000, help="of single jobs")
    arguments.add_argument("--runs", type=int, default=20, help="faults of whole runs")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--first", type=int, default=0, help="number of the first fault")
    arguments.add_argument("--first-run", type=int, default=0, help="of the first of a run")
    arguments.add_argument("--minutes", type=float, default=float("inf"), help="deadline")
    options = arguments.parse_args()
    end_s = time.monotonic() + 60 * options.minutes
    logging.disable(logging.CRITICAL)
    tally = Tally(options.seed, options.faults + options.runs)
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.faults:
                (Path(folder) / "jobs").mkdir()
                _job_faults(tally, options, end_s, Path(folder) / "jobs")
            if options.runs:
                (Path(folder) / "runs").mkdir()
                _run_faults(tally, options, end_s, Path(folder) / "runs")
    except KeyboardInterrupt:
        print("interrupted")
    print(tally.table(), *tally.lost, sep="\n")
    return int(bool(tally.lost))


if __name__ == "__main__":
    sys.exit(main())
