"""The table of the paper on GlaS: Semi-MoE, the same network without unlabelled images, and a plain U-Net, over seeds.

python benchmarks/glas_table.py --data GLAS --out benchmarks/out/table-cpu --recipe cpu
python benchmarks/glas_table.py --data GLAS --out benchmarks/out/table-gpu --recipe paper --protocol as-published --device gpu

Every cell is `python -m semimoe train` and `evaluate` on a test part; finished ones are kept, a killed one goes on. Ends by `table`.
Recipes: cpu, minutes a cell on two cores (a small width and an encoder that knows ImageNet: not the paper's network);
default, the same network and augmentation with a longer schedule; paper and public-code, the presets of these names.
"""

import argparse
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LISTS = Path(__file__).parent / "splits" / "glas"
_SMALL = [
    # Validated once, at the end: among a few noisy epochs, the best of sixteen images is a matter of luck.
    "--width=16", "--tile=256", "--batch=4", "--epochs=10", "--steps=50", "--work-mpp=1.24", "--set=training.validate_every=10",
    "--set=network.encoder=efficientnet-lite0", "--set=network.experts=shared", "--set=training.precision=bf16",
    "--set=training.frozen_stages=2", "--set=training.augment=scanners",
]  # fmt: skip
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
# Row: method, and what else it is given; `stored` is Semi-MoE on pseudo-labels of the finished supervised model.
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
    parser.add_argument("--threads", type=int, default=1, help="of each cell")
    parser.add_argument(
        "--jobs", type=int, default=2, help="seeds side by side (CPU), or 1 (one GPU)"
    )
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        cells = list(itertools.product(given.labelled, given.seeds))
        results = [
            path for paths in pool.map(lambda cell: column(given, *cell), cells) for path in paths
        ]
    _python(given, ["table", *map(str, results)])


def column(given: argparse.Namespace, labelled: int, seed: int) -> list[Path]:
    """All rows of one list, supervised before those that need it; gives the results of `evaluate`."""
    results = []
    for row in sorted(given.rows, key=list(_ROWS).index):
        model = given.out / f"{given.protocol}-{labelled}-seed{seed}-{row}"
        if not (model / "model.json").exists():
            split = _LISTS / f"{given.protocol}_{labelled}_seed{seed}.csv"
            extra = (
                [
                    "--pseudo-from",
                    str(given.out / f"{given.protocol}-{labelled}-seed{seed}-supervised"),
                ]
                if row == "stored"
                else []
            )
            train = [
                "train",
                "--data",
                str(given.data),
                "--method",
                _ROWS[row],
                "--split",
                str(split),
                "--seed",
                str(seed),
            ]
            _python(
                given,
                [*train, *_RECIPES[given.recipe], *extra, "--out", str(model), *_device(given)],
                log=model.with_suffix(".log"),
            )
        result = model.with_suffix(".json")
        if not result.exists():
            evaluate = [
                "evaluate",
                "--truth",
                str(given.data / given.part),
                "--model",
                str(model),
                "--protocol",
                given.protocol,
                "--json",
            ]
            text = _python(
                given, [*evaluate, *_device(given)], log=model.with_suffix(".evaluate.log")
            )
            result.write_text(text)
        results.append(result)
        print(f"{result} done", flush=True)
    return results


def _device(given: argparse.Namespace) -> list[str]:
    return ["--device", given.device, "--threads", str(given.threads)]


def _python(given: argparse.Namespace, command: list[str], log: Path | None = None) -> str:
    """Standard output of a command of the package; the rest goes to the log. With no log, both go to the terminal."""
    if log is None:
        subprocess.run([sys.executable, "-m", "semimoe", *command], check=True)
        return ""
    with log.open("a") as errors:
        done = subprocess.run(
            [sys.executable, "-m", "semimoe", *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"semimoe {command[0]} failed, see {log}")
    return done.stdout


if __name__ == "__main__":
    main()
