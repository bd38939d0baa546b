"""Options of `python -m semimoe train`, and those for the hardware."""

import argparse
from pathlib import Path

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.presets import PRESETS, preset
from semimoe.setting_values import PROTOCOLS


def add_train_options(train: argparse.ArgumentParser) -> None:
    """Add the options of `train`; defaults of settings are those of the workflow."""
    network, training = preset("default")
    train.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of the images: GlaS, CRAG, or images X.png with masks X_anno.png",
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
        choices=PROTOCOLS,
        default="honest",
        help="honest: the images of whole patients are held out; as-published: no image is",
    )
    train.add_argument(
        "--validation",
        type=float,
        default=0.15,
        help="smallest share of the images that is held out (protocol honest); they choose"
        " checkpoint and threshold",
    )
    train.add_argument(
        "--split",
        type=Path,
        help="list of images and roles (csv, see `splits`) instead of --labelled, --protocol and"
        " --validation; default: the list is drawn at random",
    )
    train.add_argument(
        "--mpp", type=float, help="pixel size of the images, um; default: 0.62005, that of GlaS"
    )
    train.add_argument(
        "--work-mpp",
        type=float,
        help="pixel size of the network input, um; default: that of the model of --start-from,"
        " otherwise that of the images",
    )
    train.add_argument(
        "--resize",
        choices=("area", "square"),
        help="area: by area averaging, the default; square: to 256 x 256, the default of the"
        " presets of the paper",
    )
    train.add_argument(
        "--unlabelled-truth",
        action="store_true",
        help="read masks of unlabelled images, only for the Dice in the log",
    )
    train.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default="default",
        help="settings: those of the workflow (default), of the paper's text (paper; paper-crag:"
        " for CRAG), or of its public code (public-code)",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.KEY=VALUE",
        help="any setting, network.KEY or training.KEY; give it once for each"
        " (docs/configuration.md lists keys and defaults)",
    )
    for option, kind, text, default in (
        ("--lr", float, "learning rate of experts and gates", training.lr),
        ("--width", int, "channels of the finest level of the network", network.width),
        ("--epochs", int, "length of the schedule, epochs", training.epochs),
        ("--steps", int, "steps per epoch", "one pass over the images, at most 500"),
        ("--batch", int, "labelled and unlabelled tiles per step, each", training.batch),
        ("--tile", int, "side of a training tile, px", training.tile_px),
    ):
        train.add_argument(
            option,
            type=kind,
            help=f"{text}; default: that of the preset (without --preset: {default})",
        )
    train.add_argument(
        "--start-from",
        type=Path,
        help="folder of a trained model to fine-tune, at a tenth of the learning rate",
    )
    train.add_argument(
        "--pseudo-from",
        type=Path,
        nargs="+",
        default=[],
        help="folders of trained models whose mean maps are the pseudo-labels, made before "
        "training; default: made in every step",
    )
    train.add_argument(
        "--distil",
        action="store_true",
        help="--pseudo-from labels the labelled images too: the experts learn them twice, from "
        "outlines and from pseudo-labels",
    )
    train.add_argument(
        "--seed", type=int, default=0, help="of the drawn list and of everything else random"
    )
    train.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the model to write; a stopped run continues from the folder OUT.resume"
        " (with other settings it begins again, and keeps that folder as OUT.resume.earlier)",
    )
    add_device_options(train, several=True)


def add_device_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add the options for the hardware."""
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="processor or GPU")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    if several:
        parser.add_argument(
            "--devices", type=int, default=1, help="processes (GPUs) that share each batch"
        )
