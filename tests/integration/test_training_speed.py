"""The time of a training step is measured in a process of its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from labelled_slide import SMALL, write_labelled_slide

from workflow.config.checks import read_configuration
from workflow.config.method_settings import method_settings
from workflow.sheet import Sheet
from workflow.stages.training_speed import Hardware, _key, step_times
from workflow.stages.training_time import expected_training_of_values, planned_values


def test_a_step_is_measured_once_and_the_preview_tells_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = write_labelled_slide(tmp_path)
    configuration = read_configuration({**SMALL, "results": str(tmp_path / "results")})
    values = planned_values(configuration, Sheet((labelled, replace(labelled, split="predict"))))
    text = expected_training_of_values(json.loads(json.dumps(values)), threads=2)
    assert "supervised-only about" in text
    assert "Semi-MoE about" in text
    assert "Measuring the time of a training step" in capsys.readouterr().err
    cache = tmp_path / "results" / "logs" / "step_times.json"
    measured = json.loads(cache.read_text())
    assert len(measured) == 2
    assert all(0 < seconds < 60 for seconds in measured.values())
    settings = {"semimoe": method_settings(configuration, "semimoe")}
    changed = {key: 7.0 for key in measured}
    cache.write_text(json.dumps(changed))
    hardware = Hardware(gpu=False, threads=1)
    assert step_times(settings, hardware=hardware, unlabelled=False, cache=cache) == {
        "semimoe": 7.0
    }
    assert capsys.readouterr().err == "", "nothing is measured again"


def test_the_time_of_a_step_with_a_teacher_is_another_one() -> None:
    """The teacher predicts the unlabelled tiles twice more."""
    hardware = Hardware(gpu=False, threads=1)
    keys = set()
    for training in (
        {"pseudo": "gates", "pseudo_labels": "online"},
        {"pseudo": "teacher", "pseudo_labels": "online"},
    ):
        values = {**SMALL, "training": {**SMALL["training"], "ema_decay": 0.9, **training}}
        settings = method_settings(read_configuration(values), "semimoe")
        keys.add(_key("semimoe", settings, hardware, True))
    assert len(keys) == 2
