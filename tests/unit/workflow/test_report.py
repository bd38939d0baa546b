import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_stores import map_attributes

from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_group
from workflow.config.configuration import with_defaults
from workflow.reporting.outcome import LAST_FAILURE, Failure, Job, Outcome
from workflow.reporting.report import (
    _parameters_from,
    after_preview,
    headline_text,
    report_after_failure,
    write_report,
)
from workflow.sheet import Sheet, Slide

HOSTILE = "<script>alert(1)</script>"


def config(results: Path, **more: object) -> dict[str, Any]:
    return with_defaults({"results": str(results), **more})


def sheet(*slides: str) -> Sheet:
    return Sheet(
        tuple(
            Slide(slide, f"{slide}.svs", "predict", None, "regions", None, None, None, None)
            for slide in slides
        ),
        (),
    )


def failed_run(results: Path) -> tuple[Job, ...]:
    log = results / "logs" / "predict_slide" / "bad.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"INFO reading\nERROR bad.svs: {HOSTILE}\n")
    return Job(
        "predict_slide", "bad", log, outputs=frozenset({str(results / "glands" / "bad.csv")})
    ), Job("report", "all", Path("none"))


def test_a_failed_run_has_a_report_that_names_slide_and_reason(tmp_path: Path) -> None:
    results = tmp_path / "r"
    told = report_after_failure(sheet("good", "bad"), config(results), failed_run(results), since=0)
    assert "FAILED predict_slide/bad" in told
    page = (results / "report.html").read_text()
    assert "predict_slide/bad" in page
    assert "not reached" in page


def test_what_slides_and_logs_say_is_never_markup(tmp_path: Path) -> None:
    results = tmp_path / "r"
    found = Outcome(
        (Failure("predict_slide", "bad", (HOSTILE,), Path("x.log")),), {"bad": HOSTILE, HOSTILE: ""}
    )
    write_report(["bad", HOSTILE], config(results), results / "report.html", found)
    page = (results / "report.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_a_failed_run_left_is_older_than_its_record_and_of_today(tmp_path: Path) -> None:
    results, began = tmp_path / "r", time.time()
    jobs = failed_run(results)
    report_after_failure(sheet("bad"), config(results), jobs, since=0)
    record = results / LAST_FAILURE
    for name in ("report.html", "metrics.csv", "cohort.csv"):
        assert began - 60 < (results / name).stat().st_mtime < record.stat().st_mtime - 1
    assert "FAILED predict_slide/bad: bad.svs" in record.read_text()
    # Snakemake takes a newer file of known content for the old one.
    before = record.read_text()
    report_after_failure(sheet("bad"), config(results), jobs, since=0)
    assert record.read_text() != before


def preview_card(results: Path, slide: str, error: str | None) -> None:
    (results / "previews").mkdir(parents=True, exist_ok=True)
    (results / "previews" / f"{slide}.json").write_text(
        json.dumps({"slide": slide, "error": error})
    )


def test_a_preview_tells_failed_slides_last_and_is_made_again(tmp_path: Path) -> None:
    preview_card(tmp_path, "good", None)
    (tmp_path / "preview.html").touch()
    told, sound = after_preview(["good"], config(tmp_path))
    assert sound
    assert str(tmp_path / "preview.html") in told
    assert not (tmp_path / LAST_FAILURE).exists()

    preview_card(tmp_path, "bad", "bad.svs: the file was cut; copy it again")
    told, sound = after_preview(["good", "bad"], config(tmp_path))
    assert not sound
    assert "1 of 2 slide(s) cannot be used" in told
    assert told.splitlines()[-1] == "bad: bad.svs: the file was cut; copy it again"
    assert (tmp_path / "preview.html").stat().st_mtime < (tmp_path / LAST_FAILURE).stat().st_mtime


def test_lists_of_slides_are_read_as_text(tmp_path: Path, card: dict) -> None:
    model = tmp_path / "models" / "semimoe"
    model.mkdir(parents=True)
    (model / "model.json").write_text(
        json.dumps(card | {"notes": {"validation": ["v1", "v2"], "slides": ["a", "b"]}})
    )
    write_report([], config(tmp_path), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Validation: v1, v2." in page
    assert "Trained on: a, b." in page
    assert "[&#39;" not in page


def test_curves_are_drawn_from_the_history(tmp_path: Path, card: dict) -> None:
    model = tmp_path / "models" / "semimoe"
    model.mkdir(parents=True)
    columns = ["epoch", "loss", "val_dice_gate", "val_dice_seg", "unsup_share", "pseudo_dice"]
    columns += [
        f"gate_{task}_{expert}"
        for task in ("seg", "sdf", "bnd")
        for expert in ("seg", "sdf", "bnd")
    ]
    rows = np.random.default_rng(0).random((3, len(columns)))
    text = "\n".join(",".join(map(str, row)) for row in [columns, *rows.tolist()])
    (model / "history.csv").write_text(text + "\n")
    (model / "model.json").write_text(json.dumps(card))
    write_report([], config(tmp_path), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().count("<svg") == 2


def test_the_report_tells_how_each_slide_was_predicted(tmp_path: Path, card: dict) -> None:
    (tmp_path / "models" / "semimoe").mkdir(parents=True)
    (tmp_path / "models" / "semimoe" / "model.json").write_text(json.dumps(card))
    for slide, parameters, most in (
        ("a", {"batch": 16, "precision": "fp32", "flips": False}, None),
        ("b", {"batch": 16, "precision": "bf16", "flips": True}, 4),
        ("c", {"batch": 16, "precision": "fp32", "flips": False}, None),
    ):
        attributes = map_attributes(
            Geometry.uniform(8, 8), parameters=parameters, most_at_once=most
        )
        attributes.write(create_group(tmp_path / "maps" / f"{slide}.zarr"))
    write_report(["a", "b", "c", "none"], config(tmp_path), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Predicted in fp32, batches of 16 tiles: a, c</p>" in page
    assert (
        "Predicted in bf16, batches of 16 tiles, mean over four flips, 4 at a time since memory ran out: b</p>"
        in page
    )


def test_the_licence_of_the_weights_is_shown(tmp_path: Path, card: dict) -> None:
    (tmp_path / "models" / "semimoe").mkdir(parents=True)
    card = card | {"notes": {"licence": "research <only>"}}
    (tmp_path / "models" / "semimoe" / "model.json").write_text(json.dumps(card))
    write_report([], config(tmp_path), tmp_path / "report.html")
    assert "Licence of the weights: research &lt;only&gt;" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("validation", "chosen on validation"),
        ("cross-validation, 5 folds", "cross-validation, 5 folds"),
    ],
)
def test_where_threshold_and_split_come_from_is_said(
    tmp_path: Path, source: str, words: str
) -> None:
    assert _parameters_from(config(tmp_path), {"threshold_from": source}) == words


def test_the_last_words_name_outlines_and_scores(tmp_path: Path) -> None:
    (tmp_path / "glands").mkdir()
    (tmp_path / "glands" / "a.geojson").write_text("{}")
    header = "slide,split,method,region,dice,jaccard,object_f1,object_dice,object_hausdorff_um,tp,fp,fn\n"
    (tmp_path / "metrics.csv").write_text(
        header
        + "a,test,supervised,pooled,0.8,0.7,0.6,0.5,,1,2,3\na,test,semimoe,pooled,0.9,0.8,0.7,0.6,12.5,1,2,3\n"
    )
    (tmp_path / "glands" / "gone.geojson").write_text("{}")
    text = headline_text(["a"], config(tmp_path))
    assert str(tmp_path / "glands" / "a.geojson") in text
    assert "gone" not in text, "outlines of a slide that is no longer in the sheet"
    assert text.index("Semi-MoE") < text.index("supervised-only")
    assert "object F1 0.700" in text
    assert text.count("Hausdorff") == 1


@pytest.mark.parametrize("name", ["metrics.csv", "glands"])
def test_a_run_without_results_says_nothing_false(tmp_path: Path, name: str) -> None:
    assert name not in headline_text(["a"], config(tmp_path))


def test_outlines_of_another_setting_are_not_this_runs(tmp_path: Path) -> None:
    (tmp_path / "glands").mkdir()
    (tmp_path / "glands" / "a.geojson").write_text("{}")
    assert "a.geojson" not in headline_text(["a"], config(tmp_path, export={"compress": True}))
