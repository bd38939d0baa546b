"""Trains the model in `models/glas`: five folds of whole patients, all 85 images, and its release.

python benchmarks/glas_model.py --data GLAS --out benchmarks/out/glas-model

It takes about three hours on two CPU cores. Finished folds are kept, and an interrupted one
continues. The test images are never read.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LISTS = Path(__file__).parent / "splits" / "glas"
_FOLDS = 5
_STEPS, _FOLD_STEPS = 200, 160  # of an epoch: as many passes over 68 images as over 85
_RECIPE = [
    *("--method=supervised", "--seed=0", "--width=16", "--tile=256", "--batch=5", "--epochs=8"),
    *("--work-mpp=1.24", "--set=network.encoder=efficientnet-lite0"),
    *("--set=network.experts=shared", "--set=training.augment=scanners"),
    "--set=training.precision=bf16",
    # The last epoch is taken: the run on all images has no validation images to choose one.
    "--set=training.validate_every=8",
]
_LICENCE = (
    "Trained on GlaS (Warwick QU), for non-commercial research only: "
    "cite Sirinukunwattana et al., Medical Image Analysis 35, 2017. "
    "First weights of the encoder: EfficientNet-Lite0, Apache License 2.0, from ImageNet."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at the same time, with one thread each"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    all_images = arguments.out / "all"
    folds = [arguments.out / f"fold{number}" for number in range(1, _FOLDS + 1)]
    options = {
        fold: ["--split", str(_LISTS / f"{fold.name}of{_FOLDS}.csv"), f"--steps={_FOLD_STEPS}"]
        for fold in folds
    }
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(
            pool.map(
                lambda item: train(arguments, *item),
                [
                    (all_images, ["--labelled=1", "--validation=0", f"--steps={_STEPS}"]),
                    *options.items(),
                ],
            )
        )
    release = [
        "release",
        "--model",
        str(all_images),
        "--folds",
        *map(str, folds),
        "--data",
        str(arguments.data),
        "--licence",
        _LICENCE,
    ]
    subprocess.run(
        [sys.executable, "-m", "semimoe", *release, "--out", str(arguments.out / "released")],
        check=True,
    )


def train(arguments: argparse.Namespace, model: Path, images: list[str]) -> None:
    """Train one model, unless it is finished."""
    if (model / "model.json").exists():
        return
    command = ["train", "--data", str(arguments.data), *images, *_RECIPE, "--out", str(model)]
    with model.with_suffix(".log").open("a") as log:
        if subprocess.run(
            [sys.executable, "-m", "semimoe", *command], stdout=log, stderr=log, check=False
        ).returncode:
            raise SystemExit(f"{model.name} failed, see {log.name}")
    print(f"{model} done", flush=True)


if __name__ == "__main__":
    main()
