"""Compares regions that `propose_regions` chooses with random ones: which train a better model?

python benchmarks/proposals.py --out benchmarks/out/proposals [--seeds 0 1 2]
python benchmarks/proposals.py --out OUT --glas FOLDER --mosaic glas_mosaic.py

In one slide, the pool, a few random regions are outlined at first. Each round adds as many
regions: by the rule of `propose_regions`, or at random on tissue, without overlap. All regions are
outlined without a fault, and the same small network is trained again from the start with the same
number of steps. Scores are those of another slide, which is used for nothing else. Every round is
kept in rounds.csv: an interrupted run continues with the next round.

With --glas the slides are mosaics of GlaS images (research data, non-commercial; nothing made from
them may be redistributed).
"""

import argparse
import csv
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from proposal_slides import AnnotatedSlide, draw_windows, make_slides, outline_regions

from semimoe.evaluation.metrics import object_scores
from tiling.objects.stitch import stitch
from tiling.parallel import JobSettings
from tiling.qupath.proposals import ProposalSettings, choose_squares
from tiling.raster.geometry import Window
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of
from workflow.config.checks import read_configuration
from workflow.config.configuration import Configuration
from workflow.config.method_settings import method_settings
from workflow.stages.job_resources import JobResources
from workflow.stages.predict_slide import predict_slide
from workflow.stages.slide_training import train
from workflow.stages.stitch_slide import split_parameters
from workflow.stages.training_slides import TrainingSlide, TrainingSlides

_COLUMNS = (
    "seed",
    "arm",
    "regions",
    "outlined_glands",
    "outlined_mm2",
    "object_f1",
    "object_dice",
    "seconds",
)
_ARMS = ("random", "proposed")
_METHOD = "supervised"
_PREDICTION = {"batch": 4, "precision": "fp32", "flips": False, "margin_um": None}


class Experiment(NamedTuple):
    """What all rounds share."""

    slides: dict[str, AnnotatedSlide]
    configuration: Configuration
    arguments: argparse.Namespace

    def folder(self, seed: int, arm: str, number: int) -> Path:
        """Folder of a round; both arms start with the same round 0."""
        name = "start" if number == 0 else f"{arm}-{number}"
        folder: Path = self.arguments.out / f"seed{seed}-{name}"
        return folder


def run_rounds(experiment: Experiment) -> list[dict[str, str]]:
    """Run all rounds that are not in the table; returns all rows of the table."""
    table = experiment.arguments.out / "rounds.csv"
    for seed in experiment.arguments.seeds:
        for arm in _ARMS:
            windows: list[Window] = []
            for number in range(experiment.arguments.rounds + 1):
                windows = _windows_of_round(experiment, windows, seed, arm, number)
                key = {
                    "seed": str(seed),
                    "arm": "both" if number == 0 else arm,
                    "regions": str(len(windows)),
                }
                if any(key.items() <= row.items() for row in read_rows(table)):
                    continue
                start = time.perf_counter()
                folder = experiment.folder(seed, arm, number)
                values = train_and_score(experiment, windows, folder, seed)
                _append_row(table, {**key, **values, "seconds": round(time.perf_counter() - start)})
                print(
                    f"seed {seed} {key['arm']}: {len(windows)} regions, "
                    f"object F1 {values['object_f1']:.3f}",
                    flush=True,
                )
    return read_rows(table)


def _windows_of_round(
    experiment: Experiment, before: list[Window], seed: int, arm: str, number: int
) -> list[Window]:
    """Regions of a round: those of the round before, and new ones; kept in its folder."""
    arguments, pool = experiment.arguments, experiment.slides["pool"]
    folder = experiment.folder(seed, arm, number)
    folder.mkdir(exist_ok=True)
    file = folder / "windows.json"
    if file.exists():
        return [Window(*window) for window in json.loads(file.read_text())]
    if number == 0 or arm == "random":
        rng = np.random.default_rng([seed, number])
        added = draw_windows(pool, before, arguments.per_round, arguments.size_um, rng)
    else:
        previous = experiment.folder(seed, arm, number - 1)
        proposals = choose_squares(
            previous / "pool.maps.zarr",
            pool.tiles,
            previous / "labels" / "pool.zarr",
            geometry_of(pool.tiles),
            ProposalSettings(arguments.per_round, arguments.size_um),
        )
        added = [proposal.window_px for proposal in proposals]
    windows = before + added
    file.write_text(json.dumps(windows))
    return windows


def train_and_score(
    experiment: Experiment, windows: Sequence[Window], folder: Path, seed: int
) -> dict[str, float]:
    """Train on these regions and predict pool and test slide; scores on the test slide."""
    slides, configuration = experiment.slides, experiment.configuration
    labels, glands = outline_regions(slides["pool"], windows, folder)
    shutil.rmtree(folder / "model", ignore_errors=True)
    validation = slides["validation"]
    training = TrainingSlides(
        labelled=[TrainingSlide("pool", slides["pool"].tiles, labels)],
        validation=[TrainingSlide("validation", validation.tiles, validation.truth)],
    )
    job = JobResources(gpu=0, threads=experiment.arguments.threads, code_version=1)
    settings = method_settings(configuration.model_copy(update={"seed": seed}), _METHOD)
    train(_METHOD, training, settings=settings, model=folder / "model", job=job)
    for name in ("pool", "test"):
        predict_slide(
            slides[name].tiles,
            folder / "model",
            folder / f"{name}.maps.zarr",
            slide=name,
            prediction=_PREDICTION,
            job=job,
        )
    f1, dice = _score_test_slide(experiment, folder)
    um2_per_px = geometry_of(slides["pool"].tiles).um2_per_px
    outlined_px = sum(window.height * window.width for window in windows)
    return {
        "outlined_glands": glands,
        "outlined_mm2": outlined_px * um2_per_px / 1e6,
        "object_f1": f1,
        "object_dice": dice,
    }


def _score_test_slide(experiment: Experiment, folder: Path) -> tuple[float, float]:
    """Object F1 and object Dice."""
    maps, glands = folder / "test.maps.zarr", folder / "test.glands.zarr"
    stitch(
        maps,
        glands,
        slide="test",
        parameters=split_parameters(maps, experiment.configuration.glands.to_dict()),
        code_version=1,
        job=JobSettings(experiment.arguments.threads),
    )
    store = open_store(experiment.slides["test"].truth)
    truth, weight = (np.asarray(open_array(store, name)[...]) for name in ("labels", "weight"))
    labels = np.asarray(open_array(open_store(glands), "labels")[...])
    scores = object_scores([truth], [np.where(weight > 0, labels, 0)], distances=False)
    return scores.object_f1, scores.object_dice


def read_rows(table: Path) -> list[dict[str, str]]:
    """Finished rounds."""
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _append_row(table: Path, row: dict[str, Any]) -> None:
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(
            {
                key: f"{value:.4f}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )


def report(rows: list[dict[str, str]], out: Path) -> None:
    """Print a table of both arms and the gain of the last round, and draw the curves."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    print(
        f"{'regions':>8} {'arm':>9} {'object F1, mean (sd)':>22} {'outlined glands':>16} "
        f"{'seeds':>6}"
    )
    counts = sorted({int(row["regions"]) for row in rows})
    for arm, marker in zip(_ARMS, ("o", "s"), strict=True):
        means, deviations = [], []
        for count in counts:
            group = [
                row for row in rows if int(row["regions"]) == count and row["arm"] in (arm, "both")
            ]
            f1 = np.array([float(row["object_f1"]) for row in group])
            deviation = f1.std(ddof=1) if len(f1) > 1 else 0.0
            glands = np.mean([float(row["outlined_glands"]) for row in group])
            print(
                f"{count:>8} {arm:>9} {f1.mean():>14.3f} ({deviation:.3f}) {glands:>16.1f} "
                f"{len(f1):>6}"
            )
            means.append(f1.mean())
            deviations.append(deviation)
        axes.errorbar(counts, means, deviations, marker=marker, capsize=3, label=f"{arm} regions")
    axes.set(xlabel="outlined regions", ylabel="object F1 on another slide")
    axes.legend()
    figure.savefig(out / "proposals.svg")
    _print_gain(rows, str(counts[-1]))


def _print_gain(rows: list[dict[str, str]], regions: str) -> None:
    f1: dict[str, dict[str, float]] = {arm: {} for arm in _ARMS}
    for row in rows:
        if row["regions"] == regions and row["arm"] in _ARMS:
            f1[row["arm"]][row["seed"]] = float(row["object_f1"])
    gains = [
        f1["proposed"][seed] - f1["random"][seed] for seed in f1["proposed"] if seed in f1["random"]
    ]
    if gains:
        better = sum(gain > 0 for gain in gains)
        print(
            f"at {regions} regions proposed - random: {np.mean(gains):+.3f} object F1, proposed "
            f"better in {better} of {len(gains)} seeds"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--glas", type=Path, help="folder with train/ and testA/ as PNG")
    parser.add_argument("--mosaic", type=Path, help="script that makes a slide of GlaS images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--per-round",
        type=int,
        default=2,
        help="regions at the start, and added in each round (default %(default)s)",
    )
    parser.add_argument("--size-um", type=float, default=400.0)
    parser.add_argument(
        "--side-px",
        type=int,
        default=12000,
        help="width of the synthetic pool (default %(default)s)",
    )
    parser.add_argument("--mpp-um", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50, help="per epoch (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def _configuration(arguments: argparse.Namespace) -> Configuration:
    return read_configuration(
        {
            "tiles": {
                "mpp_um": arguments.mpp_um,
                "tile_px": 128,
                "overlap_px": 32,
                "tissue_mpp_um": 16,
            },
            "network": {"width": arguments.width},
            "training": {
                "epochs": arguments.epochs,
                "warm_start_epochs": 1,
                "steps_per_epoch": arguments.steps,
                "batch": 8,
            },
        }
    )


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.glas and not arguments.mosaic:
        parser.error("--glas needs --mosaic")
    logging.basicConfig(level=logging.WARNING)
    configuration = _configuration(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    may_change = ("seeds", "rounds", "threads", "out")
    settings = {key: str(value) for key, value in vars(arguments).items() if key not in may_change}
    settings_file = arguments.out / "settings.json"
    if settings_file.exists() and json.loads(settings_file.read_text()) != settings:
        parser.error(f"{arguments.out} holds a run with other settings; name another folder")
    settings_file.write_text(json.dumps(settings))
    slides = make_slides(arguments, configuration)
    rows = run_rounds(Experiment(slides, configuration, arguments))
    report(rows, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
