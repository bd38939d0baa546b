r"""Cells of the table of methods on GlaS, until the deadline; a further call continues.

python benchmarks/gpu/2_table_cells.py --data GLAS --out OUT --recipe default --seeds 0 1
python benchmarks/gpu/2_table_cells.py --data GLAS --out OUT --recipe paper -- --jobs 2

The most informative cells come first: supervised-only, Mean Teacher, CPS and Semi-MoE, with 20 % of
the labels and then with 10 %. One cell takes 1 to 5 minutes. GlaS at half resolution (31 MB as PNG)
is enough: give its pixel size, --mpp 1.2401.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

from gpu_report import GpuReport
from timed_commands import run_semimoe

from semimoe.benchmark.table_recipes import TABLE_RECIPES

_HONEST = ("quick", "cpu", "default")
_SHOWN = ("row", "labelled_share", "seed", "dice", "jaccard", "object_f1", "object_dice",
          "training_s", "hardware")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=TABLE_RECIPES, default="default")
    parser.add_argument(
        "--methods", nargs="+", default=["supervised", "mean-teacher", "cps", "semimoe"]
    )
    parser.add_argument("--labelled", nargs="+", default=["0.2", "0.1"])
    parser.add_argument("--seeds", nargs="+", default=["0"])
    parser.add_argument("--mpp", default="0.62005", help="pixel size of the images, um")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--threads", default="8")
    parser.add_argument("--minutes", type=float, default=8.5, help="deadline")
    parser.add_argument("options", nargs="*", help="after --: further options of `table`")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    protocol = "honest" if arguments.recipe in _HONEST else "as-published"
    out = arguments.out / f"table-{arguments.recipe}"
    command = [
        *("table", "--data", str(arguments.data), "--out", str(out)),
        *("--recipe", arguments.recipe, "--protocol", protocol, "--mpp", arguments.mpp),
        *("--methods", *arguments.methods, "--labelled", *arguments.labelled),
        *("--seeds", *arguments.seeds, "--device", arguments.device),
        *("--threads", arguments.threads, *arguments.options),
    ]
    start_s = time.monotonic()
    outcome = run_semimoe(command, arguments.out / f"table-{arguments.recipe}.log", report)
    print(f"{outcome} after {time.monotonic() - start_s:.0f} s")
    table = out / "table.csv"
    if table.exists():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                report.add({name: row[name] for name in _SHOWN})
    report.finish()


if __name__ == "__main__":
    sys.exit(main())
