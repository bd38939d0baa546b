"""What Snakemake plans from job records, on the tiles and labels of one small slide."""

import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from file_checksums import checksums
from small_run import REPO, Run, environment

from tiling.synthetic import SyntheticSettings, make_slide
from workflow.result_paths import ResultPaths
from workflow.results_lock import results_lock

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("records")]
LABELS = "labels/a.zarr.json"
OLD_S = 1_500_000_000.0
# Files that are added to a store, so that its removal takes long enough to be killed.
_ADDED_FILES = 4000
_KILLS = int(os.environ.get("STORE_REMOVAL_KILLS", "2"))


@dataclass(frozen=True)
class SmallRun(Run):
    """A working directory whose results may be in another one."""

    results: Path

    def labels(self, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Make the labels of the slide."""
        return self.snakemake(*self._arguments(*more), check=check)

    def plan(self, *more: str) -> set[str]:
        return self.planned(*self._arguments(*more))

    def _arguments(self, *more: str) -> list[str]:
        results = os.path.relpath(self.results, self.folder)
        return ["--config", f"results={results}", *more, "--", f"{results}/{LABELS}"]

    def killed_in_the_removal_of_a_store(self, pause_s: float) -> None:
        """Start a run, and kill all its processes while it removes the old label store."""
        added = self.results / "labels" / "a.zarr" / "added"
        added.mkdir()
        for number in range(_ADDED_FILES):
            (added / str(number)).touch()
        moved = added.parent.with_name("a.zarr.replaced") / "added"
        process = subprocess.Popen(
            # A killed process leaves Snakemake's own lock.
            self.arguments("--nolock", *self._arguments()),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment(), start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and max(map(file_count, (added, moved))) == _ADDED_FILES:
            time.sleep(0.001)
        assert process.poll() is None, "the run ended before the store was removed"
        time.sleep(pause_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def file_count(folder: Path) -> int:
    try:
        return len(os.listdir(folder))
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    folder = tmp_path_factory.mktemp("records")
    settings = SyntheticSettings(slide="a", seed=3, width_px=1000, height_px=1000, regions=None)
    make_slide(
        settings, folder / "a.tiff", annotation=folder / "a.geojson", truth=folder / "t.tiff"
    )
    configure(folder, folder)
    run = SmallRun(folder, folder / "results")
    run.write_sheet("slides.tsv", "a\ta.tiff\ttest\ta.geojson\twhole")
    run.labels()
    return run


def configure(folder: Path, sheet_folder: Path) -> None:
    (folder / "small.yaml").write_text(
        f"slides: {sheet_folder / 'slides.tsv'}\nmodel: {REPO / 'models' / 'glas'}\n"
    )


def elsewhere(small: SmallRun, folder: Path) -> SmallRun:
    """The same results from another working directory, which has no `.snakemake`."""
    configure(folder, Path(os.path.relpath(small.folder, folder)))
    return SmallRun(folder, small.results)


def replace_by_older(path: Path, content: str) -> None:
    path.write_text(content)
    os.utime(path, (OLD_S, OLD_S))


def test_another_working_directory_plans_the_same(small: SmallRun, tmp_path: Path) -> None:
    other = elsewhere(small, tmp_path)
    stores = [small.results / kind / "a.zarr" for kind in ("tiles", "labels")]
    before = [checksums(store) for store in stores]
    assert other.plan() == set()
    changed = ("tiles={min_tissue: 0.1}",)
    assert other.plan(*changed) == {"tile_slide", "label_slide"}
    other.labels(*changed)
    assert small.plan(*changed) == set()
    done = other.labels()
    assert "Again: tile_slide a: tiles.min_tissue: 0.1 -> 0.05" in done.stderr
    assert [checksums(store) for store in stores] == before, "bytes do not depend on the directory"


def test_without_the_memory_of_snakemake_the_plan_is_the_same(small: SmallRun) -> None:
    memory = (small.folder / ".snakemake").rename(small.folder / "memory")
    try:
        assert small.plan() == set()
        assert small.plan("tiles={min_tissue: 0.1}") == {"tile_slide", "label_slide"}
    finally:
        shutil.rmtree(small.folder / ".snakemake", ignore_errors=True)
        memory.rename(small.folder / ".snakemake")


def test_an_older_file_of_other_content_is_noticed(small: SmallRun) -> None:
    annotation, slide = small.folder / "a.geojson", small.folder / "a.tiff"
    contents = annotation.read_text(), slide.read_bytes()
    replace_by_older(annotation, contents[0].replace('"Gland"', '"Ignore*"', 1))
    assert small.plan() == {"label_slide"}
    annotation.write_text(contents[0])
    assert small.plan() == set(), "the same content at another time"
    changed = bytearray(contents[1])
    changed[-1] ^= 1
    slide.write_bytes(changed)
    os.utime(slide, (OLD_S, OLD_S))
    assert small.plan() == {"tile_slide", "label_slide"}
    slide.write_bytes(contents[1])


def test_a_second_run_on_the_same_results_is_refused_by_name(
    small: SmallRun, tmp_path: Path
) -> None:
    other = elsewhere(small, tmp_path)
    with results_lock(ResultPaths(small.results)):
        done = other.labels(check=False)
        assert done.returncode == 1
        assert f"pid {os.getpid()}, job -, working directory {Path.cwd()}" in done.stderr
        assert "Traceback" not in done.stderr
        assert other.plan() == set(), "a dry run writes nothing and needs no lock"


def test_a_store_that_is_not_the_recorded_one_is_made_again(small: SmallRun) -> None:
    store = small.results / "labels" / "a.zarr"
    expected = checksums(store)
    (store / "zarr.json").unlink()
    assert small.plan() == {"label_slide"}
    small.labels()
    assert checksums(store) == expected


def test_a_run_killed_while_it_removes_a_store_is_repeated_correctly(small: SmallRun) -> None:
    """The annotation is replaced by an older file; the run that removes the old labels is killed.

    `STORE_REMOVAL_KILLS=24` kills more often.
    """
    annotation, store = small.folder / "a.geojson", small.results / "labels" / "a.zarr"
    first = annotation.read_text()
    contents = [first, first.replace('"Gland"', '"Ignore*"', 1)]
    expected = []
    for content in contents[::-1]:
        replace_by_older(annotation, content)
        small.labels()
        expected.insert(0, checksums(store))
    assert expected[0] != expected[1]
    pauses = random.Random(0)
    for number in range(1, _KILLS + 1):
        replace_by_older(annotation, contents[number % 2])
        small.killed_in_the_removal_of_a_store(pauses.uniform(0, 0.05))
        small.labels()
        assert checksums(store) == expected[number % 2], number
    replace_by_older(annotation, contents[0])
    small.labels()
