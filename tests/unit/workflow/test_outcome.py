"""After a failure only files of the same run count as results."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from tiling.pictures.slide_summary import SlideSummary
from workflow.config.checks import read_configuration
from workflow.config.configuration import Configuration
from workflow.reporting.end_of_run import report_after_failure, tables_after_failure
from workflow.reporting.outcome import COMPLETE, PlannedJob, RunOutcome, run_outcome
from workflow.result_paths import ResultPaths
from workflow.sheet import Sheet, SheetRow

STARTED_S = 1_000_000.0
METRICS_HEADER = (
    "slide,split,method,region,annotated_mm2,glands,gland_area_mm2,"
    "gland_area_um2_q25,gland_area_um2_q50,gland_area_um2_q75,dice\n"
)


def sheet(*slides: str) -> Sheet:
    return Sheet(
        tuple(SheetRow(slide, f"{slide}.svs", "test", f"{slide}.geojson") for slide in slides)
    )


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultPaths:
    """Slides a and b with all files of an earlier run, by Semi-MoE and by supervised-only."""
    monkeypatch.chdir(tmp_path)
    paths = ResultPaths(Path("results"))
    for slide in ("a", "b"):
        write(
            paths.slide_summary(slide),
            json.dumps(SlideSummary(slide, None, tissue_mm2=1.0)._asdict()),
        )
        write(paths.gland_table(slide), "id,area_um2\nx,100\n")
        row = f"{slide},test,semimoe,pooled,1,1,0.1,1,1,1,0.9\n"
        write(paths.metrics(slide), METRICS_HEADER + row)
        row = f"{slide},test,supervised,pooled,1,1,0.1,1,1,1,0.8\n"
        write(paths.compared("supervised").metrics(slide), METRICS_HEADER + row)
    return paths


def write(path: Path, text: str, time_s: float = 10.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time_s, time_s))


def write_log(job: PlannedJob, text: str, time_s: float = STARTED_S) -> None:
    write(job.log, text, time_s)


def jobs_from(first: str, slide: str, *inputs: str) -> list[PlannedJob]:
    """The jobs of a slide from a rule on, as Snakemake names their files.

    `inputs` are those of the first job.
    """
    outputs = {
        "tile_slide": "tiles/{}.zarr",
        "predict_slide": "maps/{}.zarr",
        "export_slide": "glands/{}.csv",
        "evaluate_slide": "metrics/{}.csv",
    }
    rules = list(outputs)
    jobs, files = [], frozenset(inputs)
    for rule in rules[rules.index(first) :]:
        output = frozenset({f"results/{outputs[rule].format(slide)}"})
        jobs.append(
            PlannedJob(rule, slide, Path(f"results/logs/{rule}/{slide}.log"), files, output)
        )
        files = output
    return jobs


def config(**values: object) -> Configuration:
    return read_configuration({"results": "results", **values})


def outcome_of(paths: ResultPaths, jobs: list[PlannedJob]) -> RunOutcome:
    return run_outcome(sheet("a", "b"), paths, jobs, started_s=STARTED_S)


def rows_of(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="") as file:
        return [(row["slide"], row.get("method", ""), row["error"]) for row in csv.DictReader(file)]


def test_a_run_without_unfinished_jobs_is_complete(paths: ResultPaths) -> None:
    assert outcome_of(paths, []) == COMPLETE


def test_one_broken_slide_loses_only_its_own_rows(paths: ResultPaths) -> None:
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], "INFO reading\nERROR b.svs: truncated\n")
    outcome = outcome_of(paths, jobs)
    assert outcome.without_outlines == outcome.without_scores == {"b": "b.svs: truncated"}
    tables_after_failure(sheet("a", "b"), config(), outcome)
    assert rows_of(paths.metrics_table) == [
        ("a", "semimoe", ""),
        ("a", "supervised", ""),
        ("b", "supervised", ""),
        ("b", "semimoe", "b.svs: truncated"),
    ]
    assert rows_of(paths.cohort_table) == [("a", "", ""), ("b", "", "b.svs: truncated")]


def test_after_a_bad_annotation_scores_are_missing_but_outlines_are_not(paths: ResultPaths) -> None:
    jobs = jobs_from("evaluate_slide", "b")
    write_log(jobs[0], "ERROR b.geojson: not JSON\n")
    outcome = outcome_of(paths, jobs)
    assert outcome.without_outlines == {}
    assert outcome.without_scores == {"b": "b.geojson: not JSON"}


@pytest.mark.parametrize(
    ("rule", "subject"),
    [("label_slide", "lab"), ("tile_slide", "lab"), ("pseudo_label", "unl"), ("train", "semimoe")],
)
def test_without_a_model_no_result_of_an_earlier_run_is_shown(
    paths: ResultPaths, rule: str, subject: str
) -> None:
    """Whichever job before the model failed; the files of the earlier run still exist."""
    log = Path(f"results/logs/{rule}/{subject}.log")
    broken = PlannedJob(rule, subject, log, outputs=frozenset({"results/x"}))
    model = frozenset({"results/models/semimoe/model.safetensors"})
    log = Path("results/logs/train/s.log")
    train = PlannedJob("train", "semimoe", log, frozenset({"results/x"}), model)
    write_log(broken, "ERROR loss is not finite\n")
    jobs = [broken, train]
    for slide in "ab":
        jobs += jobs_from("predict_slide", slide, *model)
    reason = f"{rule}/{subject}: loss is not finite"
    outcome = outcome_of(paths, jobs)
    assert outcome.without_outlines == {"a": reason, "b": reason}
    tables_after_failure(sheet("a", "b"), config(), outcome)
    rows = rows_of(paths.metrics_table)
    assert {error for _, method, error in rows if method == "semimoe"} == {reason}


def test_slides_that_an_interrupted_run_did_not_reach_have_no_results(paths: ResultPaths) -> None:
    outcome = outcome_of(paths, jobs_from("export_slide", "b"))
    assert outcome.failures == ()
    assert outcome.without_outlines == {"b": "the run ended before this result was made"}


def test_outdated_scores_of_a_compared_method_are_left_out(paths: ResultPaths) -> None:
    path = paths.compared("supervised").metrics("b")
    job = PlannedJob("evaluate_slide_compared", "b", Path("none"), outputs=frozenset({str(path)}))
    tables_after_failure(sheet("a", "b"), config(), outcome_of(paths, [job]))
    assert ("b", "supervised", "") not in rows_of(paths.metrics_table)


def test_a_killed_job_is_named_although_its_log_has_no_error(paths: ResultPaths) -> None:
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], "INFO reading\n")
    outcome = outcome_of(paths, jobs)
    assert "ended without a message" in outcome.without_outlines["b"]
    assert str(jobs[0].log) in outcome.without_outlines["b"]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("ERROR b.svs: truncated\nslurmstepd: note\n", "b.svs: truncated"),
        (
            "Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA out of memory\n"
            "terminating\n",
            "torch.OutOfMemoryError: CUDA out of memory",
        ),
        (
            'INFO reading\nFatal Python error: Aborted\n\n  File "x.py", line 3\n',
            "Fatal Python error: Aborted",
        ),
        (
            "tiles: 3/9\rtiles: 4/9\nslurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***",
            "slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***",
        ),
        (
            "WARNING out of memory: continuing with 4 tiles at a time\n",
            "the job ended without a message",
        ),
    ],
)
def test_the_cause_above_the_last_lines_of_a_log_is_the_reason(
    paths: ResultPaths, log: str, reason: str
) -> None:
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], log)
    assert outcome_of(paths, jobs).without_outlines["b"].startswith(reason)


def test_a_job_whose_log_could_not_be_written_was_not_killed(
    paths: ResultPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a log can be created, but stays empty."""
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], "")
    usage = shutil.disk_usage(".")._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    reason = outcome_of(paths, jobs).without_outlines["b"]
    assert reason.startswith("the disk is full: ")
    assert reason.endswith("could not be written; free space and run again")


def test_logs_of_other_runs_are_no_failures_of_this_run(paths: ResultPaths) -> None:
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], "ERROR long ago\n", time_s=STARTED_S - 3600)
    assert outcome_of(paths, jobs).failures == ()


def test_failures_are_printed_even_if_no_report_can_be_written(
    paths: ResultPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workflow.stages.summarise.write_atomic", full_disk)
    jobs = [*jobs_from("predict_slide", "b"), PlannedJob("report", "all", Path("none"))]
    write_log(jobs[0], "ERROR b.svs: truncated\n")
    text = report_after_failure(sheet("a", "b"), config(), jobs, started_s=STARTED_S)
    assert f"FAILED predict_slide/b: b.svs: truncated (log: {jobs[0].log})" in text
    assert "No space left" in text


def test_a_run_that_does_not_make_the_report_leaves_tables_and_report_alone(
    paths: ResultPaths,
) -> None:
    jobs = jobs_from("predict_slide", "b")
    write_log(jobs[0], "ERROR b.svs: truncated\n")
    text = report_after_failure(sheet("a", "b"), config(), jobs, started_s=STARTED_S)
    assert "truncated" in text
    assert not paths.report.exists()
