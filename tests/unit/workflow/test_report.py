import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_stores import map_attributes

from semimoe.model_card import parse_card
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_group
from workflow.config.checks import read_configuration
from workflow.config.configuration import Configuration
from workflow.reporting.outcome import FailedJob, RunOutcome
from workflow.reporting.report import _parameters_source, write_report
from workflow.result_paths import ResultPaths

HOSTILE = "<script>alert(1)</script>"


def config(results: Path, **values: object) -> Configuration:
    return read_configuration({"results": str(results), **values})


def write_model(results: Path, card: dict[str, Any], history: str | None = None) -> None:
    model = ResultPaths(results).model("semimoe")
    model.mkdir(parents=True)
    (model / "model.json").write_text(json.dumps(card))
    if history:
        (model / "history.csv").write_text(history)


def report_of(results: Path, *slides: str, outcome: RunOutcome | None = None) -> str:
    page = ResultPaths(results).report
    write_report(slides, config(results), page, outcome or RunOutcome())
    return page.read_text()


def test_texts_of_slides_and_logs_are_never_markup(tmp_path: Path) -> None:
    failure = FailedJob("predict_slide", "bad", (HOSTILE,), Path("x.log"))
    outcome = RunOutcome((failure,), {"bad": HOSTILE, HOSTILE: ""})
    page = report_of(tmp_path, "bad", HOSTILE, outcome=outcome)
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page


def test_lists_of_slides_are_shown_as_text(tmp_path: Path, card: dict) -> None:
    write_model(tmp_path, card | {"notes": {"validation": ["v1", "v2"], "slides": ["a", "b"]}})
    page = report_of(tmp_path)
    assert "Validation: v1, v2." in page
    assert "Trained on: a, b." in page
    assert "[&#39;" not in page


def test_curves_are_drawn_from_the_history(tmp_path: Path, card: dict) -> None:
    columns = ["epoch", "loss", "val_dice_gate", "val_dice_seg", "unsup_share", "pseudo_dice"]
    for task in ("seg", "sdf", "bnd"):
        columns += [f"gate_{task}_{expert}" for expert in ("seg", "sdf", "bnd")]
    rows = np.random.default_rng(0).random((3, len(columns))).tolist()
    history = "\n".join(",".join(map(str, row)) for row in [columns, *rows])
    write_model(tmp_path, card, history + "\n")
    assert report_of(tmp_path).count("<svg") == 2


def test_the_report_shows_how_each_slide_was_predicted(tmp_path: Path, card: dict) -> None:
    write_model(tmp_path, card)
    for slide, parameters, most_at_once in (
        ("a", {"batch": 16, "precision": "fp32", "flips": False}, None),
        ("b", {"batch": 16, "precision": "bf16", "flips": True}, 4),
        ("c", {"batch": 16, "precision": "fp32", "flips": False}, None),
    ):
        attributes = map_attributes(
            Geometry.uniform(8, 8), parameters=parameters, most_at_once=most_at_once
        )
        attributes.write(create_group(ResultPaths(tmp_path).maps(slide)))
    page = report_of(tmp_path, "a", "b", "c", "none")
    assert "Prediction: fp32, batches of 16 tiles: a, c</p>" in page
    assert (
        "Prediction: bf16, batches of 16 tiles, mean over the image and its three flips, "
        "4 tiles at a time after memory ran out: b</p>"
    ) in page


def test_the_licence_of_the_weights_is_shown(tmp_path: Path, card: dict) -> None:
    write_model(tmp_path, card | {"notes": {"licence": "research <only>"}})
    assert "Licence of the weights: research &lt;only&gt;" in report_of(tmp_path)


@pytest.mark.parametrize(
    ("source", "description"),
    [
        ("validation", "chosen on validation"),
        ("cross-validation, 5 folds", "cross-validation, 5 folds"),
    ],
)
def test_the_source_of_threshold_and_split_is_described(
    tmp_path: Path, card: dict, source: str, description: str
) -> None:
    model_card = parse_card(card | {"threshold_from": source}, source="test")
    assert _parameters_source(config(tmp_path), model_card) == description
