"""Options of `python -m semimoe table`."""

import argparse
from pathlib import Path

from semimoe.benchmark.table_recipes import TABLE_RECIPES
from semimoe.benchmark.table_rows import ALL, METHOD_ROWS, VARIANT_GROUPS, VARIANT_ROWS
from semimoe.setting_values import PROTOCOLS
from semimoe.train_options import add_device_options

_VARIANTS = "; ".join(
    f"{group}: {text} ("
    + ", ".join(row.name for row in VARIANT_ROWS.values() if row.group == group)
    + ")"
    for group, text in VARIANT_GROUPS.items()
)
_RECIPES = "; ".join(f"{name}: {recipe.description}" for name, recipe in TABLE_RECIPES.items())


def add_table_options(table: argparse.ArgumentParser) -> None:
    """Add the options of `table`."""
    table.add_argument(
        "results",
        type=Path,
        nargs="*",
        help="results of `evaluate --json` to print side by side; without them, the cells of a"
        " table are trained and scored (--data, --out)",
    )
    table.add_argument(
        "--data", type=Path, help="folder with train/ and a test part: GlaS, CRAG or own images"
    )
    table.add_argument(
        "--out", type=Path, help="folder of cells, lists and tables; finished cells are kept"
    )
    table.add_argument(
        "--methods",
        nargs="+",
        default=[ALL],
        metavar="METHOD",
        help=f"rows: {', '.join((*METHOD_ROWS, ALL))}",
    )
    table.add_argument(
        "--variants",
        nargs="+",
        default=[],
        metavar="VARIANT",
        help=f"rows of Semi-MoE with other settings, by name or group. {_VARIANTS}",
    )
    table.add_argument(
        "--labelled",
        type=float,
        nargs="+",
        default=[0.1, 0.2],
        help="shares of all images whose masks are used",
    )
    table.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="of the lists of labelled images, and of everything else that is random",
    )
    table.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="honest",
        help="how images are divided and how test scores are made",
    )
    table.add_argument(
        "--recipe",
        choices=tuple(TABLE_RECIPES),
        help=f"what all rows have in common; default: quick on a CPU, default on a GPU. {_RECIPES}",
    )
    table.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.KEY=VALUE",
        help="any setting of all rows, network.KEY or training.KEY; give it once for each",
    )
    table.add_argument(
        "--parts",
        nargs="+",
        metavar="PART",
        help="test parts (folders of --data) that are scored; default: the first of testA, test and"
        " valid that is there",
    )
    table.add_argument(
        "--mpp", type=float, help="pixel size of the images, um; default: 0.62005, that of GlaS"
    )
    table.add_argument(
        "--flips",
        action="store_true",
        help="scores of the mean over an image and its three flips, for all rows",
    )
    table.add_argument(
        "--pictures",
        nargs="+",
        default=[],
        metavar="IMAGE",
        help="test images of the first part to draw for all rows, with their errors; one picture"
        " for each share of labelled images, of the lowest seed",
    )
    table.add_argument(
        "--jobs",
        type=int,
        help="cells side by side; default: as many as cores and memory allow, or one per GPU",
    )
    table.add_argument(
        "-n",
        "--list",
        action="store_true",
        help="only print which cells would run, and about how long, as far as finished cells or"
        " --measure-times tell",
    )
    table.add_argument(
        "--measure-times",
        action="store_true",
        help="with --list: first take three training steps of each row whose time is not known;"
        " seconds for each, at the present load of the machine; kept in --out",
    )
    add_device_options(table)
