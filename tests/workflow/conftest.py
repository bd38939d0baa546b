"""The run that the workflow tests share."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from small_run import CONFIG, ROWS, Run

from tiling.synthetic import SyntheticSettings, make_slide


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of four slides: one process makes it, every process has its own copy."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    finished = shared / "finished_run"
    with FileLock(shared / "finished_run.lock"):
        if not finished.exists():
            partial = shared / "partial_run"
            make_run(partial)
            partial.rename(finished)
    return Run(shutil.copytree(finished, tmp_path_factory.mktemp("run") / "copy"))


def make_run(folder: Path) -> None:
    folder.mkdir()
    for seed, (name, regions) in enumerate({"lab": 2, "unl": None, "val": 1, "test": None}.items()):
        settings = SyntheticSettings(
            slide=name,
            seed=seed,
            width_px=4400,
            height_px=3400,
            regions=regions,
            pen=name == "test",
        )
        make_slide(
            settings,
            folder / f"{name}.tiff",
            annotation=folder / f"{name}.geojson",
            truth=folder / f"{name}.truth.tiff",
        )
    (folder / "small.yaml").write_text(CONFIG)
    run = Run(folder)
    run.write_sheet("slides.tsv", *ROWS)
    run.snakemake()
