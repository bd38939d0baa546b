import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiling.slide_errors import StoreError
from tiling.stores import atomic_store as atomic
from tiling.stores.atomic_store import locked, write_store


def test_store_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with write_store(path, {"a": 1}) as unfinished:
        (unfinished.folder / "chunk").write_text("data")
        assert not path.exists()
    assert (path / "chunk").read_text() == "data"
    assert not (tmp_path / "x.zarr.partial").exists()
    assert not (tmp_path / "x.zarr.journal").exists()


def interrupted(path: Path, parameters: dict[str, int]) -> None:
    with pytest.raises(KeyboardInterrupt), write_store(path, parameters) as unfinished:
        (unfinished.folder / "b0").write_text("first")
        unfinished.record_finished("b0", {"tiles": 3})
        raise KeyboardInterrupt


def test_finished_blocks_of_an_interrupted_store_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    assert not path.exists()
    with write_store(path, {"a": 1}) as unfinished:
        assert unfinished.resumed
        assert unfinished.is_finished("b0")
        assert unfinished.note("b0") == {"tiles": 3}
        assert not unfinished.is_finished("b1")


def test_an_unfinished_store_of_other_parameters_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    with write_store(path, {"a": 2}) as unfinished:
        assert not unfinished.resumed
        assert not unfinished.is_finished("b0")
        assert list(unfinished.folder.iterdir()) == []


def test_an_incomplete_last_line_of_the_journal_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    with (tmp_path / "x.zarr.journal").open("a") as journal:
        journal.write('["b1", nul')
    with write_store(path, {"a": 1}) as unfinished:
        assert unfinished.is_finished("b0")
        assert not unfinished.is_finished("b1")
        unfinished.record_finished("b2")
    interrupted(tmp_path / "y.zarr", {"a": 1})


def test_blocks_recorded_after_an_incomplete_line_are_kept_after_another_kill(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    with (tmp_path / "x.zarr.journal").open("a") as journal:
        journal.write('["b1", nul')
    with pytest.raises(KeyboardInterrupt), write_store(path, {"a": 1}) as unfinished:
        unfinished.record_finished("b2")
        raise KeyboardInterrupt
    with write_store(path, {"a": 1}) as unfinished:
        assert unfinished.is_finished("b0")
        assert unfinished.is_finished("b2")


def test_temporary_files_of_a_killed_writer_are_deleted(tmp_path: Path) -> None:
    with write_store(tmp_path / "x.zarr", {}) as unfinished:
        (unfinished.folder / "c.123.partial").write_text("half")
    assert list((tmp_path / "x.zarr").iterdir()) == []


def test_the_error_of_a_second_writer_names_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_LOCK_WAIT_S", 0.3)
    path = tmp_path / "x.zarr"
    code = f"""
import time
from pathlib import Path
from tiling.stores.atomic_store import locked
with locked(Path({str(path)!r})):
    print('held', flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match=f"pid {holder.pid}"), locked(path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    time.sleep(0.05)
    with locked(path):  # the lock of a dead process is free
        pass


def test_an_old_store_is_renamed_before_it_is_deleted(tmp_path, monkeypatch):
    """A process that is killed during a deletion leaves a part of the store, which still opens."""
    store, removed, rmtree = tmp_path / "x.zarr", [], shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **options: removed.append(path) or rmtree(path, **options)
    )
    for number in range(2):
        with write_store(store, {"n": number}) as unfinished:
            (unfinished.folder / f"{number}").write_text("complete")
    assert store not in removed
    assert [path.name for path in store.iterdir()] == ["1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zarr", "x.zarr.lock"]


def test_a_line_that_a_full_disk_broke_loses_only_its_blocks(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), write_store(tmp_path / "x.zarr", {"a": 1}) as unfinished:
        unfinished.record_finished("first")
        raise KeyboardInterrupt
    with (tmp_path / "x.zarr.journal").open("a") as journal:
        journal.write('["second", n["third", null]\n["fourth", null]\n')
    with write_store(tmp_path / "x.zarr", {"a": 1}) as unfinished:
        assert [
            key for key in ("first", "second", "third", "fourth") if unfinished.is_finished(key)
        ] == [
            "first",
            "fourth",
        ]
