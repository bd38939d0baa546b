"""Tiles per second of training steps, with the loader, and the share of the time the GPU works.

python benchmarks/gpu/1_training_steps.py --out OUT
python benchmarks/gpu/1_training_steps.py --out OUT --device cpu --tile 64 --batches 2 --seconds 1

About 3 minutes. Needs no data: images and labels are random blobs. OUT/operations-*.txt list the
operations that take most of a step.
"""

import argparse
import gc
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from blob_images import BlobImages
from gpu_report import GpuReport

from semimoe.model_card import TrainingNotes
from semimoe.presets import preset
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import batches
from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData
from semimoe.training.start_run import start_run
from semimoe.training.tile_schedule import BatchPlan
from semimoe.training.tile_windows import CachedTiles

_SETTLING_STEPS = 12
_PROFILED_STEPS = 5
_LISTED_OPERATIONS = 30
_CACHE_BYTES = 2**31
_STEPS_PER_EPOCH = 1000  # the order of the tiles of an epoch is drawn before its first step


class Case(NamedTuple):
    """One row of the table."""

    name: str
    method: str
    network: NetworkSettings
    training: TrainingSettings


def cases(tile_px: int, batch_sizes: list[int]) -> list[Case]:
    """The network of the workflow and that of the paper, in the order of their importance."""
    small, options = NetworkSettings(), {"tile_px": tile_px, "warm_start_epochs": 0}
    rows = []
    for batch in batch_sizes:
        training = TrainingSettings(augment="scanners", batch=batch, **options)
        for method in ("supervised", "semimoe"):
            rows.append(Case(f"default, {method}, batch {batch}", method, small, training))
    paper_network, paper_training = preset("paper")
    changes = {**options, "precision": "auto"}
    paper = paper_training.model_copy(update=changes)
    rows.append(Case("preset paper, semimoe, batch 2 + 2", "semimoe", paper_network, paper))
    return rows


def measure(case: Case, images: BlobImages, arguments: argparse.Namespace) -> dict[str, object]:
    """Run the steps of a case for some seconds."""
    from semimoe.devices import resolve_precision

    precision = resolve_precision(case.training.precision, arguments.device)
    training = case.training.model_copy(update={"precision": precision, "epochs": 10**4})
    recipe = Recipe(case.method, case.network, training, 0.62, 0)
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(
            TrainingData(images, images),
            recipe,
            folders=RunFolders(Path(folder) / "model", Path(folder) / "checkpoint"),
            resources=RunResources(arguments.device, arguments.threads, progress=False),
            notes=TrainingNotes(),
        )
    source, plan = CachedTiles(images, _CACHE_BYTES), BatchPlan(_STEPS_PER_EPOCH)
    labelled = batches(source, "labelled", recipe, plan, run.device.device)
    unlabelled = batches(source, "unlabelled", recipe, plan, run.device.device)
    steps_taken = 0

    def take_step() -> None:
        nonlocal steps_taken
        others = next(unlabelled) if recipe.method.uses_unlabelled else None
        run.step(steps_taken, next(labelled), others)
        steps_taken += 1

    run.begin_epoch()
    take_step()
    wait()
    first_step_s = time.monotonic() - start_s
    step_s = mean_seconds(take_step, arguments.seconds)
    tiles = training.batch * (2 if recipe.method.uses_unlabelled else 1)
    operations = arguments.out / f"operations-{re.sub('[^a-z0-9]+', '-', case.name)}.txt"
    busy_s = profile_step(take_step, operations)
    return {
        "case": case.name,
        "precision": precision,
        "first step s": round(first_step_s, 1),
        "step ms": round(1e3 * step_s, 2),
        "tiles/s": round(tiles / step_s),
        "GPU busy": "no GPU" if busy_s is None else f"{busy_s / step_s:.0%}",
        "memory MiB": peak_mib(),
    }


def mean_seconds(take_step: Callable[[], None], seconds: float) -> float:
    for _ in range(_SETTLING_STEPS if torch.cuda.is_available() else 1):
        take_step()
    wait()
    start_s, steps = time.monotonic(), 0
    while not steps or time.monotonic() - start_s < seconds:
        take_step()
        steps += 1
    wait()
    return (time.monotonic() - start_s) / steps


def profile_step(take_step: Callable[[], None], operations: Path) -> float | None:
    """Seconds of a step in which the GPU works, None without a GPU.

    Parameters
    ----------
    operations : file for the operations that take most time, on the CPU without a GPU
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    activity, unit = (ProfilerActivity.CUDA, "cuda") if on_gpu else (ProfilerActivity.CPU, "cpu")
    steps = _PROFILED_STEPS if on_gpu else 1
    with profile(activities=[activity]) as recorded:
        for _ in range(steps):
            take_step()
        wait()
    table = recorded.key_averages().table(
        sort_by=f"self_{unit}_time_total", row_limit=_LISTED_OPERATIONS, max_name_column_width=80
    )
    operations.write_text(f"{steps} steps\n{table}")
    if not on_gpu:
        return None
    events = [event for event in recorded.events() if event.device_type.name == "CUDA"]
    return float(sum(event.device_time for event in events)) / 1e6 / steps


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mib() -> int:
    if not torch.cuda.is_available():
        return 0
    peak = torch.cuda.max_memory_allocated() >> 20
    torch.cuda.reset_peak_memory_stats()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--tile", type=int, default=256, help="side of a tile, px")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=4, help="deadline")
    arguments = parser.parse_args()
    images = BlobImages(24, 2 * arguments.tile, 3 * arguments.tile)
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    for case in cases(arguments.tile, arguments.batches):
        if report.left_s() < 0:
            print(f"deadline: {case.name} and the following cases were not measured")
            break
        report.add(measure(case, images, arguments))
        gc.collect()  # recordings of the case hold memory
    report.finish()


if __name__ == "__main__":
    sys.exit(main())
