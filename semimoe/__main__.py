"""`python -m semimoe`: training, prediction and scores on folders of images, without slides.

Exit status: 0 if everything that was requested was written, 2 for wrong input (one line on stderr
names it).
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_errors import SettingsError
from semimoe.presets import PRESETS

_PROTOCOLS = ("honest", "as-published")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    words : the command line without the name of the program; None: that of this process

    Returns
    -------
    int
        The exit status.
    """
    arguments = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = import_module(f"semimoe.commands.{arguments.command.replace('-', '_')}")
    try:
        _check_numbers(arguments)
        command.run(arguments)
    except (ValueError, OSError) as error:
        print(f"semimoe {arguments.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Refuse numbers that are not above 0; 0 would be taken for an option that was not given."""
    for name in ("mpp", "work_mpp", "threads", "devices", "batch"):
        value = getattr(arguments, name, None)
        if value is not None and not 0 < value < math.inf:
            raise SettingsError(f"--{name.replace('_', '-')} {value}: a number above 0 is needed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m semimoe", description="Gland segmentation with few labels (Semi-MoE)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands)
    _add_release(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_table(commands)
    _add_data_check(commands)
    _add_splits(commands)
    return parser


def _add_train(commands: Commands) -> None:
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
        help="share of all images whose masks are used; held-out images are additional",
    )
    train.add_argument(
        "--protocol",
        choices=_PROTOCOLS,
        default="honest",
        help="honest: whole patients are held out; as-published: no image is",
    )
    train.add_argument(
        "--validation",
        type=float,
        default=0.15,
        help="smallest share of images held out to choose checkpoint and threshold",
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
        help="pixel size of the network input, um; default: that of the images",
    )
    train.add_argument(
        "--resize",
        choices=("area", "square"),
        help="square: images are resized to 256 x 256, the default of the paper's presets",
    )
    train.add_argument(
        "--unlabelled-truth",
        action="store_true",
        help="read masks of unlabelled images, only for the Dice in the log",
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
        help="folder of a trained model that makes the pseudo-labels before training; "
        "default: made in every step",
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", type=Path, required=True)
    _add_device_options(train, several=True)


def _add_release(commands: Commands) -> None:
    release = commands.add_parser(
        "release",
        help="prepare a trained model for other people: half the size, with its licence",
    )
    release.add_argument("--model", type=Path, required=True)
    release.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        help="models with the same settings; their held-out images decide threshold and split",
    )
    release.add_argument("--data", type=Path, help="the images that the folds were trained on")
    release.add_argument(
        "--licence",
        required=True,
        help="terms of the data; they apply to all results and models made from it",
    )
    release.add_argument("--out", type=Path, required=True)
    _add_device_options(release)


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser("predict", help="write masks of the glands in a folder of images")
    predict.add_argument("--model", type=Path, required=True)
    predict.add_argument("--images", type=Path, required=True)
    predict.add_argument(
        "--out",
        type=Path,
        required=True,
        help="X.png per image: 0 background, 1..N glands (16 bit)",
    )
    predict.add_argument(
        "--mpp",
        type=float,
        help="pixel size of the images, um; default: that of the training images",
    )
    predict.add_argument("--batch", type=int, default=8)
    predict.add_argument(
        "--min-area-um2",
        type=float,
        default=None,
        help="smaller objects are removed; default: as in training",
    )
    _add_prediction_options(predict)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="score masks, or a model, against masks")
    evaluate.add_argument(
        "--truth", type=Path, required=True, help="masks X_anno.*, or X.* without X_anno.*"
    )
    evaluate.add_argument("--prediction", type=Path, help="X_anno.* or X.*, one per mask")
    evaluate.add_argument(
        "--model", type=Path, help="a trained model, for the images in the folder of the masks"
    )
    evaluate.add_argument(
        "--protocol",
        choices=_PROTOCOLS,
        help="honest: threshold from validation; as-published: 256 x 256, threshold from the test "
        "images",
    )
    evaluate.add_argument(
        "--mpp",
        type=float,
        help="pixel size of the images, um; default: as in training, or 0.62005 for names of GlaS",
    )
    evaluate.add_argument(
        "--min-object-um2",
        type=float,
        default=0.0,
        help="additional scores without smaller objects in truth and prediction",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    _add_prediction_options(evaluate)


def _add_table(commands: Commands) -> None:
    table = commands.add_parser(
        "table",
        help="tables of JSON results of `evaluate`, one per protocol and test part",
    )
    table.add_argument("results", type=Path, nargs="+")


def _add_data_check(commands: Commands) -> None:
    check = commands.add_parser("data-check", help="which data set a folder holds, and its faults")
    check.add_argument("folder", type=Path)
    check.add_argument("--json", action="store_true", help="print JSON")


def _add_splits(commands: Commands) -> None:
    splits = commands.add_parser(
        "splits", help="write the lists of labelled, unlabelled and validation images"
    )
    splits.add_argument("--data", type=Path, required=True)
    splits.add_argument("--out", type=Path, required=True)


def _add_prediction_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="fp32",
        help="bf16 is faster; auto: bf16 where this machine computes it natively",
    )
    parser.add_argument(
        "--flips",
        action="store_true",
        help="mean over the image and its three flips; takes four times as long",
    )
    _add_device_options(parser)


def _add_device_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    if several:
        parser.add_argument(
            "--devices", type=int, default=1, help="processes (GPUs) that share each batch"
        )


if __name__ == "__main__":
    sys.exit(main())
