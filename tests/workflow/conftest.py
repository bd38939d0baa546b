"""The run that the workflow tests share."""

import pytest
from small_run import CONFIG, ROWS, Run

from tiling.synthetic import SyntheticSettings, make_slide


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of four slides."""
    folder = tmp_path_factory.mktemp("run")
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
    return run
