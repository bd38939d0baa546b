"""The expected time of a training: sizes from annotations, and steps measured on this machine."""

from pathlib import Path

import pytest
from labelled_slide import SMALL, write_labelled_slide

from semimoe.settings import NetworkSettings
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.label_slide import label_slide
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
from tiling.tiles.training_windows import region_windows
from workflow.config.checks import read_configuration
from workflow.config.method_settings import method_settings
from workflow.sheet import Sheet, SheetRow
from workflow.stages.training_sources import stride_px, training_window_px
from workflow.stages.training_time import (
    TrainingTime,
    cluster_limit_min,
    trained_methods,
    training_text,
    training_times,
)


@pytest.fixture
def labelled(tmp_path: Path) -> SheetRow:
    return write_labelled_slide(tmp_path)


def test_steps_are_those_of_the_windows_that_training_reads(
    labelled: SheetRow, tmp_path: Path
) -> None:
    tiles, labels = tmp_path / "tiles" / "a.zarr", tmp_path / "labels" / "a.zarr"
    parameters = TileParameters(**read_configuration(SMALL).tiles.to_dict())
    tile_slide(SlideSource("a", Path(labelled.path)), tiles, parameters=parameters, code_version=1)
    rules = ReadingRules("regions", "slide")
    label_slide(
        AnnotationFile(Path(labelled.annotation), rules), tiles, labels, slide="a", code_version=1
    )
    windows = region_windows(labels, read_px=training_window_px(64), stride_px=stride_px(64))
    (time,) = training_times(["supervised"], read_configuration(SMALL), Sheet((labelled,)))
    assert time == TrainingTime("supervised", 6, -(-len(windows) // 4), at_most=False)
    assert len(windows) > 100


def test_a_method_that_continues_another_one_trains_the_remaining_epochs(
    labelled: SheetRow,
) -> None:
    configuration = read_configuration({**SMALL, "compare": ["mean-teacher"]})
    methods = trained_methods(configuration)
    assert methods == ["supervised", "mean-teacher", "semimoe"]
    unlabelled = SheetRow("u", "u.svs", "unlabelled")
    times = training_times(methods, configuration, Sheet((labelled, unlabelled)))
    assert [time.epochs for time in times] == [6, 6, 4]
    supervised, mean_teacher, semimoe = (time.steps for time in times)
    assert supervised == semimoe
    assert mean_teacher == max(supervised, 200 // 4)
    assert trained_methods(read_configuration({"model": "models/glas"})) == []


def test_a_slide_that_cannot_be_read_yet_gives_the_largest_number_of_steps() -> None:
    row = SheetRow("a", "missing.svs", "labelled", "missing.geojson")
    (time,) = training_times(["supervised"], read_configuration(SMALL), Sheet((row,)))
    assert (time.steps, time.at_most) == (500, True)
    assert "at most 50 min (6 epochs of up to 500 steps, 1 s each)" in time.text(1.0)


def test_the_text_has_the_sum_and_says_what_is_unknown() -> None:
    times = [TrainingTime("supervised", 60, 100, False), TrainingTime("semimoe", 40, 100, False)]
    text = training_text(times, {"supervised": 2.4, "semimoe": 3.6}, where="the CPU")
    assert text.startswith("Training: about 8.0 h: supervised-only about 4.0 h (60 epochs of 100")
    assert "Semi-MoE unknown" in training_text(times, {"supervised": 2.4}, where="the CPU")


def test_the_limit_on_a_cluster_is_above_the_expected_time_and_grows_with_each_attempt() -> None:
    settings = method_settings(read_configuration({}), "supervised")
    expected = TrainingTime("supervised", 60, 105, False)
    measured_min = 60 * 105 * 3.3 / 60  # 3.3 s on one core of the machine of the constants
    limits = [cluster_limit_min(expected, settings, attempt=attempt) for attempt in (1, 2, 3)]
    assert 1.2 * measured_min < limits[0] < 3 * measured_min
    assert limits[1] == min(2 * limits[0], 1440)
    assert cluster_limit_min(expected._replace(epochs=1), settings, attempt=1) == 60
    paper = NetworkSettings(encoder="unet", experts="separate", width=64)
    large = settings.model_copy(update={"network": paper})
    assert cluster_limit_min(expected, large, attempt=1) == 1440
