import json
from pathlib import Path

import pytest

from tiling.pictures.slide_summary import SlideSummary
from tiling.raster.atomic_files import write_atomic
from workflow.config.checks import read_configuration
from workflow.config.configuration import Configuration
from workflow.reporting.end_of_run import preview_text, report_after_failure, run_text
from workflow.reporting.outcome import PlannedJob
from workflow.result_paths import ResultPaths
from workflow.sheet import Sheet, SheetRow


def config(results: Path, **values: object) -> Configuration:
    return read_configuration({"results": str(results), **values})


def sheet(*slides: str) -> Sheet:
    return Sheet(tuple(SheetRow(slide, f"{slide}.svs", "predict") for slide in slides))


def unfinished_jobs(paths: ResultPaths) -> tuple[PlannedJob, ...]:
    """The prediction of slide bad failed, so that the report could not be made."""
    log = paths.log("predict_slide", "bad")
    log.parent.mkdir(parents=True)
    log.write_text("INFO reading\nERROR bad.svs: truncated\n")
    outputs = frozenset({str(paths.gland_table("bad"))})
    return (
        PlannedJob("predict_slide", "bad", log, outputs=outputs),
        PlannedJob("report", "all", Path("none")),
    )


def write_summary(paths: ResultPaths, slide: str, error: str | None) -> None:
    path = paths.slide_summary(slide)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(SlideSummary(slide, error)._asdict()))


def test_a_failed_run_has_a_report_that_names_slide_and_reason(tmp_path: Path) -> None:
    paths = ResultPaths(tmp_path / "r")
    jobs = unfinished_jobs(paths)
    text = report_after_failure(sheet("good", "bad"), config(paths.folder), jobs, started_s=0)
    assert "FAILED predict_slide/bad" in text
    page = paths.report.read_text()
    assert "predict_slide/bad" in page
    assert "the run ended before this result was made" in page


def test_after_a_failed_run_tables_and_report_have_no_record(tmp_path: Path) -> None:
    """So the next run writes them again, also with the settings of an earlier finished run."""
    paths = ResultPaths(tmp_path / "r")
    jobs = unfinished_jobs(paths)
    for rule in ("summarise", "report", "preview"):
        write_atomic(paths.record(rule), "{}")
    report_after_failure(sheet("bad"), config(paths.folder), jobs, started_s=0)
    assert list((paths.folder / "records").rglob("*.json")) == []
    assert paths.report.is_file()
    assert "FAILED predict_slide/bad: bad.svs" in paths.last_failure.read_text()


def test_a_failed_tiling_costs_the_preview_of_no_other_slide(tmp_path: Path) -> None:
    paths = ResultPaths(tmp_path / "r")
    log = paths.log("tile_slide", "bad")
    write_atomic(log, "ERROR bad.svs: opening it does not end within the time limit\n")
    write_summary(paths, "good", None)
    write_summary(paths, "bad", None)  # of an earlier run
    for path in (paths.preview_page, paths.preview_picture, paths.record("preview")):
        write_atomic(path, "of an earlier run")
    tiles, summary = (frozenset({str(path("bad"))}) for path in (paths.tiles, paths.slide_summary))
    jobs = (
        PlannedJob("tile_slide", "bad", log, outputs=tiles),
        PlannedJob("preview_slide", "bad", Path("none"), tiles, summary),
        PlannedJob("preview", "all", Path("none"), summary),
    )
    text = report_after_failure(sheet("good", "bad"), config(paths.folder), jobs, started_s=0)
    assert f"The preview, which names slides that failed: {paths.preview_page}" in text
    page = paths.preview_page.read_text()
    assert "<td>good</td>" in page
    assert "bad.svs: opening it does not end within the time limit" in page
    assert "The run ended before the time of the prediction was measured" in page
    assert paths.preview_picture.read_bytes().startswith(b"\x89PNG")
    assert not paths.record("preview").exists()
    assert not paths.report.exists()


def test_a_preview_that_cannot_be_written_leaves_none_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    paths = ResultPaths(tmp_path)
    write_atomic(paths.preview_page, "of an earlier run")
    monkeypatch.setattr("tiling.pictures.contact_sheet.write_atomic", full_disk)
    jobs = (PlannedJob("preview", "all", Path("none")),)
    text = report_after_failure(sheet("a"), config(tmp_path), jobs, started_s=0)
    assert "Not all pages could be written: OSError: [Errno 28]" in text
    assert not paths.preview_page.exists()


def test_a_preview_that_cannot_be_written_costs_neither_tables_nor_report(tmp_path: Path) -> None:
    paths = ResultPaths(tmp_path / "r")
    (paths.preview_page / "kept").mkdir(parents=True)  # a folder cannot be replaced by a file
    log = paths.log("train")
    write_atomic(log, "ERROR no memory\n")
    write_summary(paths, "a", None)
    jobs = (
        PlannedJob("train", "all", log),
        PlannedJob("preview", "all", Path("none")),
        PlannedJob("report", "all", Path("none")),
    )
    text = report_after_failure(sheet("a"), config(paths.folder), jobs, started_s=0)
    assert "Not all pages could be written: IsADirectoryError" in text
    assert "FAILED train/all: no memory" in text
    assert paths.report.is_file()
    assert paths.cohort_table.is_file()
    (paths.preview_page / "kept").rmdir()
    paths.preview_page.rmdir()
    text = report_after_failure(sheet("a"), config(paths.folder), jobs, started_s=0)
    assert f"The preview: {paths.preview_page}" in text  # no slide failed


def test_a_preview_lists_failed_slides_last_and_is_made_again(tmp_path: Path) -> None:
    paths = ResultPaths(tmp_path)
    write_summary(paths, "good", None)
    paths.preview_page.touch()
    write_atomic(paths.record("preview"), "{}")
    text, all_usable = preview_text(sheet("good"), config(tmp_path))
    assert all_usable
    assert str(paths.preview_page) in text
    assert not paths.last_failure.exists()
    assert paths.record("preview").exists()

    write_summary(paths, "bad", "bad.svs: the file is truncated; copy it again")
    text, all_usable = preview_text(sheet("good", "bad"), config(tmp_path))
    assert not all_usable
    assert "1 of 2 slides cannot be used" in text
    assert text.splitlines()[-1] == "bad: bad.svs: the file is truncated; copy it again"
    assert not paths.record("preview").exists()


@pytest.mark.parametrize(
    ("split", "unusable", "all_usable"),
    [
        ("labelled", "stop", False),
        ("test", "stop", False),
        ("labelled", "leave_out", True),
        ("unlabelled", "stop", True),
    ],
)
def test_a_preview_lists_annotations_that_cannot_be_used(
    tmp_path: Path, split: str, unusable: str, all_usable: bool
) -> None:
    path = ResultPaths(tmp_path).slide_summary("a")
    path.parent.mkdir(parents=True)
    annotation = {"file": "a.geojson", "error": "no tissue under the glands of region 1"}
    values = SlideSummary("a", None)._asdict()
    path.write_text(json.dumps({**values, "annotation": annotation}))
    settings = config(tmp_path, annotations={"unusable": unusable})
    text, usable = preview_text(Sheet((SheetRow("a", "a.svs", split),)), settings)
    assert usable == all_usable
    assert "a: a.geojson: no tissue under the glands of region 1" in text
    assert ("1 annotation cannot be used" in text) == (not all_usable)


def test_the_last_lines_name_outlines_and_scores(tmp_path: Path) -> None:
    paths = ResultPaths(tmp_path)
    outlines = paths.outlines("a", compressed=False)
    outlines.parent.mkdir()
    outlines.write_text("{}")
    paths.outlines("gone", compressed=False).write_text("{}")
    paths.metrics_table.write_text(
        "slide,split,method,region,dice,jaccard,object_f1,object_dice,object_hausdorff_um,"
        "tp,fp,fn\n"
        "a,test,supervised,pooled,0.8,0.7,0.6,0.5,,1,2,3\n"
        "a,test,semimoe,pooled,0.9,0.8,0.7,0.6,12.5,1,2,3\n"
    )
    text = run_text(["a"], config(tmp_path))
    assert str(outlines) in text
    assert "gone" not in text, "outlines of a slide that is no longer in the sheet"
    assert text.index("Semi-MoE") < text.index("supervised-only")
    assert "object F1 0.700" in text
    assert text.count("Hausdorff") == 1


@pytest.mark.parametrize("name", ["metrics.csv", "glands"])
def test_the_last_lines_name_no_results_that_do_not_exist(tmp_path: Path, name: str) -> None:
    assert name not in run_text(["a"], config(tmp_path))


def test_outlines_of_another_setting_do_not_belong_to_this_run(tmp_path: Path) -> None:
    outlines = ResultPaths(tmp_path).outlines("a", compressed=False)
    outlines.parent.mkdir()
    outlines.write_text("{}")
    assert "a.geojson" not in run_text(["a"], config(tmp_path, export={"compress": True}))
