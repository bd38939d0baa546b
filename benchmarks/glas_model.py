"""Trains the model in `models/glas`: five folds of whole patients, all 85 images, and its release.

python benchmarks/glas_model.py --data GLAS --out benchmarks/out/glas-model

It takes about ten hours on two CPU cores, or ten minutes with `gpu/5_model_folds.py` on a GPU.
Finished folds are kept, and an interrupted one continues. The test images are never read.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

_LISTS = Path(__file__).parent / "splits" / "glas"
FOLDS = [f"fold{number}" for number in range(1, 6)]
_COMMON = [
    *("--method=supervised", "--seed=0", "--width=16", "--tile=256", "--work-mpp=1.24"),
    *("--set=network.encoder=efficientnet-lite0", "--set=network.experts=shared"),
    "--set=training.precision=bf16",
]


class GlasRecipe(NamedTuple):
    """How the model is trained.

    Attributes
    ----------
    epochs : the last one is taken: the run on all images has no validation images to choose one
    steps : of an epoch with all 85 images; a fold has as many passes over its 68 images
    options : of `python -m semimoe train`
    """

    epochs: int
    steps: int
    options: tuple[str, ...]


_AVERAGE = GlasRecipe(
    10,
    210,
    (
        *("--batch=16", "--set=training.augment=deform", "--set=training.ema_decay=0.998"),
        *("--set=training.mask_loss=dice+ce", "--set=training.sdf_loss=l1"),
        "--set=training.weight_decay=0.01",
    ),
)
RECIPES = {
    "first": GlasRecipe(8, 200, ("--batch=5", "--set=training.augment=scanners")),
    "average": _AVERAGE,
    "bins": _AVERAGE._replace(
        options=(*_AVERAGE.options, "--set=network.sdf_bins=21", "--set=network.sdf_um=40")
    ),
    "skeleton": _AVERAGE._replace(
        options=(
            *_AVERAGE.options,
            *("--set=network.sdf_bins=21", "--set=network.sdf_scale=skeleton"),
        )
    ),
}
LICENCE = (
    "Trained on GlaS (Warwick QU), for non-commercial research only: "
    "cite Sirinukunwattana et al., Medical Image Analysis 35, 2017. "
    "First weights of the encoder: EfficientNet-Lite0, Apache License 2.0, from ImageNet."
)


def training_options(recipe: GlasRecipe, model: str) -> list[str]:
    """Options of `train` for a fold, or for `all` images."""
    images, steps = ["--labelled=1", "--validation=0"], recipe.steps
    if model in FOLDS:
        images = ["--split", str(_LISTS / f"{model}of{len(FOLDS)}.csv")]
        steps = round(0.8 * steps)
    schedule = [f"--epochs={recipe.epochs}", f"--set=training.validate_every={recipe.epochs}"]
    return [*images, f"--steps={steps}", *schedule, *_COMMON, *recipe.options]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at the same time, with one thread each"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="average")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda model: train(arguments, model), ["all", *FOLDS]))
    release = [
        *("release", "--model", str(arguments.out / "all"), "--data", str(arguments.data)),
        *("--folds", *(str(arguments.out / fold) for fold in FOLDS)),
        *("--licence", LICENCE, "--out", str(arguments.out / "released")),
    ]
    subprocess.run([sys.executable, "-m", "semimoe", *release], check=True)


def train(arguments: argparse.Namespace, model: str) -> None:
    """Train one model, unless it is finished."""
    folder = arguments.out / model
    if (folder / "model.json").exists():
        return
    command = [
        *("train", "--data", str(arguments.data), "--out", str(folder)),
        *training_options(RECIPES[arguments.recipe], model),
    ]
    with folder.with_suffix(".log").open("a") as log:
        if subprocess.run(
            [sys.executable, "-m", "semimoe", *command], stdout=log, stderr=log, check=False
        ).returncode:
            raise SystemExit(f"{model} failed, see {log.name}")
    print(f"{folder} done", flush=True)


if __name__ == "__main__":
    main()
