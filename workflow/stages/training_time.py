"""The expected time of the trainings of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from semimoe.methods import METHODS
from semimoe.settings import TrainingSettings
from tiling.messages import counted
from tiling.raster.durations import duration_text
from tiling.slide_errors import StoreError
from workflow.config.configuration import Configuration
from workflow.config.method_settings import MethodSettings, method_settings
from workflow.result_paths import ResultPaths
from workflow.sheet import Sheet, SheetRow
from workflow.stages.job_resources import training_threads
from workflow.stages.training_speed import Hardware, step_times

# Seconds for one tile of 256 px on one core of a server of 2023, for a network of width 16 with one
# encoder; only limits on clusters are made from it.
_TILE_S, _TILE_PX, _WIDTH = 0.35, 256, 16
_SEPARATE_EXPERTS = 3
_LIMIT_FACTOR, _MIN_LIMIT_MIN, _MAX_LIMIT_MIN = 2, 60, 1440


class TrainingTime(NamedTuple):
    """Expected size of one training.

    Attributes
    ----------
    method : see `semimoe.methods`
    epochs, steps : epochs to train, and steps of each
    at_most : the number of steps is the largest that is possible: tiles are not known yet
    """

    method: str
    epochs: int
    steps: int
    at_most: bool

    def text(self, step_s: float | None) -> str:
        """Expected time, for the user.

        Parameters
        ----------
        step_s : measured seconds of a step; None: unknown

        >>> TrainingTime("supervised", 60, 105, False).text(2.3)
        'supervised-only about 4.0 h (60 epochs of 105 steps, 2.3 s each)'
        >>> TrainingTime("supervised", 1, 3, False).text(45)
        'supervised-only about 3 min (1 epoch of 3 steps, 45 s each)'
        """
        label = METHODS[self.method].label
        limit = "up to " if self.at_most else ""
        size = f"{counted(self.epochs, 'epoch')} of {limit}{counted(self.steps, 'step')}"
        if step_s is None:
            return f"{label} unknown ({size}; a step could not be measured here)"
        total = duration_text(self.epochs * self.steps * step_s)
        about = "at most" if self.at_most else "about"
        return f"{label} {about} {total} ({size}, {step_s:.2g} s each)"


def trained_methods(configuration: Configuration) -> list[str]:
    """Methods that a run trains: the one that predicts, what it continues, and compared ones."""
    if configuration.model:
        return []
    main = METHODS[configuration.predicting_method]
    names = [main.starts_from, *configuration.compared_methods, main.name]
    return list(dict.fromkeys(name for name in names if name is not None))


def planned_values(configuration: Configuration, sheet: Sheet) -> dict[str, Any]:
    """What the expected times depend on, for `expected_training_of_values` in a job."""
    keys = {"results", "tiles", "network", "training", "seed", "compare", "start_from", "model"}
    values = configuration.model_dump(include=keys)
    values["export"] = {"gland_class": configuration.export.gland_class}
    rows = [asdict(row) for row in sheet.rows if row.split in ("labelled", "unlabelled")]
    return {"configuration": values, "rows": rows}


def planned_configuration(values: Mapping[str, Any]) -> Configuration:
    """The configuration of `planned_values`; keys that are not in it have their defaults."""
    return Configuration(**values["configuration"])


def expected_training_of_values(values: Mapping[str, Any], *, threads: int) -> str:
    """Expected time of all trainings of a run, on the CPU; "" if there is none."""
    configuration = planned_configuration(values)
    sheet = Sheet(tuple(SheetRow(**row) for row in values["rows"]))
    methods = trained_methods(configuration)
    if not methods or not sheet.ids("labelled"):
        return ""
    return expected_training(methods, configuration, sheet, gpu=False, threads=threads)


def training_times(
    methods: Iterable[str], configuration: Configuration, sheet: Sheet
) -> list[TrainingTime]:
    """Expected size of each training, from the regions of the labelled slides."""
    windows = _labelled_windows(sheet, configuration)
    unlabelled = len(sheet.ids("unlabelled")) * configuration.training.tiles_per_slide
    times = []
    for name in methods:
        method = METHODS[name]
        training = method_settings(configuration, name).training_settings()
        continued_epochs = training.warm_start_epochs if method.starts_from else 0
        others = unlabelled if method.uses_unlabelled and not method.starts_from else 0
        steps = _steps(windows, others, training)
        at_most = windows is None and training.steps_per_epoch is None
        times.append(TrainingTime(name, training.epochs - continued_epochs, steps, at_most))
    return times


def expected_training(
    methods: Sequence[str], configuration: Configuration, sheet: Sheet, *, gpu: bool, threads: int
) -> str:
    """Expected time of the trainings of some methods, measured on this machine: one line.

    Parameters
    ----------
    gpu : a GPU may be used
    threads : of a job
    """
    times = training_times(methods, configuration, sheet)
    settings = {name: method_settings(configuration, name) for name in methods}
    measured = step_times(
        settings,
        hardware=Hardware(gpu, training_threads(threads)),
        unlabelled=bool(sheet.ids("unlabelled")),
        cache=ResultPaths(Path(configuration.results)).step_times,
    )
    return training_text(times, measured, where="a GPU" if gpu else "the CPU of this machine")


def training_text(
    times: Iterable[TrainingTime], step_times: Mapping[str, float], *, where: str
) -> str:
    """One line for the user.

    Parameters
    ----------
    step_times : measured seconds of a step, by method
    where : what it was measured on
    """
    times = list(times)
    parts = [time.text(step_times.get(time.method)) for time in times]
    total = ""
    if len(times) > 1 and all(time.method in step_times for time in times):
        seconds = sum(time.epochs * time.steps * step_times[time.method] for time in times)
        about = "at most" if any(time.at_most for time in times) else "about"
        total = f"{about} {duration_text(seconds)}: "
    return (
        f"Training: {total}{'; '.join(parts)}. Measured on {where};"
        " other programs slow it down, and jobs show the time that is left."
    )


def cluster_limit_min(time: TrainingTime, settings: MethodSettings, *, attempt: int) -> int:
    """Limit of a training on a cluster, minutes: twice the expected time on one core.

    A training that reaches its limit continues from its last epoch when it is tried again.

    Parameters
    ----------
    attempt : of the job, from 1; each further attempt has more time
    """
    network, training = settings.network, settings.training_settings()
    cost = (network.width / _WIDTH) ** 2 * (training.tile_px / _TILE_PX) ** 2
    if network.experts == "separate":
        cost *= _SEPARATE_EXPERTS
    step_s = _TILE_S * training.batch * cost * (2 if METHODS[time.method].uses_unlabelled else 1)
    minutes = math.ceil(_LIMIT_FACTOR * time.epochs * time.steps * step_s / 60)
    return min(max(minutes, _MIN_LIMIT_MIN) * attempt, _MAX_LIMIT_MIN)


def _steps(windows: int | None, unlabelled: int, training: TrainingSettings) -> int:
    from semimoe.training.schedule import steps_per_epoch

    if windows is None:
        return training.steps_per_epoch or training.max_steps_per_epoch
    return steps_per_epoch(windows, unlabelled, training)


def _labelled_windows(sheet: Sheet, configuration: Configuration) -> int | None:
    """Number of training windows of the labelled slides; None if a file cannot be read yet."""
    total = 0
    for slide in sheet.ids("labelled"):
        try:
            total += _windows_of(sheet[slide], configuration)
        except (ValueError, StoreError, OSError):
            return None
    return total


def _windows_of(row: SheetRow, configuration: Configuration) -> int:
    """Training windows of a slide, if its regions are rectangles that are far apart."""
    from tiling.outlines.mask_image import is_image
    from tiling.qupath.annotations import read_annotations
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.working_resolution import plan_scale
    from tiling.tiles.training_windows import window_count
    from workflow.stages.training_sources import stride_px, training_window_px

    mpp_um, tile_px = configuration.tiles.mpp_um, configuration.tiles.tile_px
    assert mpp_um is not None  # `read_configuration` fills them in
    assert tile_px is not None
    with open_slide(Path(row.path), mpp=row.mpp) as slide:
        geometry = plan_scale(slide.metadata, mpp_um).geometry
    annotation = Path(row.annotation or "")
    sides = [(float(geometry.height_px), float(geometry.width_px))]
    if row.annotated == "regions" and not is_image(annotation):
        drawn = read_annotations(annotation, gland_class=configuration.export.gland_class)
        boxes = [region.shape.bounds for region in drawn.regions]
        sides = [
            ((bottom - top) / geometry.downsample_y, (right - left) / geometry.downsample_x)
            for left, top, right, bottom in boxes
        ]
    read_px = training_window_px(tile_px)
    return sum(
        window_count(
            math.ceil(height), math.ceil(width), read_px=read_px, stride_px=stride_px(tile_px)
        )
        for height, width in sides
    )
