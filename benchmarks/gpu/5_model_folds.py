r"""Trains the folds and the final model of `models/glas` with one recipe, until the deadline.

python benchmarks/gpu/5_model_folds.py --data GLAS --out OUT --recipe average

Five folds of whole patients, and a model of all training images; several trainings at a time. No
test image is read. Finished models are kept, so that the next call with the same folder continues.
Recipe distilled also needs --teachers: the folders `released` of two or more calls with recipe
average and other seeds (`-- --seed=1`). Each model is written with kernels in half precision:
OUT/models-1.zip, ..., at most 16 MB in each. `benchmarks/separation.py` compares rules for
glands on them. With --experts, `benchmarks/expert_outputs.py` scores the gates of the folds against
their experts.
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
from expert_outputs import write_table
from glas_model import DISTILLED, FOLDS, LICENCE, RECIPES, teacher_options, training_options

_ARCHIVE_BYTES = 16_000_000
_RELEASE_S = 30.0  # a training that ends at the deadline is still released


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--models", nargs="+", default=[*FOLDS, "all"])
    parser.add_argument("--teachers", type=Path, nargs="+", help="for recipe distilled")
    parser.add_argument(
        "--experts", action="store_true", help="score gates and experts of the folds (experts.md)"
    )
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=4, help="of each training")
    parser.add_argument("--jobs", type=int, default=3, help="trainings at the same time")
    parser.add_argument("--minutes", type=float, default=8.0, help="deadline")
    parser.add_argument("options", nargs="*", help="after --: further options of the trainings")
    arguments = parser.parse_args()
    if (arguments.recipe == DISTILLED) != bool(arguments.teachers):
        parser.error("recipe distilled needs --teachers, and no other recipe takes it")
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    try:
        with ThreadPoolExecutor(arguments.jobs) as pool:
            futures = [pool.submit(add_model, name, arguments, report) for name in arguments.models]
        for future in futures:
            future.result()
        pack_models(arguments.out)
        score_experts(arguments)
    finally:
        report.finish()


def score_experts(arguments: argparse.Namespace) -> None:
    """Scores of gates and experts of the finished folds, if they are asked for."""
    folds = [arguments.out / "released" / name for name in arguments.models if name in FOLDS]
    folds = [folder for folder in folds if (folder / "model.json").exists()]
    if arguments.experts and folds:
        write_table(
            folds,
            arguments.data,
            arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            image_mpp_um=float(arguments.mpp),
        )


def add_model(name: str, arguments: argparse.Namespace, report: GpuReport) -> None:
    """Train and release one model, and report it."""
    report.add(train_and_release(name, arguments, report))


def train_and_release(
    name: str, arguments: argparse.Namespace, report: GpuReport
) -> dict[str, object]:
    """Train one model until the deadline, and write it with kernels in half precision.

    What an earlier call finished is kept.
    """
    trained, released = (arguments.out / folder / name for folder in ("trained", "released"))
    log = arguments.out / f"{name}.log"
    start_s = time.monotonic()
    train = [
        *("train", "--data", str(arguments.data), "--mpp", arguments.mpp),
        *training_options(RECIPES[arguments.recipe], name),
        *(teacher_options(name, arguments.teachers) if arguments.teachers else []),
        *("--device", arguments.device, "--threads", str(arguments.threads)),
        *("--out", str(trained), *arguments.options),
    ]
    outcome = FINISHED
    if not (trained / "model.json").exists():
        outcome = run_semimoe(train, log, report)
    train_s = time.monotonic() - start_s
    if outcome == FINISHED and not (released / "model.json").exists():
        release = ["release", "--model", str(trained), "--out", str(released)]
        outcome = run_semimoe([*release, "--licence", LICENCE], log, report, least_s=_RELEASE_S)
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
    """Archives of finished models: as many in each as `_ARCHIVE_BYTES` hold, at least one."""
    archives: list[list[Path]] = []
    free = 0
    for model in sorted(path.parent for path in out.glob("released/*/model.json")):
        files = sorted(model.iterdir())
        size = sum(path.stat().st_size for path in files)
        if not archives or size > free:
            archives.append([])
            free = _ARCHIVE_BYTES
        archives[-1] += files
        free -= size
    for number, files in enumerate(archives, start=1):
        with zipfile.ZipFile(out / f"models-{number}.zip", "w") as archive:
            for path in files:
                archive.write(path, f"{path.parent.name}/{path.name}")


if __name__ == "__main__":
    sys.exit(main())
