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


def test_only_the_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in ("x.csv", "x.csv.gz", ".x.csv.123.partial", ".x.csv.gz.123.partial"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path / "x.csv")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".x.csv.gz.123.partial", "x.csv", "x.csv.gz"]


def test_the_checksum_is_sha256_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_checksum(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(FileNotFoundError):
        file_checksum(tmp_path / "missing")
