import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_stores import map_attributes

from semimoe.model_card import parse_card
from tiling.raster.geometry import Geometry
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.arrays import create_group
from tiling.stores.layout import GlandStore
from tiling.stores.manifest import seal_store
from workflow.config.checks import read_configuration
from workflow.config.configuration import Configuration
from workflow.job_record import JobRecord, RecordedInput
from workflow.reporting.curves import gate_figure
from workflow.reporting.outcome import FailedJob, RunOutcome
from workflow.reporting.report import _parameters_source, write_report
from workflow.result_paths import ResultPaths, record_of_store

REPO = Path(__file__).parents[3]
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


def test_experts_have_different_lines_and_epochs_are_whole_numbers() -> None:
    tasks = ("seg", "sdf", "bnd")
    history = pd.DataFrame({"epoch": [8.0, 9, 10]})
    for number, (task, expert) in enumerate((a, b) for a in tasks for b in tasks):
        history[f"gate_{task}_{expert}"] = number / 10
    svg = gate_figure(history)
    # The dashed line at 1/3, and two of the three experts; the third one has a solid line.
    assert len(set(re.findall(r"stroke-dasharray: ([^;]+)", svg))) == 3
    assert re.findall(r">([89][.0-9]*|10[.0-9]*)<", svg) == ["8", "9", "10"] * 3


def test_the_report_shows_how_each_slide_was_predicted(tmp_path: Path, card: dict) -> None:
    write_model(tmp_path, card)
    for slide, parameters, most_at_once in (
        ("a", {"batch": 16, "precision": "fp32", "flips": False}, None),
        ("b", {"batch": 16, "precision": "bf16", "flips": True, "runtime": "openvino"}, 4),
        ("c", {"batch": 16, "precision": "fp32", "flips": False}, None),
    ):
        attributes = map_attributes(
            Geometry.uniform(8, 8), parameters=parameters, most_at_once=most_at_once
        )
        attributes.write(create_group(ResultPaths(tmp_path).maps(slide)))
        seal_store(ResultPaths(tmp_path).maps(slide))
    weights = RecordedInput(name="model", file="model.safetensors", checksum="0123456789abcdef")
    JobRecord(rule="predict_slide", wildcards={"slide": "a"}, settings={}, inputs=(weights,)).write(
        record_of_store(ResultPaths(tmp_path).maps("a"))
    )
    split = SplitParameters(
        threshold=0.25, seed_depth_um=3, boundary_level=0.5, growth_um=4, min_area_um2=500,
        sdf_um=20.0,
    )  # fmt: skip
    by_prominence = replace(split, rule="prominence", prominence_um=4, seed_threshold=0.9)
    for slide, of_slide in (("b", split), ("c", by_prominence)):
        store = ResultPaths(tmp_path).glands(slide)
        GlandStore(slide=slide, split=of_slide, geometry=Geometry.uniform(8, 8)).write(
            create_group(store)
        )
        seal_store(store)
    page = report_of(tmp_path, "a", "b", "c", "none")
    lines = [line for line in page.splitlines() if "batches of 16 tiles" in line]
    rows = [re.findall("<td class=.t wide.>(.*?)</td>", line) for line in lines]
    batches = "fp32, batches of 16 tiles"
    assert rows == [
        ["a", "0123456789ab", batches, "not finished"],
        [
            "b",
            "unknown",
            "bf16, batches of 16 tiles, computed by OpenVINO, mean over the image and its three "
            "flips, 4 tiles at a time after memory ran out",
            "threshold 0.25, seed depth 3 um, boundary level 0.5, growth 4 um, min area 500 um2",
        ],
        [
            "c",
            "unknown",
            batches,
            "threshold 0.25, prominence 4 um, seed threshold 0.9, boundary weight 0 um, min area"
            " 500 um2",
        ],
    ]


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


def test_a_model_has_its_name_and_notes_about_gates_are_no_failures(
    tmp_path: Path, card: dict
) -> None:
    note = "expert collapse: the gate of task seg uses the bnd expert only"
    named = {"name": "Colon <H&E>", "warnings": ["no validation: last epoch"], "gate_notes": [note]}
    write_model(tmp_path, card | named)
    page = report_of(tmp_path)
    folder = ResultPaths(tmp_path).model("semimoe")
    assert f"model: Colon &lt;H&amp;E&gt; ({folder}), method supervised-only" in page
    assert f'<p class="warning">{named["warnings"][0]}</p>' in page
    before, _, _ = page.partition(note)
    assert before.endswith("Notes about the gates (the model is valid)</summary><p>")
    write_model(tmp_path / "unnamed", card | {"name": None})
    assert f"model: {ResultPaths(tmp_path / 'unnamed').model('semimoe')}," in report_of(
        tmp_path / "unnamed"
    )


def test_the_start_model_is_a_row_of_the_test_table_and_its_validation_is_shown(
    tmp_path: Path, card: dict
) -> None:
    before = {"dice_at_half": 0.8, "dice": 0.81, "object_f1": 0.72, "object_dice": 0.7}
    after = {"dice": 0.91, "object_f1": 0.62, "object_dice": 0.8}
    write_model(tmp_path, card | {"validation": after, "validation_before": before})
    metrics = ResultPaths(tmp_path).metrics_table
    metrics.write_text(
        "slide,split,method,region,annotated_mm2,dice,tp,fp,fn\n"
        "s,test,start-model,pooled,1,0.7,1,1,1\ns,test,semimoe,pooled,1,0.9,2,1,1\n"
    )
    configuration = config(tmp_path, start_from=str(REPO / "models" / "glas"))
    write_report([], configuration, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("<h2>Test slides") : page.index("</table>")]
    assert table.index(">Semi-MoE<") < table.index(">start model<")
    assert f"Start model: {REPO / 'models' / 'glas'}, before fine-tuning." in table
    assert (
        "pixel Dice 0.910 (start model 0.810), object F1 0.620 (start model 0.720), "
        "object Dice 0.800 (start model 0.700)."
    ) in " ".join(page.split())
