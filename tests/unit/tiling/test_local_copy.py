"""A slide is copied to a local disk with all its files, and the copy is always removed."""

import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tiling.slide_errors import StoreError
from tiling.slides.local_copy import local_copy


def test_without_scratch_the_slide_is_read_where_it_is(tmp_path):
    with local_copy(tmp_path / "a.svs", None) as path:
        assert path == tmp_path / "a.svs"


def test_the_copy_has_the_same_bytes_and_is_removed(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"slide" * 1000)
    with local_copy(tmp_path / "a.svs", tmp_path / "scratch" / "deep") as path:
        assert path.parent.parent == tmp_path / "scratch" / "deep"
        assert path.read_bytes() == b"slide" * 1000
    assert list((tmp_path / "scratch" / "deep").iterdir()) == []


def test_a_mirax_slide_comes_with_its_folder(tmp_path):
    (tmp_path / "m.mrxs").write_bytes(b"index")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "Slidedat.ini").write_text("x")
    (tmp_path / "m" / "Data0001.dat").write_bytes(b"1")
    with local_copy(tmp_path / "m.mrxs", tmp_path / "scratch") as path:
        assert sorted(file.name for file in path.with_suffix("").iterdir()) == [
            "Data0001.dat",
            "Slidedat.ini",
        ]


def test_the_copy_is_removed_after_an_error_too(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"x")
    with (
        pytest.raises(RuntimeError, match="reader"),
        local_copy(tmp_path / "a.svs", tmp_path / "scratch"),
    ):
        raise RuntimeError("reader")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_too_little_free_space_is_an_error_before_anything_is_copied(tmp_path, monkeypatch):
    (tmp_path / "a.svs").write_bytes(b"x" * 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with (
        pytest.raises(StoreError, match=r"a\.svs needs 0\.00 GB"),
        local_copy(tmp_path / "a.svs", tmp_path / "scratch"),
    ):
        pytest.fail("copied in spite of the missing space")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_copies_of_killed_processes_are_removed_and_those_of_running_ones_stay(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"x")
    ended_pid = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    host = socket.gethostname()
    abandoned, used = (
        tmp_path / "scratch" / f"gland-slide-{host}-{pid}-abc" for pid in (ended_pid, os.getpid())
    )
    for folder in (abandoned, used):
        folder.mkdir(parents=True)
    with local_copy(tmp_path / "a.svs", tmp_path / "scratch"):
        assert not abandoned.exists()
        assert used.exists()


def test_a_copy_of_a_host_whose_name_starts_with_the_name_of_this_host_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu")
    (tmp_path / "s.svs").write_bytes(b"slide")
    theirs = tmp_path / "scratch" / f"gland-slide-gpu-{2**30}-4242-abcdefgh"
    ours = tmp_path / "scratch" / f"gland-slide-gpu-{2**30}-abcdefgh"
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
    with local_copy(tmp_path / "s.svs", tmp_path / "scratch"):
        assert theirs.exists()
        assert not ours.exists()
