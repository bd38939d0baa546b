"""What no CPU can check, before any measurement on a GPU machine.

python benchmarks/gpu/0_checks.py --out OUT
python benchmarks/gpu/0_checks.py --out OUT --checks steps --cases unimatch cross-consistency

- processes: the process that starts the cells of a table leaves the GPU usable for them
- windows: tiles that are kept on the GPU give the windows that the CPU cuts
- flips: maps with flips are those of the CPU
- steps: for each method, and for settings of Semi-MoE: losses and changed weights of recorded steps
  are those of the same steps without a recording; random numbers are new in each step; how often a
  step waits for the GPU, and its time. Without a GPU nothing is recorded.

About 2 minutes, without data. An error ends its check only; OUT/errors.log has it.
"""

import argparse
import gc
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from blob_images import BlobImages
from gpu_report import GpuReport
from recorded_steps import StepCase, step_cases, take_steps

from semimoe.benchmark.cell_processes import IMPORTED_FIRST
from semimoe.devices import choose_device
from semimoe.prediction.predictor import Predictor
from semimoe.settings import Augmentation, NetworkSettings, TrainingSettings
from semimoe.training.cuda_graphs import RecordedFunction
from semimoe.training.device_tiles import DeviceTiles
from semimoe.training.recipe import Recipe
from semimoe.training.tile_schedule import BatchPlan, scheduled_batches
from semimoe.training.tile_windows import read_windows

_MODEL = Path(__file__).parents[2] / "models" / "glas"
_MPP_UM = 1.24
# Relative differences that rounding in bf16 and the order of sums on a GPU explain.
_LOSS_TOLERANCE, _CHANGE_TOLERANCE = 0.01, 0.1
_MAP_TOLERANCE = 0.03
_COLUMNS = ("check", "outcome", "differences", "random", "waits per step", "ms", "ms recorded", "s")
Row = dict[str, object]


def check_steps(case: StepCase, arguments: argparse.Namespace) -> Row:
    """Compare recorded steps with the same steps without a recording."""
    plain, recorded = (take_steps(case, arguments, records=records) for records in (False, True))
    pairs = zip(plain.losses, recorded.losses, strict=True)
    loss = max(abs(two - one) / (abs(one) + 1e-3) for one, two in pairs)
    change = float((recorded.change - plain.change).norm() / plain.change.norm())
    passes = (
        loss < _LOSS_TOLERANCE
        and change < _CHANGE_TOLERANCE
        and recorded.is_random == plain.is_random
    )
    return {
        "outcome": "passed" if passes else "DIFFERS",
        "differences": f"losses {loss:.1e}, weights {change:.1e}",
        "random": f"{plain.is_random}, recorded {recorded.is_random}",
        "waits per step": recorded.waits,
        "ms": round(plain.step_ms, 1),
        "ms recorded": round(recorded.step_ms, 1),
    }


def check_windows(augmentation: Augmentation, arguments: argparse.Namespace) -> Row:
    """Compare the windows of tiles on the device with those that the CPU cuts."""
    device = choose_device(arguments.device, threads=arguments.threads)
    side = arguments.tile
    tiles = BlobImages(5, side + 30, 2 * side)
    training = TrainingSettings(
        tile_px=side, batch=3, epochs=1, warm_start_epochs=0, augment=augmentation
    )
    recipe = Recipe("unet", NetworkSettings(), training, _MPP_UM, 0)
    options = {"tile_px": side, "augmentation": augmentation}
    on_device = DeviceTiles.of_source(tiles, "labelled", most_bytes=2**30, device=device, **options)
    assert on_device is not None
    cut = on_device.windows if device.type == "cpu" else RecordedFunction(on_device.windows)
    for scheduled in scheduled_batches(5, "labelled", recipe, BatchPlan(3)):
        expected = read_windows(tiles, "labelled", scheduled, **options)
        for name, part in cut(on_device.plan(scheduled).to(device))._asdict().items():
            other = getattr(expected, name)
            assert (part is None) == (other is None), name
            assert part is None or torch.equal(part.cpu(), other), name
    return {"outcome": "passed"}


def check_flips(arguments: argparse.Namespace) -> Row:
    """Compare maps with flips with those of the CPU."""
    images = np.random.default_rng(0).integers(60, 256, (2, 3, 128, 128), np.uint8)
    maps, expected = (
        Predictor.load(_MODEL, device=device, threads=arguments.threads, flips=True)(images)
        for device in (arguments.device, "cpu")
    )
    largest = float(np.abs(maps - expected).max())
    outcome = "passed" if largest < _MAP_TOLERANCE else "DIFFERS"
    return {"outcome": outcome, "differences": f"maps {largest:.1e}"}


def check_processes(arguments: argparse.Namespace) -> Row:
    """Use the GPU in a process that is a copy of one that imported the modules of a cell."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED_FIRST))
    process = context.Process(target=compute_on, args=(arguments.device,))
    process.start()
    process.join(60)
    assert process.exitcode == 0, f"exit status {process.exitcode}"
    return {"outcome": "passed"}


def compute_on(device: str) -> None:
    """A sum on a device; an error ends the process with status 1."""
    assert float(torch.ones(2, device="cuda" if device == "gpu" else "cpu").sum()) == 2


def all_checks(arguments: argparse.Namespace) -> list[tuple[str, Callable[[], Row]]]:
    """Name and function of the chosen checks."""
    checks: list[tuple[str, Callable[[], Row]]] = []
    if "processes" in arguments.checks:
        checks.append(("processes", partial(check_processes, arguments)))
    if "windows" in arguments.checks:
        for augmentation in ("scanners", "deform", "paper"):
            checks.append(
                (f"windows, {augmentation}", partial(check_windows, augmentation, arguments))
            )
    if "flips" in arguments.checks:
        checks.append(("flips", partial(check_flips, arguments)))
    if "steps" in arguments.checks:
        for case in step_cases(arguments.tile, arguments.batch):
            if not arguments.cases or case.name in arguments.cases:
                checks.append((case.name, partial(check_steps, case, arguments)))
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["processes", "windows", "flips", "steps"]
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checks", nargs="+", choices=names, default=names)
    parser.add_argument("--cases", nargs="+", help="names of methods or settings; default: all")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--tile", type=int, default=128, help="side of a tile, px")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--timed", type=int, default=5, help="steps whose time is measured")
    parser.add_argument("--minutes", type=float, default=3, help="deadline")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    failed = 0
    for name, check in all_checks(arguments):
        if report.left_s() < 0:
            print(f"deadline: {name} and the following checks were not begun")
            break
        start_s = time.monotonic()
        try:
            row = check()
        except Exception as error:  # any error ends this check only
            row = {"outcome": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
            with (arguments.out / "errors.log").open("a") as file:
                file.write(f"{name}\n{traceback.format_exc()}\n")
        failed += row["outcome"] != "passed"
        row |= {"check": name, "s": round(time.monotonic() - start_s, 1)}
        report.add({column: row.get(column, "") for column in _COLUMNS})
        gc.collect()  # recordings of the check hold memory
    report.finish()
    print(f"{failed} checks failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
