"""Child processes that answer requests, because their work may end the process or take very long.

A request and its answer are one line of JSON each, on stdin and stdout of the child process.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Far above the need of a slide that can be used (a MIRAX slide with millions of tiles: 1 GiB).
_MAX_ADDRESS_SPACE = 4 << 30
# The child ends itself at its limit. A process that waits for a lost mount cannot even be ended.
_MARGIN_S = 5.0
# Errors of the code that runs, and what a library does if it gets no memory (GLib: SIGTRAP). Other
# signals come from outside, for example SIGKILL where the memory of the machine runs out.
_CRASH_SIGNALS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGTRAP,
    }
)


class ChildEndedError(Exception):
    """The process ended before it answered.

    Attributes
    ----------
    status_text : "status 1" or "signal 11, SIGSEGV"; "" if it ran out of time
    is_crash : whether its own code ended it; otherwise it ran out of time, something else ended it,
        or it could not start, and another try may succeed
    is_killed : whether it got SIGKILL, usually because the memory of the machine ran out
    """

    def __init__(self, status: int) -> None:
        self.status_text = "" if status == -signal.SIGALRM else _status_text(status)
        self.is_crash = -status in _CRASH_SIGNALS
        self.is_killed = status == -signal.SIGKILL
        super().__init__(self.status_text)


class ChildProcess:
    """A process that answers one request after the other; started again when it ends.

    Parameters
    ----------
    module : it calls `answer_requests` when it is run
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to a request.

        Parameters
        ----------
        request : plain values
        limit_s : most seconds

        Raises
        ------
        ChildEndedError
            The process ended, or ran out of time.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        line = json.dumps({"request": dict(request), "limit_s": limit_s}).encode()
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            readable, _, _ = select.select([process.stdout], [], [], limit_s + _MARGIN_S)
            line = process.stdout.readline() if readable else b""
        except BrokenPipeError:
            line = b""
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        raise ChildEndedError(self._how_it_ended())

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        _close_pipes(self._process)  # the process ends when its stdin ends
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            root = str(Path(__file__).parents[1])
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            )
        return self._process

    def _how_it_ended(self) -> int:
        """Its status, -SIGALRM if it ran out of time; a process that still runs is ended."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            status = process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = -signal.SIGALRM
        _close_pipes(process)
        return status


def answer_requests(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Answer requests until stdin ends, in the child process; memory and time are limited.

    Parameters
    ----------
    answer : makes plain values of a request
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    if allowed == resource.RLIM_INFINITY or allowed > _MAX_ADDRESS_SPACE:
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
    for line in sys.stdin:
        values = json.loads(line)
        # The default action of the signal ends the process, also inside a library.
        signal.setitimer(signal.ITIMER_REAL, values["limit_s"])
        print(json.dumps(answer(values["request"])), flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it holds a request that the process did not read any more


def _status_text(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status}, {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
