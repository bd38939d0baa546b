"""Trains the model in `models/glas`: five folds of whole patients, all 85 images, and its release.

python benchmarks/glas_model.py --data GLAS --out benchmarks/out/glas-model

It takes about ten hours on two CPU cores, or ten minutes with `gpu/5_model_folds.py` on a GPU.
Finished folds are kept, and an interrupted one continues. The test images are never read.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
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


_FIRST = GlasRecipe(8, 200, ("--batch=5", "--set=training.augment=scanners"))
# What recipe `average` changes beside the number of steps and tiles.
_CHANGES = {
    "ema": "--set=training.ema_decay=0.998",
    "dice+ce": "--set=training.mask_loss=dice+ce",
    "l1": "--set=training.sdf_loss=l1",
    "deform": "--set=training.augment=deform",
    "decay": "--set=training.weight_decay=0.01",
}
_AVERAGE = GlasRecipe(10, 210, ("--batch=16", *_CHANGES.values()))


def _without(change: str) -> GlasRecipe:
    """Recipe `average` with the value of recipe `first` for one of its changes."""
    options = [option for option in _AVERAGE.options if option != _CHANGES[change]]
    if change == "deform":
        options.append("--set=training.augment=scanners")
    return _AVERAGE._replace(options=tuple(options))


def _with(recipe: GlasRecipe, *options: str) -> GlasRecipe:
    """A recipe with further options; of two values of a setting the last one counts."""
    return recipe._replace(options=(*recipe.options, *options))


RECIPES = {
    "first": _FIRST,
    "average": _AVERAGE,
    # Each change of `average` alone, and `average` without it.
    "first+steps": _FIRST._replace(epochs=_AVERAGE.epochs, steps=_AVERAGE.steps),
    "first+batch+steps": _with(
        _AVERAGE._replace(options=()), "--batch=16", "--set=training.augment=scanners"
    ),
    **{f"first+{name}": _with(_FIRST, option) for name, option in _CHANGES.items()},
    **{f"average-{name}": _without(name) for name in _CHANGES},
    "average-steps": _AVERAGE._replace(epochs=_FIRST.epochs, steps=_FIRST.steps * 5 // 16),
    # Half as many tiles with 2.25 times the pixels; the model predicts tiles of this size, too.
    "crops-384": _with(_AVERAGE, "--tile=384", "--batch=8"),
    "bins": _with(_AVERAGE, "--set=network.sdf_bins=21", "--set=network.sdf_um=40"),
    "skeleton": _with(_AVERAGE, "--set=network.sdf_bins=21", "--set=network.sdf_scale=skeleton"),
    "lite2": _with(_AVERAGE, "--set=network.encoder=efficientnet-lite2"),
    # Gates that may use several experts; `expert_outputs.py` compares them with each expert.
    "gates-balance": _with(_AVERAGE, "--set=training.gate_balance=0.1"),
    "gates-pixels": _with(_AVERAGE, "--set=network.gate_pooling=none"),
    "gates-pixels-balance": _with(
        _AVERAGE, "--set=network.gate_pooling=none", "--set=training.gate_balance=0.1"
    ),
    "gates-separate": _with(_AVERAGE, "--set=network.experts=separate"),
    # Learns from outlines and from the mean maps of other models, see `teacher_options`.
    "distilled": _with(
        _AVERAGE,
        *("--method=semimoe", "--distil", "--set=training.unsup_max=1"),
        "--set=training.unsup_schedule=ramp",
    ),
}
DISTILLED = "distilled"
LICENCE = (
    "Trained on GlaS (Warwick QU), for non-commercial research only: "
    "cite Sirinukunwattana et al., Medical Image Analysis 35, 2017. "
    "First weights of the encoder: EfficientNet-Lite, Apache License 2.0, from ImageNet."
)


def training_options(recipe: GlasRecipe, model: str) -> list[str]:
    """Options of `train` for a fold, or for `all` images."""
    images, steps = ["--labelled=1", "--validation=0"], recipe.steps
    if model in FOLDS:
        images = ["--split", str(_LISTS / f"{model}of{len(FOLDS)}.csv")]
        steps = round(0.8 * steps)
    schedule = [f"--epochs={recipe.epochs}", f"--set=training.validate_every={recipe.epochs}"]
    return [*images, f"--steps={steps}", *schedule, *_COMMON, *recipe.options]


def teacher_options(model: str, teachers: Sequence[Path]) -> list[str]:
    """Models that recipe `distilled` learns from.

    A fold learns from the same fold of other seeds, which held out the same images. The model of
    all images learns from the folds.

    Parameters
    ----------
    teachers : folders with the folders of models, one for each seed
    """
    names = [model] if model in FOLDS else FOLDS
    return ["--pseudo-from", *(str(folder / name) for folder in teachers for name in names)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at the same time, with one thread each"
    )
    parser.add_argument(
        "--recipe", choices=[name for name in RECIPES if name != DISTILLED], default="average"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda model: train(arguments, model), ["all", *FOLDS]))
    release = [
        *("release", "--model", str(arguments.out / "all"), "--data", str(arguments.data)),
        *("--folds", *(str(arguments.out / fold) for fold in FOLDS)),
        *("--flips", "--licence", LICENCE, "--out", str(arguments.out / "released")),
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
