"""After a failure only what is of this run counts as a result."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from workflow.config.configuration import with_defaults
from workflow.reporting.outcome import COMPLETE, Job, outcome, tables_after_failure
from workflow.reporting.report import report_after_failure
from workflow.sheet import Sheet, Slide

RUN_START = 1_000_000.0
SCORES = "slide,split,method,region,annotated_mm2,glands,gland_area_mm2,gland_area_um2_q25,gland_area_um2_q50,gland_area_um2_q75,dice\n"


def sheet(*slides: str) -> Sheet:
    return Sheet(
        tuple(
            Slide(
                slide, f"{slide}.svs", "test", f"{slide}.geojson", "regions", None, None, None, None
            )
            for slide in slides
        ),
        (),
    )


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slides a and b with everything of an earlier run, by Semi-MoE and by supervised-only."""
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    for slide in ("a", "b"):
        made(results / "previews" / f"{slide}.json", '{"tissue_mm2": 1.0}')
        made(results / "glands" / f"{slide}.csv", "id,area_um2\nx,100\n")
        made(
            results / "metrics" / f"{slide}.csv",
            f"{SCORES}{slide},test,semimoe,pooled,1,1,0.1,1,1,1,0.9\n",
        )
        beside = results / "compare" / "supervised" / "metrics"
        made(beside / f"{slide}.csv", f"{SCORES}{slide},test,supervised,pooled,1,1,0.1,1,1,1,0.8\n")
    return results


def made(path: Path, text: str, at: float = 10.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def chain(slide: str, first: str, *also: str) -> list[Job]:
    """The jobs of a slide from a step on, as Snakemake names their files; `also`: inputs of the first."""
    steps = {
        "tile_slide": "tiles/{}.zarr",
        "predict_slide": "maps/{}.zarr",
        "export_slide": "glands/{}.csv",
        "evaluate_slide": "metrics/{}.csv",
    }
    jobs, before = [], frozenset(also)
    for step in list(steps)[list(steps).index(first) :]:
        output = frozenset({f"results/{steps[step].format(slide)}"})
        jobs.append(Job(step, slide, Path(f"results/logs/{step}/{slide}.log"), before, output))
        before = output
    return jobs


def said(job: Job, text: str, at: float = RUN_START) -> None:
    made(job.log, text, at)


def config(**more: object) -> dict[str, Any]:
    return with_defaults({"results": "results", **more})


def table(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="") as handle:
        return [
            (row["slide"], row.get("method", ""), row["error"]) for row in csv.DictReader(handle)
        ]


def test_what_is_complete_is_shown_whole(finished: Path) -> None:
    assert outcome(sheet("a", "b"), config(), [], since=RUN_START) == COMPLETE


def test_one_broken_slide_costs_only_its_own_rows(finished: Path) -> None:
    jobs = chain("b", "predict_slide")
    said(jobs[0], "INFO reading\nERROR b.svs: cut off\n")
    found = outcome(sheet("a", "b"), config(), jobs, since=RUN_START)
    assert found.lost == found.unscored == {"b": "b.svs: cut off"}
    tables_after_failure(sheet("a", "b"), config(), found)
    assert table(finished / "metrics.csv") == [
        ("a", "semimoe", ""),
        ("a", "supervised", ""),
        ("b", "supervised", ""),
        ("b", "semimoe", "b.svs: cut off"),
    ]
    assert table(finished / "cohort.csv") == [("a", "", ""), ("b", "", "b.svs: cut off")]


def test_a_bad_annotation_costs_the_scores_and_not_the_outlines(finished: Path) -> None:
    jobs = chain("b", "evaluate_slide")
    said(jobs[0], "ERROR b.geojson: not JSON\n")
    found = outcome(sheet("a", "b"), config(), jobs, since=RUN_START)
    assert (found.lost, found.unscored) == ({}, {"b": "b.geojson: not JSON"})


@pytest.mark.parametrize(
    ("step", "subject"),
    [("label_slide", "lab"), ("tile_slide", "lab"), ("pseudo_label", "unl"), ("train", "semimoe")],
)
def test_without_a_model_nothing_of_an_earlier_run_is_shown(
    finished: Path, step: str, subject: str
) -> None:
    """Whatever kept the model from being made: the files of the earlier run still lie there."""
    broken = Job(
        step, subject, Path(f"results/logs/{step}/{subject}.log"), outputs=frozenset({"results/x"})
    )
    train = Job(
        "train",
        "semimoe",
        Path("results/logs/train/s.log"),
        frozenset({"results/x"}),
        frozenset({"results/models/semimoe/model.safetensors"}),
    )
    said(broken, "ERROR loss is not finite\n")
    jobs = [
        broken,
        train,
        *(job for slide in "ab" for job in chain(slide, "predict_slide", *train.outputs)),
    ]
    found = outcome(sheet("a", "b"), config(), jobs, since=RUN_START)
    assert found.lost == {slide: f"{step}/{subject}: loss is not finite" for slide in "ab"}
    tables_after_failure(sheet("a", "b"), config(), found)
    assert {
        error for _, method, error in table(finished / "metrics.csv") if method == "semimoe"
    } == {f"{step}/{subject}: loss is not finite"}


def test_what_an_interrupted_run_did_not_reach_is_not_a_result(finished: Path) -> None:
    found = outcome(sheet("a", "b"), config(), chain("b", "export_slide"), since=RUN_START)
    assert (found.failures, found.lost) == ((), {"b": "not reached"})


def test_scores_beside_that_were_not_made_again_are_left_out(finished: Path) -> None:
    stale = Job(
        "evaluate_slide_compared",
        "b",
        Path("none"),
        outputs=frozenset({"results/compare/supervised/metrics/b.csv"}),
    )
    tables_after_failure(
        sheet("a", "b"), config(), outcome(sheet("a", "b"), config(), [stale], since=RUN_START)
    )
    assert ("b", "supervised", "") not in table(finished / "metrics.csv")


def test_a_job_that_was_killed_is_named_although_it_could_not_say_why(finished: Path) -> None:
    jobs = chain("b", "predict_slide")
    said(jobs[0], "INFO reading\n")
    found = outcome(sheet("a", "b"), config(), jobs, since=RUN_START)
    assert "stopped without a message" in found.lost["b"]
    assert str(jobs[0].log) in found.lost["b"]


def test_logs_of_other_runs_are_no_failures_of_this_one(finished: Path) -> None:
    jobs = chain("b", "predict_slide")
    said(jobs[0], "ERROR long ago\n", at=RUN_START - 3600)
    assert outcome(sheet("a", "b"), config(), jobs, since=RUN_START).failures == ()


def test_the_cause_is_told_even_where_no_report_can_be_made(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workflow.stages.scores.write_atomic", full)
    jobs = [*chain("b", "predict_slide"), Job("report", "all", Path("none"))]
    said(jobs[0], "ERROR b.svs: cut off\n")
    told = report_after_failure(sheet("a", "b"), config(), tuple(jobs), since=RUN_START)
    assert f"FAILED predict_slide/b: b.svs: cut off (log: {jobs[0].log})" in told
    assert "No space left" in told


def test_a_run_that_was_to_make_something_else_leaves_tables_and_report_alone(
    finished: Path,
) -> None:
    jobs = chain("b", "predict_slide")
    said(jobs[0], "ERROR b.svs: cut off\n")
    told = report_after_failure(sheet("a", "b"), config(), tuple(jobs), since=RUN_START)
    assert "cut off" in told
    assert not (finished / "report.html").exists()
