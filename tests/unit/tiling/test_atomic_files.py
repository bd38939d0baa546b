"""Small files are complete or absent; checksums are those of hashlib."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from tiling.raster.atomic_files import (
    file_checksum,
    partial_file,
    partial_path,
    remove_partial_files,
    write_atomic,
)

KILLED = 999_999_999


def test_a_written_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "x.csv", "1\n")
    write_atomic(tmp_path / "a" / "x.csv", b"2\n")
    assert (tmp_path / "a" / "x.csv").read_text() == "2\n"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.csv"]


def test_a_write_that_is_interrupted_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write_atomic(tmp_path / "x.csv", "old")
    write_atomic(tmp_path / "x.csv.gz", "other")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", interrupted)
        write_atomic(tmp_path / "x.csv", "new")
    assert (tmp_path / "x.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.csv.gz"]


def test_only_the_partial_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "x.csv", tmp_path / "x.csv.gz"
    running = partial_path(path, os.getppid())
    killed, killed_other = partial_path(path, KILLED), partial_path(other, KILLED)
    for file in (path, other, running, killed, killed_other):
        file.touch()
    remove_partial_files(path)
    assert set(tmp_path.iterdir()) == {path, other, running, killed_other}


def test_a_partial_file_of_another_machine_stays_for_two_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of two machines that share a folder may have the same number."""
    path = tmp_path / "x.csv"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        foreign = {partial_path(path, KILLED), partial_path(path, os.getpid())}
    for file in foreign:
        file.touch()
    write_atomic(path, "1\n")
    assert set(tmp_path.iterdir()) == {path, *foreign}
    for file in foreign:
        os.utime(file, (0, 0))
    write_atomic(path, "1\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_of_255_bytes_can_be_written_and_its_leftover_is_removed(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + "a.csv")
    partial_path(path, KILLED).touch()
    write_atomic(path, "1\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_link", [False, True])
def test_a_pipe_is_never_replaced_by_a_file(tmp_path: Path, is_link: bool) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / ("link" if is_link else "pipe")
    os.mkfifo(pipe)
    if is_link:
        out.symlink_to(pipe)
    before = set(tmp_path.iterdir())
    expected = pytest.raises(OSError, match=f"{out.name}: .*not a regular file; name another")
    with expected, partial_file(out):
        pytest.fail("began to write")
    assert pipe.is_fifo()
    assert out.is_symlink() == is_link
    assert set(tmp_path.iterdir()) == before


def test_the_next_write_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    partial_path(tmp_path / "x.csv", KILLED).write_bytes(b"0" * 9)
    write_atomic(tmp_path / "x.csv", "1\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_a_file_is_on_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a file that was only renamed is empty."""
    order, fsync, replace = [], os.fsync, os.replace

    def synced(handle: int) -> None:
        order.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        order.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "x.csv", "1\n")
    assert order == [partial_path(tmp_path / "x.csv", os.getpid()).name, "x.csv"]


def test_the_checksum_is_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_checksum(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileNotFoundError):
        file_checksum(tmp_path / "missing")
