"""`python -m semimoe`: train, predict, evaluate and tabulate on folders of images, without slides or a workflow.

Exit status: 0 only when everything asked for was made, 2 for wrong input (one line on stderr names it).
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from semimoe.training import METHODS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    from semimoe import commands

    try:
        getattr(commands, given.command)(given)
    except (ValueError, OSError) as error:
        print(f"semimoe {given.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m semimoe", description="Gland segmentation with few labels (Semi-MoE).")
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="train on a folder of images")
    train.add_argument("--data", type=Path, required=True, help="GlaS folder, or images X.png with masks X_anno.png")
    train.add_argument("--method", choices=METHODS, default="semimoe")
    train.add_argument("--labelled", type=float, default=1.0, help="share of images whose masks are used")
    train.add_argument("--validation", type=float, default=0.2, help="share of images held out to choose checkpoint and threshold")
    train.add_argument("--mpp", type=float, default=0.62005, help="pixel size of the images, um (GlaS: 0.62005)")
    train.add_argument("--work-mpp", type=float, help="pixel size that the network sees, um; default: that of the images")
    train.add_argument("--resize", choices=("area", "square"), help="square: the paper's squeeze to 256 x 256, default of its presets")
    train.add_argument("--unlabelled-truth", action="store_true", help="open masks of unlabelled images, for the log's Dice alone")
    train.add_argument("--preset", choices=("default", "paper", "public-code"), default="default")
    train.add_argument("--set", action="append", default=[], metavar="GROUP.KEY=VALUE", help="any setting: network.KEY, training.KEY")
    train.add_argument("--lr", type=float, help="learning rate of experts and gates")
    train.add_argument("--width", type=int, help="channels of the first U-Net level")
    train.add_argument("--epochs", type=int)
    train.add_argument("--steps", type=int, help="steps per epoch")
    train.add_argument("--batch", type=int)
    train.add_argument("--tile", type=int, help="side of a training tile, px")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--out", type=Path, required=True)
    _device(train)

    predict = commands.add_parser("predict", help="label the glands of a folder of images")
    predict.add_argument("--model", type=Path, required=True)
    predict.add_argument("--images", type=Path, required=True)
    predict.add_argument("--out", type=Path, required=True, help="X.png per image: 0 background, 1..N glands (16 bit)")
    predict.add_argument("--mpp", type=float, help="pixel size of the images, um; default: as those trained on")
    predict.add_argument("--batch", type=int, default=8)
    predict.add_argument("--min-area-um2", type=float, default=None, help="smaller objects are dropped; default: as trained")
    _device(predict)

    evaluate = commands.add_parser("evaluate", help="score predictions against masks")
    evaluate.add_argument("--truth", type=Path, required=True, help="masks X_anno.*, or X.* where there is none")
    evaluate.add_argument("--prediction", type=Path, required=True, help="X.*, one per mask")
    evaluate.add_argument("--mpp", type=float, default=1.0, help="pixel size, um, for the Hausdorff distance")
    evaluate.add_argument("--json", action="store_true", help="print JSON")

    table = commands.add_parser("table", help="one table from several JSON results of `evaluate`")
    table.add_argument("results", type=Path, nargs="+")
    return parser


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)


if __name__ == "__main__":
    sys.exit(main())
