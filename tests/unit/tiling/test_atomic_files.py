"""Small files are complete or absent; checksums are those of hashlib."""

import hashlib
import os
from pathlib import Path

import pytest

from tiling.raster.atomic_files import file_checksum, remove_partial_files, write_atomic


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
    running = f".x.csv.{os.getppid()}.partial"
    killed = (".x.csv.999999999.partial", ".x.csv.gz.999999999.partial")
    for name in ("x.csv", "x.csv.gz", running, *killed):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path / "x.csv")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [running, killed[1], "x.csv", "x.csv.gz"]


def test_the_next_write_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / ".x.csv.999999999.partial").write_bytes(b"0" * 9)
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
    assert order == [f".x.csv.{os.getpid()}.partial", "x.csv"]


def test_the_checksum_is_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_checksum(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileNotFoundError):
        file_checksum(tmp_path / "missing")
