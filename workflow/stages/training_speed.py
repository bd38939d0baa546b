"""Measured time of a training step of each method, kept in the folder of results.

`python -m workflow.stages.training_speed` measures what stdin asks for, in a process of its own:
Snakemake's process does not load torch.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semimoe.methods import METHODS
from semimoe.settings import Device
from tiling.raster.atomic_files import write_atomic
from tiling.raster.durations import duration_text
from workflow.config.method_settings import MethodSettings

_MAX_MEASUREMENT_S = 180


class Hardware(NamedTuple):
    """What trains.

    Attributes
    ----------
    gpu : a GPU, if there is one
    threads : of the processor
    """

    gpu: bool
    threads: int


def step_times(
    settings: Mapping[str, MethodSettings], *, hardware: Hardware, unlabelled: bool, cache: Path
) -> dict[str, float]:
    """Seconds of one optimiser step of each method on this machine.

    A method is missing if it cannot be measured here.

    Parameters
    ----------
    settings : by method
    unlabelled : the run has unlabelled slides
    cache : file with earlier measurements; a missing or damaged file is ignored
    """
    times = _read(cache)
    keys = {name: _key(name, one, hardware, unlabelled) for name, one in settings.items()}
    missing = {name: settings[name].model_dump() for name, key in keys.items() if key not in times}
    if missing:
        print(
            "Measuring the time of a training step on this machine, once; at most"
            f" {duration_text(_MAX_MEASUREMENT_S)}",
            file=sys.stderr,
            flush=True,
        )
        request = {"methods": missing, "unlabelled": unlabelled, **hardware._asdict()}
        measured = _measured_in_a_process(request)
        times |= {keys[name]: seconds for name, seconds in measured.items()}
        with contextlib.suppress(OSError):  # the file only saves time
            write_atomic(cache, json.dumps(times, indent=1))
    return {name: times[key] for name, key in keys.items() if key in times}


def measure(request: Mapping[str, Any]) -> dict[str, float]:
    """Measure in this process.

    Parameters
    ----------
    request : methods (settings by name), unlabelled, gpu, threads
    """
    import torch

    from semimoe.training.recipe import Recipe, RunResources
    from semimoe.training.step_time import seconds_per_step

    device: Device = "gpu" if request["gpu"] and torch.cuda.is_available() else "cpu"
    seconds = {}
    for name, values in request["methods"].items():
        settings = MethodSettings(**values)
        recipe = Recipe(
            name,
            settings.network,
            settings.training_settings(),
            settings.tiles.mpp_um or 1.0,
            settings.seed,
        )
        seconds[name] = seconds_per_step(
            recipe,
            RunResources(device, request["threads"], progress=False),
            unlabelled=request["unlabelled"] and METHODS[name].uses_unlabelled,
        )
    return seconds


def _measured_in_a_process(request: Mapping[str, Any]) -> dict[str, float]:
    """The measurements; empty if the process fails or takes too long."""
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_MAX_MEASUREMENT_S,
            check=True,
            # The packages are found from any working directory.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}


def _key(name: str, settings: MethodSettings, hardware: Hardware, unlabelled: bool) -> str:
    """What the time of a step depends on, as text."""
    training = settings.training_settings()
    parts: Sequence[object] = (
        name,
        settings.network.to_dict(),
        (training.batch, training.tile_px, training.precision, training.augment, training.pseudo),
        (unlabelled, *hardware),
        (platform.node(), platform.processor(), os.cpu_count()),
    )
    return json.dumps(parts, sort_keys=True)


def _read(cache: Path) -> dict[str, float]:
    try:
        values = json.loads(cache.read_text(encoding="utf-8"))
        return {str(key): float(seconds) for key, seconds in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
