r"""The paper's table on GlaS: Semi-MoE and its baselines, over seeds.

python benchmarks/glas_table.py --data GLAS --out benchmarks/out/table-cpu --recipe cpu
python benchmarks/glas_table.py --data GLAS --out benchmarks/out/table-gpu --recipe paper \
    --protocol as-published --device gpu

The baselines are the same network without unlabelled images, and a plain U-Net. Each value is made
by `python -m semimoe train` and `evaluate` on a test part; finished ones are kept, and an
interrupted training continues. At the end the table is printed.

Recipes: cpu, minutes for each training on two cores (a small width and an encoder pretrained on
ImageNet: not the paper's network); default, the same network and augmentation with a longer
schedule; paper and public-code, the presets of these names.
"""

import argparse
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LISTS = Path(__file__).parent / "splits" / "glas"
_SMALL = [
    # Validated once, at the end: with sixteen images, the best of a few epochs is found by chance.
    *("--width=16", "--tile=256", "--batch=4", "--epochs=10", "--steps=50", "--work-mpp=1.24"),
    *("--set=training.validate_every=10", "--set=training.precision=bf16"),
    *("--set=network.encoder=efficientnet-lite0", "--set=network.experts=shared"),
    *("--set=training.frozen_stages=2", "--set=training.augment=scanners"),
]
_RECIPES = {
    "cpu": _SMALL,
    # The network of the workflow's default, with the augmentation of the shipped model.
    "default": [
        "--width=16",
        "--epochs=60",
        "--steps=50",
        "--work-mpp=1.24",
        "--set=training.precision=bf16",
        "--set=network.encoder=efficientnet-lite0",
        "--set=network.experts=shared",
        "--set=training.augment=scanners",
    ],
    "paper": ["--preset=paper", "--set=training.precision=bf16"],
    "public-code": ["--preset=public-code", "--set=training.precision=bf16"],
}
# Row -> method; `stored` is Semi-MoE with pseudo-labels of the finished supervised model.
_ROWS = {"unet": "unet", "supervised": "supervised", "semimoe": "semimoe", "stored": "semimoe"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=_RECIPES, default="cpu")
    parser.add_argument("--protocol", choices=("honest", "as-published"), default="honest")
    parser.add_argument("--rows", nargs="+", choices=_ROWS, default=list(_ROWS))
    parser.add_argument(
        "--labelled", nargs="+", type=int, choices=(10, 20), default=[20], help="per cent"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--part", default="testA")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at the same time; 1 for one GPU"
    )
    arguments = parser.parse_args()
    part = arguments.data / arguments.part
    if not part.is_dir():
        sys.exit(f"--data {arguments.data}: no folder {part}; docs/glas.md has the layout")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        lists = list(itertools.product(arguments.labelled, arguments.seeds))
        results = []
        for paths in pool.map(lambda one: run_list(arguments, *one), lists):
            results += paths
    _run_command(["table", *map(str, results)])


def run_list(arguments: argparse.Namespace, labelled: int, seed: int) -> list[Path]:
    """Train and evaluate all rows with one list; returns the files of the results.

    The supervised row comes before the rows that need its model.
    """
    results = []
    name = f"{arguments.protocol}-{labelled}-seed{seed}"
    split = _LISTS / f"{arguments.protocol}_{labelled}_seed{seed}.csv"
    for row in sorted(arguments.rows, key=list(_ROWS).index):
        model = arguments.out / f"{name}-{row}"
        if not (model / "model.json").exists():
            teacher = arguments.out / f"{name}-supervised" if row == "stored" else None
            _train(arguments, row, split, seed, model, teacher)
        result = model.with_suffix(".json")
        if not result.exists():
            result.write_text(_evaluate(arguments, model))
        results.append(result)
        print(f"{result} done", flush=True)
    return results


def _train(
    arguments: argparse.Namespace,
    row: str,
    split: Path,
    seed: int,
    model: Path,
    teacher: Path | None,
) -> None:
    command = ["train", f"--data={arguments.data}", f"--method={_ROWS[row]}", f"--split={split}"]
    command += [f"--seed={seed}", *_RECIPES[arguments.recipe], f"--out={model}"]
    if teacher is not None:
        command.append(f"--pseudo-from={teacher}")
    _run_command([*command, *_device_options(arguments)], log=model.with_suffix(".log"))


def _evaluate(arguments: argparse.Namespace, model: Path) -> str:
    command = ["evaluate", f"--truth={arguments.data / arguments.part}", f"--model={model}"]
    command += [
        f"--protocol={arguments.protocol}",
        "--json",
        "--precision=fp32",
        *_device_options(arguments),
    ]
    return _run_command(command, log=model.with_suffix(".evaluate.log"))


def _device_options(arguments: argparse.Namespace) -> list[str]:
    return ["--device", arguments.device, "--threads", str(arguments.threads)]


def _run_command(command: list[str], log: Path | None = None) -> str:
    """Run a command of the package; returns its standard output.

    Its messages go to the log. Without a log, everything goes to the terminal, and the result is
    empty.
    """
    if log is None:
        subprocess.run([sys.executable, "-m", "semimoe", *command], check=True)
        return ""
    with log.open("a") as messages:
        process = subprocess.run(
            [sys.executable, "-m", "semimoe", *command],
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            check=False,
        )
    if process.returncode:
        raise SystemExit(f"semimoe {command[0]} failed, see {log}")
    return process.stdout


if __name__ == "__main__":
    main()
