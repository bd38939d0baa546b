import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiling.raster.file_lock import LockError, locked


def test_the_error_of_a_second_writer_names_the_first(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    code = f"""
import time
from pathlib import Path
from tiling.raster.file_lock import locked
with locked(Path({str(path)!r})):
    print('held', flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockError, match=f"pid {holder.pid}"), locked(path, wait_s=0.3):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    time.sleep(0.05)
    with locked(path):  # the lock of a dead process is free
        pass


@pytest.mark.parametrize("content", [b"torch==2.13\n", b"\xff\x00", b"hos"])
def test_a_file_that_is_no_lock_is_never_emptied(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "requirements.lock"
    other.write_bytes(content)
    expected = pytest.raises(
        LockError, match=r"requirements\.lock: .*is no lock file of this program; rename it"
    )
    with expected, locked(tmp_path / "requirements"):
        pytest.fail("took the lock")
    assert other.read_bytes() == content


@pytest.mark.parametrize(
    "content", ["", "\0" * 45, "host old-machine-with-a-long-name, pid 1, job -" * 9]
)
def test_a_lock_of_an_earlier_process_is_taken(tmp_path: Path, content: str) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(content)
    with locked(tmp_path / "x"):
        assert lock.read_text() == f"host {socket.gethostname()}, pid {os.getpid()}, job -"


def test_a_lock_of_another_user_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.touch()
    lock.chmod(0o444)
    user = os.geteuid()
    if user == 0:  # root may write it in any case
        os.seteuid(65534)
    try:
        with pytest.raises(LockError, match="not writable for this user"), locked(tmp_path / "x"):
            pass
    finally:
        os.seteuid(user)
