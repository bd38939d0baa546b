r"""Trains the folds and the final model of `models/glas` with one recipe, until the deadline.

python benchmarks/gpu/5_model_folds.py --data GLAS --out OUT --recipe average

Five folds of whole patients, and a model of all training images; several trainings at a time. No
test image is read. Each model is written with kernels in half precision: OUT/models-1.zip, ...,
two models in each (16 MB). `benchmarks/separation.py` compares rules for glands on them.
GlaS at half resolution (31 MB as PNG) is enough: give its pixel size, --mpp 1.2401.
"""

import argparse
import json
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpu_report import GpuReport
from timed_commands import FINISHED, run_semimoe

sys.path.insert(0, str(Path(__file__).parents[1]))
from glas_model import FOLDS, LICENCE, RECIPES, training_options

_MODELS_PER_ARCHIVE = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--models", nargs="+", default=[*FOLDS, "all"])
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=4, help="of each training")
    parser.add_argument("--jobs", type=int, default=3, help="trainings at the same time")
    parser.add_argument("--minutes", type=float, default=8.0, help="deadline")
    parser.add_argument("options", nargs="*", help="after --: further options of the trainings")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        futures = [
            pool.submit(train_and_release, name, arguments, report) for name in arguments.models
        ]
        for future in futures:
            report.add(future.result())
    pack_models(arguments.out)
    report.finish()


def train_and_release(
    name: str, arguments: argparse.Namespace, report: GpuReport
) -> dict[str, object]:
    """Train one model until the deadline, and write it with kernels in half precision."""
    trained, released = (arguments.out / folder / name for folder in ("trained", "released"))
    log = arguments.out / f"{name}.log"
    start_s = time.monotonic()
    train = [
        *("train", "--data", str(arguments.data), "--mpp", arguments.mpp),
        *training_options(RECIPES[arguments.recipe], name),
        *("--device", arguments.device, "--threads", str(arguments.threads)),
        *("--out", str(trained), *arguments.options),
    ]
    outcome = run_semimoe(train, log, report)
    train_s = time.monotonic() - start_s
    if outcome == FINISHED:
        release = ["release", "--model", str(trained), "--out", str(released)]
        outcome = run_semimoe([*release, "--licence", LICENCE], log, report)
    scores: dict[str, float] = {}
    if outcome == FINISHED:
        scores = json.loads((released / "model.json").read_text())["validation"]
    return {
        "recipe": arguments.recipe,
        "model": name,
        "seconds": round(train_s),
        "outcome": outcome,
        "scores on the held-out images, which also chose the threshold": " ".join(
            f"{key} {value:.4f}" for key, value in scores.items()
        ),
    }


def pack_models(out: Path) -> None:
    """Archives of at most `_MODELS_PER_ARCHIVE` finished models each."""
    models = sorted(path.parent for path in out.glob("released/*/model.json"))
    for number, first in enumerate(range(0, len(models), _MODELS_PER_ARCHIVE), start=1):
        with zipfile.ZipFile(out / f"models-{number}.zip", "w") as archive:
            for model in models[first : first + _MODELS_PER_ARCHIVE]:
                for path in sorted(model.iterdir()):
                    archive.write(path, f"{model.name}/{path.name}")


if __name__ == "__main__":
    sys.exit(main())
