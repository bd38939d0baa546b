"""Jobs that the job server starts behave as scripts that are started alone."""

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from workflow.job_client import socket_address
from workflow.job_server import StartedJobServer, start_job_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are started alone")
_WAITING = "import os, time; open('started', 'w').write(str(os.getpid())); time.sleep(60)"


@pytest.fixture(scope="module")
def server() -> Iterator[StartedJobServer]:
    started = start_job_server()
    assert started is not None
    yield started
    _end(started)


def _end(server: StartedJobServer) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()
    server.process.wait(10)


def _command(server: StartedJobServer, folder: Path, text: str, rule: str = "one") -> list[str]:
    script = folder / f"tmp0.{rule}.py"
    script.write_text(text)
    return ["bash", "-c", f"{server.prefix} {sys.executable} '{script}'"]


def _wait_for(condition: Callable[[], object]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def _process(folder: Path) -> psutil.Process:
    _wait_for(lambda: (folder / "started").exists() and (folder / "started").read_text())
    return psutil.Process(int((folder / "started").read_text()))


def _has_ended(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def test_a_job_has_folder_environment_and_files_of_its_client(
    server: StartedJobServer, tmp_path: Path
) -> None:
    text = (
        "import os, sys\n"
        "print(os.getcwd(), os.environ['WORD'], sys.stdin.read(), __name__, len(sys.argv))\n"
        "print(os.getppid(), file=sys.stderr)\n"
    )
    done = subprocess.run(
        _command(server, tmp_path, text),
        cwd=tmp_path,
        env={**os.environ, "WORD": "a b"},
        input="text",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{tmp_path} a b text __main__ 1\n"
    assert int(done.stderr) == server.process.pid


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('its message')", 1),
        ("import a_missing_module", 1),
        ("from a_missing_module import name", 1),
        ("import os; os.kill(os.getpid(), 11)", 128 + 11),
    ],
)
def test_the_status_is_that_of_the_job(
    server: StartedJobServer, tmp_path: Path, text: str, status: int
) -> None:
    done = subprocess.run(
        _command(server, tmp_path, text), capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    if "message" in text:
        assert "ValueError: its message" in done.stderr
    # The server goes on.
    again = subprocess.check_output(_command(server, tmp_path, "print(1)"))
    assert again == b"1\n"


def test_modules_are_imported_before_the_job(server: StartedJobServer, tmp_path: Path) -> None:
    text = (
        "import sys; print('wave' in sys.modules)\n"
        "def main():\n    from wave import open\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    command = _command(server, tmp_path, text, "with_import")
    assert subprocess.check_output(command, text=True) == "True\n"


def test_what_functions_of_a_stage_import_is_imported_before_the_job(
    server: StartedJobServer, tmp_path: Path
) -> None:
    text = "import sys; print('matplotlib' in sys.modules)"
    command = _command(server, tmp_path, text, "overview_slide")
    assert subprocess.check_output(command, text=True) == "True\n"


def test_a_training_is_started_alone(server: StartedJobServer, tmp_path: Path) -> None:
    command = _command(server, tmp_path, "import os; print(os.getppid())", "train")
    assert int(subprocess.check_output(command)) != server.process.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_ends_when_its_client_is_killed(
    server: StartedJobServer, tmp_path: Path, number: signal.Signals
) -> None:
    client = subprocess.Popen(_command(server, tmp_path, _WAITING), cwd=tmp_path)
    job = _process(tmp_path)
    client.send_signal(number)
    client.wait(10)
    _wait_for(lambda: _has_ended(job))


def test_jobs_run_side_by_side(server: StartedJobServer, tmp_path: Path) -> None:
    client = subprocess.Popen(_command(server, tmp_path, _WAITING), cwd=tmp_path)
    job = _process(tmp_path)
    assert subprocess.check_output(_command(server, tmp_path, "print(2)", "two")) == b"2\n"
    assert not _has_ended(job)
    job.kill()
    assert client.wait(10) == 128 + signal.SIGKILL


def test_jobs_end_with_the_server_and_later_ones_are_started_alone(tmp_path: Path) -> None:
    server = start_job_server()
    assert server is not None
    client = subprocess.Popen(_command(server, tmp_path, _WAITING), cwd=tmp_path)
    job = _process(tmp_path)
    _end(server)
    assert client.wait(10) == 1
    _wait_for(lambda: _has_ended(job))
    assert subprocess.check_output(_command(server, tmp_path, "print(3)")) == b"3\n"


def test_a_killed_server_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    server = start_job_server()
    assert server is not None
    script = tmp_path / "jobs"
    script.mkdir()
    assert subprocess.check_output(_command(server, script, "print(5)")) == b"5\n"
    server.process.kill()
    _end(server)
    assert list(tmp_path.iterdir()) == [script]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the place of another user")
def test_the_server_has_no_jobs_for_another_user(server: StartedJobServer, tmp_path: Path) -> None:
    """The name of the server stands in its command line, which every user can read."""
    name = shlex.split(server.prefix)[-1]
    text = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "with socket.socket(socket.AF_UNIX) as connection:\n"
        "    connection.connect(sys.argv[1])\n"
        "    print(connection.recv(1))\n"
    )
    command = [sys.executable, "-c", text.replace("sys.argv[1]", f"'\\0{name}'")]
    assert subprocess.check_output(command) == b"b''\n"


def test_a_client_that_sends_nothing_does_not_stop_the_server(
    server: StartedJobServer, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(socket_address(shlex.split(server.prefix)[-1]))
    assert subprocess.check_output(_command(server, tmp_path, "print(4)")) == b"4\n"


def test_no_server_is_started_where_a_sandbox_refuses_process_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(process: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refused)
    assert start_job_server() is None
