"""The job server: starts each job as a copy of one process that has imported its modules.

Python takes 0.6 s of processor time to import what a job of one slide needs, and 2 s with torch:
often more than the work of the job. The server imports the modules of a script when the first job
with that script arrives, and then copies itself (`fork`) for each of these jobs. A job has the
folder, the environment and the files of the client that asked for it (`job_client`). It ends when
its client is killed, and all jobs and the server end when Snakemake ends.
"""

import ast
import contextlib
import ctypes
import gc
import importlib
import os
import runpy
import secrets
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from workflow.job_client import REFUSED, STARTED, is_same_user, receive_request, socket_address

# Trainings are long, and start processes of their own.
_STARTED_ALONE = frozenset({"train", "benchmark_cell"})
# What the functions of a stage import when they are called.
_IMPORTED_TO_PREDICT = (
    "semimoe.prediction.predictor",
    "semimoe.devices",
    "torch",
    "safetensors",
    "semimoe.methods.learner",
    "semimoe.networks.efficientnet",
)
_IMPORTED_LATER = {
    "overview_slide": ("matplotlib", "PIL.PngImagePlugin"),
    "predict_slide": _IMPORTED_TO_PREDICT,
    "pseudo_label": _IMPORTED_TO_PREDICT,
}
_PR_SET_PDEATHSIG = 1


class _JobRequest(NamedTuple):
    """What a client asks for: the script, its working directory and its environment."""

    script: str
    folder: str
    environment: dict[str, str]


class _RunningJob(NamedTuple):
    process: int
    end: int  # file that can be read when the process has ended
    client: socket.socket


class StartedJobServer(NamedTuple):
    """A running server.

    Attributes
    ----------
    process : it ends when this is closed or collected
    prefix : words before the command of a job that hand the job to the server
    """

    process: subprocess.Popen[bytes]
    prefix: str


def start_job_server() -> StartedJobServer | None:
    """Start the server of this process; None where processes cannot be copied."""
    if not _can_watch_processes():
        return None
    name = f"gland-jobs-{secrets.token_hex(16)}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_address(name))
    listener.listen(128)
    # Nothing is written: the server sees that this process has ended when its pipe is closed.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "workflow.job_server", str(listener.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        # Processes with threads cannot be copied; a job sets its number of threads itself.
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"},
    )
    listener.close()
    client = Path(__file__).with_name("job_client.py")
    return StartedJobServer(process, shlex.join([sys.executable, "-I", "-S", str(client), name]))


def _can_watch_processes() -> bool:
    """Whether the end of a process can be waited for as a file: some sandboxes refuse it."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


class JobServer:
    """Serves clients until the process that started it ends.

    Parameters
    ----------
    listener : socket to which clients connect
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._process = os.getpid()
        self._jobs: dict[int, _RunningJob] = {}
        self._selector = selectors.DefaultSelector()
        self._prepared: set[str] = set()

    def serve(self) -> _JobRequest | None:
        """Start jobs; returns in each of their processes the request, in the server at its end."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._listener:
                    request = self._start()
                    if request is not None:
                        return request
                elif key.data in self._jobs:  # not if both files of a job can be read
                    job = self._jobs[key.data]
                    self._end(job, is_killed=key.fileobj is job.client)

    def _start(self) -> _JobRequest | None:
        """Accept a client; returns the request in the process of the job."""
        client, _ = self._listener.accept()
        if not is_same_user(client):
            client.close()
            return None
        try:
            values, files = receive_request(client)
            request = _JobRequest(**values)  # type: ignore[arg-type]  # of our client
        except (OSError, EOFError, ValueError, TypeError):
            client.close()
            return None
        name = request.script.split(".")[-2]
        if name in _STARTED_ALONE:
            _close_all(files)
            client.sendall(REFUSED)
            client.close()
            return None
        self._prepare(name, Path(request.script))
        process = os.fork()
        if process == 0:
            self._become_job(client, files)
            return request
        _close_all(files)
        with contextlib.suppress(OSError):
            client.sendall(STARTED)
        end = os.pidfd_open(process)
        self._jobs[process] = _RunningJob(process, end, client)
        self._selector.register(end, selectors.EVENT_READ, process)
        self._selector.register(client, selectors.EVENT_READ, process)
        return None

    def _prepare(self, name: str, script: Path) -> None:
        """Import what a script imports, once."""
        if name in self._prepared:
            return
        self._prepared.add(name)
        names = list(_IMPORTED_LATER.get(name, ()))
        # An import that fails here fails in the job again, which says so.
        with contextlib.suppress(Exception):
            nodes = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
            imports = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
            for module in [*filter(None, imports), *names]:
                importlib.import_module(module)
        gc.freeze()

    def _become_job(self, client: socket.socket, files: list[int]) -> None:
        """Keep nothing of the server, in the process of a job."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._process:  # the server ended before
            os._exit(1)
        self._selector.close()
        self._listener.close()
        for job in self._jobs.values():
            os.close(job.end)
            job.client.close()
        client.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)

    def _end(self, job: _RunningJob, *, is_killed: bool) -> None:
        """Tell the client how its job ended; kill the job of a client that was killed."""
        if is_killed:
            os.kill(job.process, signal.SIGKILL)
        _, status = os.waitpid(job.process, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):
            job.client.sendall(bytes([code if code >= 0 else 128 - code]))
        del self._jobs[job.process]
        for file in (job.end, job.client):
            self._selector.unregister(file)
        os.close(job.end)
        job.client.close()


def _close_all(files: list[int]) -> None:
    for file in files:
        os.close(file)


def run_job(request: _JobRequest) -> None:
    """Run the script of a job in this process."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    tempfile.tempdir = None  # the environment of the job names another folder
    sys.argv = [request.script]
    runpy.run_path(request.script, run_name="__main__")


def main() -> None:
    """`python -m workflow.job_server FILE`: the number of the open socket."""
    (file,) = sys.argv[1:]
    # Ctrl-C ends the jobs; Snakemake then ends, and this process with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = JobServer(socket.socket(fileno=int(file))).serve()
    if request is not None:
        run_job(request)


if __name__ == "__main__":
    main()
