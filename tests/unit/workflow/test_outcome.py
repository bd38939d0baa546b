"""After a failure only what is of this run counts as a result."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from tiling.store.arrays import create_group, set_attributes
from workflow.configuration import with_defaults
from workflow.outcome import COMPLETE, outcome, tables_after_failure
from workflow.sheet import Sheet, Slide

RUN_START = 1_000_000.0
SCORES = "slide,split,method,region,annotated_mm2,glands,gland_area_mm2,gland_area_um2_q25,gland_area_um2_q50,gland_area_um2_q75,dice\n"


def sheet(*slides: str) -> Sheet:
    return Sheet(tuple(Slide(slide, f"{slide}.svs", "test", f"{slide}.geojson", "regions", None, None, None, None) for slide in slides), ())


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Slides a and b with everything made in order, by Semi-MoE and by supervised-only."""
    for name in ("semimoe", "supervised"):
        made(tmp_path / "models" / name / "model.safetensors", 10)
    for slide in ("a", "b"):
        for at, kind in enumerate(("tiles", "labels", "maps", "glands"), start=11):
            made(tmp_path / kind / f"{slide}.zarr" / ".snakemake_timestamp", at)
        group = create_group(tmp_path / "tiles" / f"{slide}.zarr")
        set_attributes(group, {"status": "ok", "tissue_um2": 1e6})
        made(tmp_path / "glands" / f"{slide}.csv", 15, "id,area_um2\nx,100\n")
        made(tmp_path / "metrics" / f"{slide}.csv", 16, f"{SCORES}{slide},test,semimoe,pooled,1,1,0.1,1,1,1,0.9\n")
        beside = tmp_path / "compare" / "supervised"
        for at, kind in enumerate(("maps", "glands"), start=12):
            made(beside / kind / f"{slide}.zarr" / ".snakemake_timestamp", at)
        made(beside / "metrics" / f"{slide}.csv", 16, f"{SCORES}{slide},test,supervised,pooled,1,1,0.1,1,1,1,0.8\n")
    return tmp_path


def made(path: Path, at: float, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def failed(results: Path, step: str, subject: str, why: str, at: float = RUN_START) -> None:
    made(results / "logs" / step / f"{subject}.log", at, f"INFO reading\nERROR {why}\n")


def config(results: Path) -> dict[str, Any]:
    return with_defaults({"results": str(results)})


def table(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="") as handle:
        return [(row["slide"], row.get("method", ""), row["error"]) for row in csv.DictReader(handle)]


def test_what_is_complete_is_shown_whole(finished: Path) -> None:
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert found == COMPLETE


def test_one_broken_slide_costs_only_its_own_rows(finished: Path) -> None:
    failed(finished, "predict_slide", "b", "b.svs: cut off")
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert found.lost == found.unscored == {"b": "b.svs: cut off"}
    tables_after_failure(sheet("a", "b"), config(finished), found)
    assert table(finished / "metrics.csv") == [("a", "semimoe", ""), ("a", "supervised", ""), ("b", "semimoe", "b.svs: cut off")]
    assert table(finished / "cohort.csv") == [("a", "", ""), ("b", "", "b.svs: cut off")]
    assert (finished / "metrics.csv").stat().st_mtime == 0, "the next run must make it again"


def test_a_bad_annotation_costs_the_scores_and_not_the_outlines(finished: Path) -> None:
    failed(finished, "evaluate_slide", "b", "b.geojson: not JSON")
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert found.lost == {}
    assert found.unscored == {"b": "b.geojson: not JSON"}


@pytest.mark.parametrize("step", ["train_supervised", "pseudo_label", "train"])
def test_without_a_model_nothing_of_an_earlier_run_is_shown(finished: Path, step: str) -> None:
    failed(finished, step, "semimoe", "loss is not finite")
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert found.lost == {slide: "no model: loss is not finite" for slide in "ab"}
    tables_after_failure(sheet("a", "b"), config(finished), found)
    assert [row[1:] for row in table(finished / "metrics.csv")] == [("semimoe", "no model: loss is not finite")] * 2


@pytest.mark.parametrize("newer", ["tiles/b.zarr", "models/semimoe/model.safetensors", "maps/b.zarr", "glands/b.zarr"])
def test_what_is_older_than_its_source_is_not_a_result(finished: Path, newer: str) -> None:
    path = finished / newer
    made(path if path.suffix == ".safetensors" else path / ".snakemake_timestamp", 100)
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert found.lost["b"] == "not reached"


def test_new_outlines_without_new_scores_are_unscored(finished: Path) -> None:
    made(finished / "labels" / "b.zarr" / ".snakemake_timestamp", 100)
    found = outcome(sheet("a", "b"), config(finished), since=RUN_START)
    assert (found.lost, found.unscored) == ({}, {"b": "not reached"})


def test_scores_of_an_older_model_beside_are_left_out(finished: Path) -> None:
    made(finished / "models" / "supervised" / "model.safetensors", 100)
    tables_after_failure(sheet("a", "b"), config(finished), outcome(sheet("a", "b"), config(finished), since=RUN_START))
    assert {method for _, method, _ in table(finished / "metrics.csv")} == {"semimoe"}


def test_logs_of_other_runs_and_other_slides_are_no_failures_of_this_one(finished: Path) -> None:
    failed(finished, "predict_slide", "b", "long ago", at=RUN_START - 3600)
    failed(finished, "predict_slide", "gone", "not in the sheet")
    assert outcome(sheet("a", "b"), config(finished), since=RUN_START).failures == ()
