"""Settings and working resolution of `train`, from its options."""

import argparse
import logging

from semimoe.datasets.image_dataset import GLAS_MPP_UM, ImageDataset, has_glas_sizes
from semimoe.datasets.image_files import image_size
from semimoe.datasets.image_resolution import (
    SQUARE_PX,
    Resolution,
    isotropic_resolution,
    square_resolution,
)
from semimoe.fine_tuning import inherited_settings
from semimoe.model_card import load_card
from semimoe.model_errors import SettingsError
from semimoe.presets import preset
from semimoe.setting_overrides import overridden
from semimoe.settings import NetworkSettings, TrainingSettings

log = logging.getLogger(__name__)


def network_and_training_settings(
    arguments: argparse.Namespace,
) -> tuple[NetworkSettings, TrainingSettings]:
    """Settings of the preset, changed by the short options and then by `--set`.

    With `--start-from` the network is that of the model to start from; so are the settings of
    training that fine-tuning takes from a model.
    """
    network, training = preset(arguments.preset)
    if arguments.start_from is not None:
        card = load_card(arguments.start_from)
        network = card.network
        training = training.model_copy(update=inherited_settings(card.training))
    short_options = {
        "network.width": arguments.width,
        "training.lr": arguments.lr,
        "training.epochs": arguments.epochs,
        "training.steps_per_epoch": arguments.steps,
        "training.batch": arguments.batch,
        "training.tile_px": arguments.tile,
    }
    overrides = [f"{name}={value}" for name, value in short_options.items() if value is not None]
    return overridden(network, training, [*overrides, *arguments.set])


def working_resolution(arguments: argparse.Namespace, dataset: ImageDataset) -> Resolution:
    """Resolution of the network; the presets of the paper resize images to a square.

    Raises
    ------
    SettingsError
        `--work-mpp` was given with a resize to a square.
    """
    image_mpp_um = arguments.mpp or GLAS_MPP_UM
    if arguments.mpp is None and not (
        dataset.kind == "glas" and has_glas_sizes(dataset.training_images())
    ):
        log.warning(
            "%s: not the names and sizes of GlaS, and --mpp was not given: pixels of %g um are "
            "assumed",
            arguments.data,
            image_mpp_um,
        )
    resize = arguments.resize or ("area" if arguments.preset == "default" else "square")
    if resize == "area":
        work_mpp = arguments.work_mpp or _start_model_mpp(arguments, image_mpp_um)
        return isotropic_resolution(image_mpp_um, work_mpp)
    if arguments.work_mpp is not None:
        raise SettingsError(
            "--work-mpp and --resize square exclude each other: a square has its own scale; "
            "give --resize area"
        )
    shapes = [image_size(file.image) for file in dataset.training_images()]
    return square_resolution(image_mpp_um, shapes, side_px=SQUARE_PX)


def _start_model_mpp(arguments: argparse.Namespace, image_mpp_um: float) -> float | None:
    """Pixel size of the model to start from; None if there is none, or the images are coarser."""
    if arguments.start_from is None:
        return None
    card = load_card(arguments.start_from)
    resolution = card.notes.resolution
    is_square = resolution is not None and resolution.square_px is not None
    return None if is_square or card.mpp_um < image_mpp_um else float(card.mpp_um)
