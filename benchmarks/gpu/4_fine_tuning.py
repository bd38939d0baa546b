r"""Both schedules of fine-tuning, on folds of whole training patients of GlaS.

python benchmarks/gpu/4_fine_tuning.py --data GLAS-HALF --mpp 1.2401 --out OUT

For each fold a model is trained on the images of the other folds, and fine-tuned on 5 images of the
fold: with the schedule that the workflow's defaults give for 5 regions (60 epochs of 105 steps),
and with a short one (10 epochs of 20 steps). All are scored on the other images of the fold, with
the threshold and split parameters of the start model, which are those of `models/glas`. No test
image is read. GlaS at half resolution (31 MB as PNG) is enough.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gpu_report import GpuReport
from timed_commands import FINISHED, run_semimoe

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_lists import (
    ListedImage,
    image_list_csv,
    images_with_role,
    read_image_list,
)
from semimoe.evaluation.protocols import ScoredImage, scores_at_own_size
from semimoe.model_card import load_card, save_card
from semimoe.model_weights import load_weights, save_model
from semimoe.prediction.image_predictor import ImagePredictor

REPO = Path(__file__).parents[2]
_LISTS = REPO / "benchmarks" / "splits" / "glas"
_START_MODEL = "start model"
_COLUMNS = {
    "pixel Dice": "dice",
    "object F1": "object_f1",
    "object Dice": "object_dice",
    "object Hausdorff px": "object_hausdorff_px",
    "object Hausdorff um": "object_hausdorff_um",
}
# Those of `models/glas`, with larger batches.
_START_RECIPE = [
    *("--width=16", "--tile=256", "--batch=16", "--epochs=8", "--steps=125"),
    *("--set=network.encoder=efficientnet-lite0", "--set=network.experts=shared"),
    "--set=training.augment=scanners",
]
SCHEDULES = {
    "short": ["--epochs=10", "--steps=20"],
    "default": ["--epochs=60", "--steps=105"],
}


class Fold:
    """Images of a fold, and its models until the deadline.

    Parameters
    ----------
    number : of the list, 1..5
    """

    def __init__(self, number: int, arguments: argparse.Namespace, report: GpuReport) -> None:
        self._number, self._arguments, self._report = number, arguments, report
        self._folder = arguments.out.absolute() / f"fold{number}"
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = read_image_list(_LISTS / f"fold{number}of5.csv")
        fold = images_with_role(rows, "validation")
        self._tuned_on, self._scored = fold[: arguments.images], fold[arguments.images :]
        self._write_list("start", [row for row in rows if row.role == "labelled"], "labelled")
        self._write_list("tuned", [row for row in rows if row.image in self._tuned_on], "labelled")
        self._common = ["--mpp", arguments.mpp, "--device", arguments.device]
        self._common += ["--threads", str(arguments.threads)]

    def run(self) -> None:
        """Train, score and report the start model, then both schedules at the same time."""
        start_s = time.monotonic()
        outcome = self._train("start", "start", _START_RECIPE)
        training_s = time.monotonic() - start_s
        if outcome != FINISHED:
            self._add(_START_MODEL, training_s, outcome)
            return
        self._take_threshold_and_split()
        with ThreadPoolExecutor() as pool:
            tasks: list[Callable[[], None]] = [
                partial(self._score, _START_MODEL, "start", training_s),
                *(partial(self._tune_and_score, name) for name in self._arguments.schedules),
            ]
            list(pool.map(lambda task: task(), tasks))

    def _tune_and_score(self, name: str) -> None:
        start_s = time.monotonic()
        options = [f"--start-from={self._folder / 'start'}", *SCHEDULES[name]]
        outcome = self._train(name, "tuned", [*options, *self._arguments.tuning_options])
        training_s = time.monotonic() - start_s
        case = f"{name} schedule, mean with the start model"
        if outcome != FINISHED:
            self._add(case, training_s, outcome)
            return
        self._write_trained_weights(name)
        self._score(case, name, training_s)
        self._score(f"{name} schedule, trained weights alone", f"{name}-alone", training_s)

    def _train(self, name: str, images: str, options: list[str]) -> str:
        model = self._folder / name
        if (model / "model.json").exists():
            return FINISHED
        command = [
            *("train", "--data", str(self._arguments.data), "--out", str(model)),
            *("--method=supervised", "--split", str(self._folder / f"{images}.csv")),
            *("--work-mpp=1.2401", "--set=training.precision=auto", *self._common, *options),
            *self._arguments.options,
        ]
        return run_semimoe(command, self._folder / f"{name}.log", self._report)

    def _score(self, case: str, name: str, training_s: float) -> None:
        predictor = ImagePredictor(
            self._folder / name,
            device=self._arguments.device,
            threads=self._arguments.threads,
            image_mpp_um=float(self._arguments.mpp),
        )
        images = []
        for file in open_dataset(self._arguments.data).training_images():
            if file.name in self._scored and file.mask is not None:
                image = read_image(file.image)
                glands = predictor.glands(predictor.maps(image), (image.shape[1], image.shape[2]))
                images.append(ScoredImage(file.name, read_labels(file.mask), glands))
        scores = scores_at_own_size(images, mpp_um=float(self._arguments.mpp))
        self._add(case, training_s, FINISHED, scores.pooled.to_json_dict())

    def _add(
        self, case: str, training_s: float, outcome: str, scores: dict[str, float] | None = None
    ) -> None:
        values = scores or {}
        self._report.add(
            {
                "fold": self._number,
                "scored images": len(self._scored),
                "model": case,
                "training s": round(training_s),
                "outcome": outcome,
                **{
                    column: round(values[key], 4) if values.get(key) is not None else ""
                    for column, key in _COLUMNS.items()
                },
            }
        )

    def _write_list(self, name: str, rows: list[ListedImage], role: str) -> None:
        listed = [row._replace(role=role) for row in rows]
        (self._folder / f"{name}.csv").write_text(image_list_csv(listed))

    def _take_threshold_and_split(self) -> None:
        """The start model gets the threshold and split parameters of `models/glas`."""
        released = load_card(REPO / "models" / "glas")
        start = self._folder / "start"
        chosen = {"threshold": released.threshold, "split": released.split}
        save_card(start, load_card(start).model_copy(update=chosen))

    def _write_trained_weights(self, name: str) -> None:
        """The model without the mean: its weights before they were averaged."""
        start, tuned = self._folder / "start", self._folder / name
        card = load_card(tuned)
        share = float(card.start_share or 0)
        first, _ = load_weights(start, load_card(start))
        mean, metadata = load_weights(tuned, card)
        trained = {
            key: (value - share * first[key].to(value)) / (1 - share)
            if value.is_floating_point()
            else value
            for key, value in mean.items()
        }
        save_model(self._folder / f"{name}-alone", trained, metadata, card)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=5, help="images of a fold to fine-tune on")
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--together", type=int, default=1, help="folds at the same time")
    parser.add_argument("--minutes", type=float, default=4, help="deadline")
    parser.add_argument(
        "--tuning-options", nargs="*", default=[], help="further options of the fine-tuning"
    )
    parser.add_argument("options", nargs="*", help="after --: further options of all trainings")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)

    def run_fold(number: int) -> None:
        if report.left_s() < 0:
            print(f"deadline: fold {number} was not begun")
        else:
            Fold(number, arguments, report).run()

    try:
        with ThreadPoolExecutor(arguments.together) as pool:
            list(pool.map(run_fold, arguments.folds))
    finally:
        report.finish()


if __name__ == "__main__":
    sys.exit(main())
