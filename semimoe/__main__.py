"""`python -m semimoe`: train, predict, evaluate and tabulate on folders of images, without slides or a workflow.

Exit status: 0 only when everything asked for was made, 2 for wrong input (one line on stderr names it).
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_errors import SettingsError
from semimoe.presets import PRESETS

_PROTOCOLS = ("honest", "as-published")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = import_module(f"semimoe.commands.{given.command.replace('-', '_')}")
    try:
        _check_numbers(given)
        command.run(given)
    except (ValueError, OSError) as error:
        print(f"semimoe {given.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _check_numbers(given: argparse.Namespace) -> None:
    """A pixel size of 0 would be taken for none, one below for a distance below 0."""
    for name in ("mpp", "work_mpp", "threads", "devices", "batch"):
        value = getattr(given, name, None)
        if value is not None and not 0 < value < math.inf:
            raise SettingsError(f"--{name.replace('_', '-')} {value}: a number above 0 is needed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m semimoe", description="Gland segmentation with few labels (Semi-MoE)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_models(commands)
    _add_scores(commands)
    _add_data(commands)
    return parser


def _add_models(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train on a folder of images")
    train.add_argument(
        "--data",
        type=Path,
        required=True,
        help="GlaS or CRAG folder, or images X.png with masks X_anno.png",
    )
    train.add_argument(
        "--method",
        choices=tuple(METHODS),
        default=MAIN_METHOD.name,
        help="; ".join(f"{name}: {method.description}" for name, method in METHODS.items()),
    )
    train.add_argument(
        "--labelled",
        type=float,
        default=1.0,
        help="share of all images whose masks are used; held-out ones come on top",
    )
    train.add_argument(
        "--protocol",
        choices=_PROTOCOLS,
        default="honest",
        help="honest: whole patients held out; as-published: nobody",
    )
    train.add_argument(
        "--validation",
        type=float,
        default=0.15,
        help="least share of images held out to choose checkpoint and threshold",
    )
    train.add_argument(
        "--split",
        type=Path,
        help="list of images and roles (csv, see `splits`) instead of the three options above",
    )
    train.add_argument(
        "--mpp", type=float, help="pixel size of the images, um; default: 0.62005, that of GlaS"
    )
    train.add_argument(
        "--work-mpp",
        type=float,
        help="pixel size that the network sees, um; default: that of the images",
    )
    train.add_argument(
        "--resize",
        choices=("area", "square"),
        help="square: the paper's squeeze to 256 x 256, default of its presets",
    )
    train.add_argument(
        "--unlabelled-truth",
        action="store_true",
        help="open masks of unlabelled images, for the log's Dice alone",
    )
    train.add_argument("--preset", choices=tuple(PRESETS), default="default")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.KEY=VALUE",
        help="any setting: network.KEY, training.KEY",
    )
    train.add_argument("--lr", type=float, help="learning rate of experts and gates")
    train.add_argument("--width", type=int, help="channels of the first U-Net level")
    train.add_argument("--epochs", type=int)
    train.add_argument("--steps", type=int, help="steps per epoch")
    train.add_argument("--batch", type=int)
    train.add_argument("--tile", type=int, help="side of a training tile, px")
    train.add_argument(
        "--start-from",
        type=Path,
        help="folder of a trained model to fine-tune, at a tenth of the learning rate",
    )
    train.add_argument(
        "--pseudo-from",
        type=Path,
        help="folder of a trained model that makes the pseudo-labels, once; default: each step its own",
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", type=Path, required=True)
    _device(train, several=True)

    release = commands.add_parser(
        "release",
        help="make of a trained model one that others can take: half the size, cross-validated, with its licence",
    )
    release.add_argument("--model", type=Path, required=True)
    release.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        help="models of the same recipe that held out images: choose threshold and split there",
    )
    release.add_argument("--data", type=Path, help="the images that the folds were trained on")
    release.add_argument(
        "--licence",
        required=True,
        help="terms of the data: goes with every result and every model made from it",
    )
    release.add_argument("--out", type=Path, required=True)
    _device(release)

    predict = commands.add_parser("predict", help="label the glands of a folder of images")
    predict.add_argument("--model", type=Path, required=True)
    predict.add_argument("--images", type=Path, required=True)
    predict.add_argument(
        "--out",
        type=Path,
        required=True,
        help="X.png per image: 0 background, 1..N glands (16 bit)",
    )
    predict.add_argument(
        "--mpp", type=float, help="pixel size of the images, um; default: as those trained on"
    )
    predict.add_argument("--batch", type=int, default=8)
    predict.add_argument(
        "--min-area-um2",
        type=float,
        default=None,
        help="smaller objects are dropped; default: as trained",
    )
    _prediction(predict)


def _add_scores(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="score masks, or a model, against masks")
    evaluate.add_argument(
        "--truth", type=Path, required=True, help="masks X_anno.*, or X.* where there is none"
    )
    evaluate.add_argument("--prediction", type=Path, help="X_anno.* or X.*, one per mask")
    evaluate.add_argument(
        "--model", type=Path, help="a trained model, for the images that lie with the masks"
    )
    evaluate.add_argument(
        "--protocol",
        choices=_PROTOCOLS,
        help="honest: threshold from validation; as-published: 256 x 256, threshold from the test images",
    )
    evaluate.add_argument(
        "--mpp",
        type=float,
        help="pixel size of the images, um; default: as trained, or 0.62005 for names of GlaS",
    )
    evaluate.add_argument(
        "--min-object-um2",
        type=float,
        default=0.0,
        help="also score without smaller objects, on both sides",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    _prediction(evaluate)

    table = commands.add_parser(
        "table",
        help="JSON results of `evaluate`, a table per protocol and test part: mean, deviation over seeds",
    )
    table.add_argument("results", type=Path, nargs="+")


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "data-check", help="which data a folder holds, and what is wrong with it"
    )
    check.add_argument("folder", type=Path)
    check.add_argument("--json", action="store_true", help="print JSON")

    splits = commands.add_parser(
        "splits", help="write the lists of labelled, unlabelled and validation images"
    )
    splits.add_argument("--data", type=Path, required=True)
    splits.add_argument("--out", type=Path, required=True)


def _prediction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="fp32",
        help="bf16 is faster; auto: where this machine computes it natively",
    )
    parser.add_argument(
        "--flips",
        action="store_true",
        help="mean over the image and its three flips, four times the work",
    )
    _device(parser)


def _device(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    if several:
        parser.add_argument(
            "--devices", type=int, default=1, help="processes (GPUs) that share every batch"
        )


if __name__ == "__main__":
    sys.exit(main())
