"""Random inputs for every parser of untrusted bytes: `make fuzz INPUTS=1190000 SEED=0`.

Each parser runs in a child process with 1 GiB of memory above what its imports use, and may take
5 s of CPU time (20 s of real time, for one that waits) for an input. An exception that the parser
does not declare, a longer time, more memory, or the end of the process is a fault; it is printed
with the command that repeats it. The exit status is 1 if there was any. Ctrl-C prints the
table of what was run.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from all_parsers import PARSERS
from fuzz_worker import NO_INPUT
from fuzzed_parser import FuzzedParser

_REPO = Path(__file__).parents[2]
_CPU_LIMIT_S, _WAIT_LIMIT_S = 5.0, 20.0
_POLL_S = 0.2
_SHOWN_FAULTS = 5
_PROGRESS_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Outcome:
    """What happened with the inputs of one parser."""

    parser: FuzzedParser
    inputs: int = 0
    refused: int = 0
    cpu_s: float = 0.0
    longest_cpu_s: float = 0.0
    peak_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    fault_kinds: dict[tuple[str, str], int] = field(default_factory=dict)


class InputTimer:
    """CPU time and real time of the input that is being parsed."""

    def __init__(self) -> None:
        self._number, self._since_s, self._since_cpu_s = NO_INPUT, 0.0, 0.0
        self.cpu_s = 0.0

    def excess(self, number: int, now_s: float, cpu_s: float) -> str | None:
        """Why the input takes too long; None if it does not.

        Parameters
        ----------
        number : of the input; NO_INPUT while the process imports and prepares
        now_s, cpu_s : real time, and CPU time of the process
        """
        if number != self._number:
            self._number, self._since_s, self._since_cpu_s = number, now_s, cpu_s
        if number == NO_INPUT:
            return None
        self.cpu_s = cpu_s - self._since_cpu_s
        if self.cpu_s > _CPU_LIMIT_S:
            return "more than 5 s"
        if now_s - self._since_s > _WAIT_LIMIT_S and self.cpu_s < _POLL_S:
            return "waits"
        return None


class Run:
    """A fuzz run: one child process at a time."""

    def __init__(self, seed: int, folder: Path, end_s: float) -> None:
        self._seed, self._folder, self._end_s = seed, folder, end_s
        self._state = folder / "state"
        self._state.write_bytes(bytes(16))
        self._shown_s = time.monotonic()

    def parser(self, outcome: Outcome, first: int, count: int) -> None:
        """Give `count` inputs to a parser; a new child continues after one that ended."""
        number, end = first, first + count
        while number < end and time.monotonic() < self._end_s:
            number = self._child(outcome, number, end)

    def _child(self, outcome: Outcome, number: int, end: int) -> int:
        """One child process; returns the number of the next input."""
        name, start = outcome.parser.name, number
        self._state.write_bytes(struct.pack("<qq", NO_INPUT, 0))
        here = str(Path(__file__).with_name("fuzz_worker.py"))
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            command = [sys.executable, here, name, str(self._seed), str(number), str(end), work]
            output = self._folder / "output"
            with output.open("wb") as stdout, (self._folder / "errors").open("wb") as stderr:
                child = subprocess.Popen(
                    [*command, str(self._state)], stdout=stdout, stderr=stderr, cwd=work,
                    env=_environment(),
                )  # fmt: skip
                reason = self._watch(child, outcome, end)
            done, refused = struct.unpack("<qq", self._state.read_bytes())
            for line in output.read_text(errors="replace").splitlines():
                self._note(outcome, json.loads(line))
        outcome.refused += refused
        if done == NO_INPUT:
            done = start
            if reason != "deadline":  # no input is the cause
                raise RuntimeError((self._folder / "errors").read_text(errors="replace"))
        if child.returncode == 1:
            raise RuntimeError((self._folder / "errors").read_text(errors="replace"))
        if reason is not None and done < end and reason != "deadline":
            last = (self._folder / "errors").read_text(errors="replace").strip().splitlines()
            self._fault(outcome, done, reason, f"{reason}; {last[-1] if last else ''}")
            done += 1
        outcome.inputs += done - start
        return end if reason == "deadline" else done

    def _watch(self, child: "subprocess.Popen[bytes]", outcome: Outcome, end: int) -> str | None:
        """Wait for the end of a child; returns why it ended early, None if it did not."""
        timer, cpu_s = InputTimer(), 0.0
        while child.poll() is None:
            time.sleep(_POLL_S)
            number = struct.unpack("<qq", self._state.read_bytes())[0]
            cpu_s = max(cpu_s, _cpu_s(child.pid))
            reason = timer.excess(number, time.monotonic(), cpu_s)
            outcome.longest_cpu_s = max(outcome.longest_cpu_s, timer.cpu_s)
            if reason is None and time.monotonic() > self._end_s:
                reason = "deadline"
            if reason is not None:
                child.kill()
                child.wait()
                outcome.cpu_s += cpu_s
                return reason
            self._progress(outcome, number, end)
        outcome.cpu_s += cpu_s
        return None if child.returncode == 0 else f"the process ended with {child.returncode}"

    def _note(self, outcome: Outcome, line: dict[str, Any]) -> None:
        if "peak_bytes" in line:
            outcome.peak_bytes = max(outcome.peak_bytes, line["peak_bytes"])
        else:
            self._fault(outcome, line["input"], line["where"], f"{line['error']} ({line['where']})")

    def _fault(self, outcome: Outcome, number: int, where: str, text: str) -> None:
        key = (text.split(":", maxsplit=1)[0], where)
        outcome.fault_kinds[key] = outcome.fault_kinds.get(key, 0) + 1
        if outcome.fault_kinds[key] == 1:
            name = outcome.parser.name
            repeat = f"PARSER={name} SEED={self._seed} FIRST={number} INPUTS=1"
            outcome.faults.append(f"{text}\n    again: make fuzz {repeat}")
            print(f"FAULT {name} input {number}: {outcome.faults[-1]}", flush=True)

    def _progress(self, outcome: Outcome, number: int, end: int) -> None:
        if time.monotonic() - self._shown_s > _PROGRESS_S:
            self._shown_s = time.monotonic()
            name = outcome.parser.name
            print(f"{time.strftime('%H:%M:%S')} {name}: input {number} of {end}", flush=True)


def _environment() -> dict[str, str]:
    paths = [*map(str, (_REPO, _REPO / "tests" / "examples")), os.environ.get("PYTHONPATH", "")]
    one_thread = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**os.environ, **one_thread, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _cpu_s(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def table(outcomes: list[Outcome]) -> str:
    """The result as a Markdown table."""
    lines = [
        "| parser | inputs | refused | undeclared exceptions, hangs, memory | ms each (CPU) | "
        "peak MiB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for outcome in outcomes:
        faults = sum(outcome.fault_kinds.values())
        each_ms = 1e3 * outcome.cpu_s / max(outcome.inputs, 1)
        lines.append(
            f"| {outcome.parser.reads} | {outcome.inputs} | {outcome.refused} | {faults} | "
            f"{each_ms:.2f} | {outcome.peak_bytes >> 20} |"
        )
    inputs = sum(outcome.inputs for outcome in outcomes)
    faults = sum(sum(outcome.fault_kinds.values()) for outcome in outcomes)
    return "\n".join([*lines, f"| together | {inputs} | | {faults} | | |"])


def main() -> int:
    """Run all parsers, or one."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--inputs", type=int, default=1_190_000, help="of all parsers together")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments.add_argument("--parser", action="append", choices=list(PARSERS))
    arguments.add_argument("--minutes", type=float, default=float("inf"), help="deadline")
    options = arguments.parse_args()
    chosen = [PARSERS[name] for name in options.parser or PARSERS]
    outcomes = [Outcome(parser) for parser in chosen]
    total = sum(parser.share for parser in chosen)
    end_s = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        run = Run(options.seed, Path(folder), end_s)
        try:
            for outcome in outcomes:
                count = -(-options.inputs * outcome.parser.share // total)
                run.parser(outcome, options.first, count)
                print(table([outcome]).splitlines()[-2], flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    print(table(outcomes))
    for outcome in outcomes:
        for fault in outcome.faults:
            print(f"FAULT {outcome.parser.name}: {fault}")
    return int(any(outcome.faults for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
