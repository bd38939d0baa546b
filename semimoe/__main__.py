"""`python -m semimoe`: training, prediction and scores on folders of images, without slides.

Exit status: 0 if everything that was requested was written, 1 if a cell of a table failed, 2 for
wrong input (one line on stderr names it), 130 after Ctrl-C.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

from semimoe.model_errors import SettingsError
from semimoe.setting_types import FLIPS_CHOICES
from semimoe.setting_values import (
    LARGEST_AREA_UM2,
    LARGEST_MPP_UM,
    MIN_HOLE_UM2,
    MOST_SEED,
    MOST_TILES_AT_ONCE,
    PROTOCOLS,
)
from semimoe.settings import PREDICTION_BATCH
from semimoe.table_options import add_table_options
from semimoe.train_options import add_device_options, add_train_options
from tiling.raster.option_help import Commands, OneLineParser, add_command
from tiling.raster.split_parameters import SplitRule

_MOST = {
    "mpp": LARGEST_MPP_UM,
    "work_mpp": LARGEST_MPP_UM,
    "threads": 1024,
    "jobs": 1024,
    "devices": 1024,
    "batch": MOST_TILES_AT_ONCE,
}

_CONTINUED = ("train", "table")  # commands that keep what they have finished
_INTERRUPTED = 130  # exit status after Ctrl-C, as of a shell


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
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        remedy = "; the same command continues" if arguments.command in _CONTINUED else ""
        print(f"\nsemimoe {arguments.command}: stopped{remedy}", file=sys.stderr)
        return _INTERRUPTED


def run_command(words: Sequence[str]) -> int:
    """Run one command for another program, as `main` does; Ctrl-C ends that program too.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C.
    """
    return _run(_parser().parse_args(words))


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = import_module(f"semimoe.commands.{arguments.command.replace('-', '_')}")
    try:
        _check_numbers(arguments)
        status: int | None = command.run(arguments)
    except (ValueError, OSError) as error:
        print(f"semimoe {arguments.command}: {_one_line(error)}", file=sys.stderr)
        return 2
    return status or 0


def _one_line(error: Exception) -> str:
    """The message of an error; for a file, its name and what is wrong with it."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return " ".join(str(error).split())


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Refuse numbers outside their range; 0 would be taken for an option that was not given."""
    for name, most in _MOST.items():
        value = getattr(arguments, name, None)
        if value is not None and not 0 < value <= most:
            raise SettingsError(
                f"--{name.replace('_', '-')} {value}: a number above 0 is needed, at most {most}"
            )
    area = int(LARGEST_AREA_UM2)
    for name, most in (("seed", MOST_SEED), ("min_area_um2", area), ("min_hole_um2", area)):
        value = getattr(arguments, name, None)
        if value is not None and not 0 <= value <= most:
            raise SettingsError(
                f"--{name.replace('_', '-')} {value}: a number from 0 to {most} is needed"
            )


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog="python -m semimoe", description="Gland segmentation with few labels (Semi-MoE)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_train_options(add_command(commands, "train", "train on a folder of images"))
    _add_release(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    table = add_command(
        commands,
        "table",
        "train and score the methods of a table on one data set, or print results of `evaluate`",
    )
    add_table_options(table)
    _add_data_check(commands)
    _add_splits(commands)
    return parser


def _add_release(commands: Commands) -> None:
    release = add_command(
        commands,
        "release",
        "prepare a trained model for other people: half the size, with its licence",
    )
    release.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    release.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        help="folders of models with the same settings; their held-out images decide threshold and"
        " split parameters",
    )
    release.add_argument(
        "--data", type=Path, help="folder of the images that the folds were trained on"
    )
    release.add_argument(
        "--split-rule",
        choices=get_args(SplitRule),
        help="with --folds: how touching glands are separated; default: as in training",
    )
    release.add_argument(
        "--flips",
        action="store_true",
        help="with --folds: threshold and split parameters are also chosen on means over four"
        " flips, for predictions with flips",
    )
    release.add_argument(
        "--licence",
        required=True,
        help="terms of the data; they apply to all results and models made from it",
    )
    release.add_argument("--out", type=Path, required=True, help="folder of the model to write")
    add_device_options(release)


def _add_predict(commands: Commands) -> None:
    predict = add_command(commands, "predict", "write masks of the glands in a folder of images")
    predict.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    predict.add_argument("--images", type=Path, required=True, help="folder of images")
    predict.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder to write: X.png per image X, 0 background, 1..N glands (16 bit);"
        " overlays/X.png, its outlines",
    )
    predict.add_argument(
        "--overwrite", action="store_true", help="replace masks that are in --out already"
    )
    predict.add_argument(
        "--mpp",
        type=float,
        help="pixel size of the images, um; default: that of the training images",
    )
    predict.add_argument(
        "--batch", type=int, default=PREDICTION_BATCH, help="tiles per forward pass"
    )
    predict.add_argument(
        "--min-area-um2",
        type=float,
        default=None,
        help="smaller objects are removed, um2; default: as in training",
    )
    predict.add_argument(
        "--min-hole-um2",
        type=float,
        default=MIN_HOLE_UM2,
        help="smaller holes in glands are filled, um2; 0: none",
    )
    _add_prediction_options(predict)


def _add_evaluate(commands: Commands) -> None:
    evaluate = add_command(commands, "evaluate", "score masks, or a model, against masks")
    evaluate.add_argument(
        "--truth",
        type=Path,
        required=True,
        help="folder of the true masks: X_anno.*, or X.* if there is no X_anno.*",
    )
    evaluate.add_argument(
        "--prediction",
        type=Path,
        help="folder of the predicted masks, X_anno.* or X.* for each true mask; give this or"
        " --model",
    )
    evaluate.add_argument(
        "--model", type=Path, help="folder of a trained model, which predicts the images in --truth"
    )
    evaluate.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="honest: threshold of the model, scores at the size of the images; as-published:"
        " threshold with the best score on these images, scores at 256 x 256; default for a model:"
        " honest",
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
        help="also scores without smaller objects in truth and prediction, um2; 0: none",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON, which `table` reads")
    _add_prediction_options(evaluate)


def _add_data_check(commands: Commands) -> None:
    check = add_command(commands, "data-check", "which data set a folder holds, and its faults")
    check.add_argument("folder", type=Path, help="folder of GlaS, CRAG, or images with masks")
    check.add_argument("--json", action="store_true", help="print JSON")


def _add_splits(commands: Commands) -> None:
    splits = add_command(
        commands, "splits", "write the lists of labelled, unlabelled and validation images"
    )
    splits.add_argument(
        "--data", type=Path, required=True, help="folder of the images, see `train --help`"
    )
    splits.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder to write: a csv for each protocol, share (20, 10 %%) and seed (0 to 2), five"
        " folds of whole patients, and their numbers of images in lists.json",
    )


def _add_prediction_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="fp32: equal on all machines except for rounding; bf16 is faster; auto: bf16 where"
        " this machine computes it natively",
    )
    parser.add_argument(
        "--flips",
        nargs="?",
        const="on",
        choices=FLIPS_CHOICES,
        default="auto",
        help="on: mean over the image and its three flips, four times as long; auto: if the model"
        " has a threshold for such means",
    )
    add_device_options(parser)


if __name__ == "__main__":
    sys.exit(main())
