import shutil
from pathlib import Path

import numpy as np
import pytest
from flipped_bits import flip_a_bit

from tiling.stores.arrays import create_group
from tiling.stores.atomic_store import remove_store, write_store


def test_store_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with write_store(path, {"a": 1}) as unfinished:
        create_group(unfinished.folder)
        (unfinished.folder / "chunk").write_text("data")
        assert not path.exists()
    assert (path / "chunk").read_text() == "data"
    assert not (tmp_path / "x.zarr.partial").exists()
    assert not (tmp_path / "x.zarr.journal").exists()


def interrupted(path: Path, parameters: dict[str, int]) -> None:
    with pytest.raises(KeyboardInterrupt), write_store(path, parameters) as unfinished:
        create_group(unfinished.folder)
        (unfinished.folder / "b0").write_text("first")
        unfinished.record_finished("b0", {"tiles": 3})
        raise KeyboardInterrupt


def test_finished_blocks_of_an_interrupted_store_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    assert not path.exists()
    with write_store(path, {"a": 1}) as unfinished:
        create_group(unfinished.folder)
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
        create_group(unfinished.folder)


@pytest.mark.parametrize("first_line", ["5", "{}", "null", '["a"]', "[", "\x00"])
def test_an_unfinished_store_whose_journal_begins_with_something_else_is_deleted(
    tmp_path: Path, first_line: str
) -> None:
    path = tmp_path / "a.zarr"
    (tmp_path / "a.zarr.partial").mkdir()
    (tmp_path / "a.zarr.partial" / "old").touch()
    (tmp_path / "a.zarr.journal").write_text(first_line + "\n")
    with write_store(path, {"a": 1}) as store:
        assert not (store.folder / "old").exists()
        create_group(store.folder)
    assert path.is_dir()


def test_an_incomplete_last_line_of_the_journal_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    interrupted(path, {"a": 1})
    with (tmp_path / "x.zarr.journal").open("a") as journal:
        journal.write('["b1", nul')
    with write_store(path, {"a": 1}) as unfinished:
        create_group(unfinished.folder)
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
        create_group(unfinished.folder)
        unfinished.record_finished("b2")
        raise KeyboardInterrupt
    with write_store(path, {"a": 1}) as unfinished:
        create_group(unfinished.folder)
        assert unfinished.is_finished("b0")
        assert unfinished.is_finished("b2")


def test_temporary_files_of_a_killed_writer_are_deleted(tmp_path: Path) -> None:
    with write_store(tmp_path / "x.zarr", {}) as unfinished:
        create_group(unfinished.folder)
        (unfinished.folder / "c.123.partial").write_text("half")
    assert [path.name for path in (tmp_path / "x.zarr").iterdir()] == ["zarr.json"]


def test_an_old_store_is_renamed_before_it_is_deleted(tmp_path, monkeypatch):
    """A process that is killed during a deletion leaves a part of the store, which still opens."""
    store, removed, rmtree = tmp_path / "x.zarr", [], shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **options: removed.append(path) or rmtree(path, **options)
    )
    for number in range(2):
        with write_store(store, {"n": number}) as unfinished:
            create_group(unfinished.folder)
            (unfinished.folder / f"{number}").write_text("complete")
    assert store not in removed
    assert sorted(path.name for path in store.iterdir()) == ["1", "zarr.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zarr", "x.zarr.lock"]


@pytest.mark.parametrize("is_removed_first", [False, True])
def test_a_link_to_a_store_is_replaced_again_and_again_and_its_data_stay(
    tmp_path: Path, is_removed_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store, data = tmp_path / "x.zarr", tmp_path / "disk" / "x.zarr"
    data.mkdir(parents=True)
    (data / "chunk").write_text("data")
    for number in range(2):
        store.symlink_to(data)
        if is_removed_first:
            remove_store(store)
            assert not [path for path in tmp_path.iterdir() if path.is_symlink()]
        with write_store(store, {"n": number}) as unfinished:
            create_group(unfinished.folder)
        assert not store.is_symlink()
        assert {path.name for path in tmp_path.iterdir()} == {"disk", "x.zarr", "x.zarr.lock"}
        assert (data / "chunk").read_text() == "data"
        assert f"{store}: the link is removed; {data} stays" in caplog.text
        caplog.clear()
        remove_store(store)


def test_what_an_older_version_left_of_a_link_is_removed(tmp_path: Path) -> None:
    (tmp_path / "x.zarr.replaced").symlink_to(tmp_path / "disk")
    for number in range(2):
        with write_store(tmp_path / "x.zarr", {"n": number}) as unfinished:
            create_group(unfinished.folder)
    assert {path.name for path in tmp_path.iterdir()} == {"x.zarr", "x.zarr.lock"}


def test_a_line_that_a_full_disk_broke_loses_only_its_blocks(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), write_store(tmp_path / "x.zarr", {"a": 1}) as unfinished:
        unfinished.record_finished("first")
        with (tmp_path / "x.zarr.journal").open("a") as journal:
            journal.write('["second", n')
        unfinished.record_finished("third")
        unfinished.record_finished("fourth")
        raise KeyboardInterrupt
    with write_store(tmp_path / "x.zarr", {"a": 1}) as unfinished:
        create_group(unfinished.folder)
        names = ("first", "second", "third", "fourth")
        assert [name for name in names if unfinished.is_finished(name)] == ["first", "fourth"]


def test_a_block_is_written_again_if_a_file_of_it_was_lost_or_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with pytest.raises(KeyboardInterrupt), write_store(path, {}) as unfinished:
        for name in ("kept", "lost", "cut"):
            (unfinished.folder / name).write_text("data")
            unfinished.record_finished(name, files=[unfinished.folder / name])
        unfinished.record_finished("empty", files=[unfinished.folder / "never written"])
        raise KeyboardInterrupt
    (tmp_path / "x.zarr.partial" / "lost").unlink()
    (tmp_path / "x.zarr.partial" / "cut").write_text("da")
    with write_store(path, {}) as unfinished:
        create_group(unfinished.folder)
        assert [unfinished.is_finished(name) for name in ("kept", "lost", "cut", "empty")] == [
            True,
            False,
            False,
            True,
        ]


@pytest.mark.parametrize("seed", range(20))
def test_a_bit_that_flips_in_the_journal_makes_no_block_finished(tmp_path: Path, seed: int) -> None:
    blocks = {f"{row}/{column}" for row in range(3) for column in range(3)}
    with pytest.raises(KeyboardInterrupt), write_store(tmp_path / "x.zarr", {}) as unfinished:
        for block in sorted(blocks):
            unfinished.record_finished(block)
        raise KeyboardInterrupt
    flip_a_bit(tmp_path / "x.zarr.journal", np.random.default_rng(seed))
    with write_store(tmp_path / "x.zarr", {}) as unfinished:
        create_group(unfinished.folder)
        finished = {f"{row}/{column}" for row in range(9) for column in range(9)}
        finished = {block for block in finished if unfinished.is_finished(block)}
        assert finished <= blocks
        assert len(finished) in (0, len(blocks) - 2, len(blocks) - 1)
