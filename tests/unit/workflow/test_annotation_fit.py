"""Annotations of slides of another size stop a run before anything is tiled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workflow.config.checks import read_configuration
from workflow.reporting.annotation_fit import misfits
from workflow.reporting.outcome import PlannedJob
from workflow.sheet import Sheet, SheetRow
from workflow.sheet_annotations import check_annotations

WIDTH, HEIGHT = 200, 100


def square(left: float, side: float, kind: str) -> dict[str, Any]:
    ring = [[left, 5], [left + side, 5], [left + side, 5 + side], [left, 5 + side], [left, 5]]
    properties = {"objectType": "annotation", "classification": {"name": kind}}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (WIDTH, HEIGHT), "white").save("a.png")
    return tmp_path


def misfits_of(annotation: str, split: str, **values: Any) -> tuple[list[str], list[str]]:
    row = SheetRow("a", "a.png", split, annotation, mpp=1.0)
    jobs = [PlannedJob("label_slide", "a", Path("a.log"))]
    sheet, configuration = Sheet((row,)), read_configuration(values)
    checks = check_annotations(sheet, configuration).checks
    return misfits(sheet, configuration, jobs, checks)


@pytest.mark.parametrize(
    ("left", "viewer", "message"),
    [
        (10, None, ""),
        (150, None, ""),  # a gland over the edge is clipped
        (
            1000,
            None,
            "off the slide (200 x 100 px); check the file, its origin, and the level",
        ),
        (10, {"width": 300, "height": 100}, "written for a slide of 300 x 100 px"),
        (10, {"width": WIDTH, "height": HEIGHT}, ""),
    ],
)
def test_outlines_of_a_larger_slide_are_named(
    folder: Path, left: float, viewer: dict[str, int] | None, message: str
) -> None:
    features = [square(left, 80, "Region*"), square(left, 20, "Gland")]
    content = {"type": "FeatureCollection", "viewer": viewer, "features": features}
    Path("a.geojson").write_text(json.dumps(content))
    problems, warnings = misfits_of("a.geojson", "labelled")
    assert (len(problems), len(warnings)) == (bool(message), 0)
    assert all(message in problem for problem in problems)
    assert misfits_of("a.geojson", "unlabelled") == ([], problems), "never stops the run"
    assert misfits_of("a.geojson", "test", annotations={"unusable": "leave_out"})[0] == []


def test_a_mask_of_another_size_is_named(folder: Path) -> None:
    for name, side in (("right", HEIGHT), ("wrong", HEIGHT + 1)):
        Image.fromarray(np.zeros((side, WIDTH), np.uint8)).save(f"{name}.png")
    assert misfits_of("right.png", "labelled") == ([], [])
    ((problem,), _) = misfits_of("wrong.png", "labelled")
    assert "200 x 101 px, but the slide has 200 x 100" in problem


def test_slides_that_cannot_be_opened_are_left_out(folder: Path) -> None:
    Path("a.geojson").write_text(json.dumps([square(900, 80, "Region*"), square(900, 9, "Gland")]))
    Path("a.png").write_bytes(b"no slide")
    assert misfits_of("a.geojson", "labelled") == ([], [])
