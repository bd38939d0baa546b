r"""Cells of the paper's table on GlaS: trains and scores models until the deadline.

python benchmarks/gpu/2_table_cells.py --data GLAS --out OUT --recipe default --seeds 0 1
python benchmarks/gpu/2_table_cells.py --data GLAS --out OUT --recipe paper --minutes 8

One cell takes 1 to 5 minutes. A cell that the deadline stops continues in the next call with the
same folder. GlaS at half resolution (31 MB as PNG) is enough: give its pixel size, --mpp 1.2401.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

from gpu_report import GpuReport
from timed_commands import FINISHED, run_semimoe

_LISTS = Path(__file__).parents[1] / "splits" / "glas"
_PROTOCOLS = {"default": "honest", "paper": "as-published", "public-code": "as-published"}
_RECIPES = {
    "default": [
        *("--width=16", "--epochs=60", "--steps=50", "--work-mpp=1.24"),
        *("--set=training.augment=scanners", "--set=training.precision=auto"),
    ],
    "paper": ["--preset=paper", "--set=training.precision=auto"],
    "public-code": ["--preset=public-code", "--set=training.precision=auto"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=_RECIPES, default="default")
    parser.add_argument("--methods", nargs="+", default=["supervised", "semimoe"])
    parser.add_argument("--labelled", type=int, nargs="+", default=[20], help="per cent")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=8.5, help="deadline")
    parser.add_argument("options", nargs="*", help="after --: further options of the trainings")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    cells = itertools.product(arguments.labelled, arguments.seeds, arguments.methods)
    for labelled, seed, method in cells:
        if report.left_s() < 0:
            print(f"deadline: {method}, {labelled} %, seed {seed} was not begun")
            break
        report.add(run_cell(method, labelled, seed, arguments, report))
    report.finish()


def run_cell(
    method: str, labelled: int, seed: int, arguments: argparse.Namespace, report: GpuReport
) -> dict[str, object]:
    """Train and score one model."""
    protocol = _PROTOCOLS[arguments.recipe]
    model = arguments.out / f"{arguments.recipe}-{method}-{labelled}-{seed}"
    log = model.with_suffix(".log")
    common = ["--mpp", arguments.mpp, "--device", arguments.device]
    common += ["--threads", str(arguments.threads)]
    train = [
        *("train", "--data", str(arguments.data), "--out", str(model), "--method", method),
        *("--split", str(_LISTS / f"{protocol}_{labelled}_seed{seed}.csv"), "--seed", str(seed)),
        *common, *_RECIPES[arguments.recipe], *arguments.options,
    ]  # fmt: skip
    evaluate = [
        *("evaluate", "--truth", str(arguments.data / "testA"), "--model", str(model)),
        *("--protocol", protocol, *common),
    ]
    start_s = time.monotonic()
    outcome = FINISHED if (model / "model.json").exists() else run_semimoe(train, log, report)
    train_s = time.monotonic() - start_s
    scores = ""
    if outcome == FINISHED:
        outcome = run_semimoe(evaluate, log.with_suffix(".scores.log"), report)
        scores = pooled_scores(log.with_suffix(".scores.log"))
    return {
        "recipe": arguments.recipe,
        "protocol": protocol,
        "method": method,
        "labelled": f"{labelled} %",
        "seed": seed,
        "training s": round(train_s),
        "outcome": outcome,
        "pooled scores on testA": scores,
    }


def pooled_scores(log: Path) -> str:
    lines = [line for line in log.read_text().splitlines() if line.startswith("pooled")]
    return " ".join(lines[0].split()[1:7]) if lines else ""


if __name__ == "__main__":
    sys.exit(main())
