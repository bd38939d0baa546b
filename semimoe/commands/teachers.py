"""The teachers of a training run: the model it starts from, and that of its pseudo-labels."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semimoe.datasets.image_files import read_image
from semimoe.datasets.image_folder import ImageFile
from semimoe.datasets.image_lists import ListedImage
from semimoe.datasets.image_resolution import Resolution
from semimoe.fine_tuning import changed_meanings
from semimoe.known_images import images_of_sources, known_images
from semimoe.methods import METHODS
from semimoe.model_card import WEIGHTS, ModelCard, load_card
from semimoe.model_errors import DataError, SettingsError
from semimoe.settings import NetworkSettings, TrainingSettings
from tiling.raster.atomic_files import file_checksum

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
_MAX_NAMES = 3  # in a message


def check_pseudo_from(arguments: argparse.Namespace, training: TrainingSettings) -> None:
    """Check that the other options allow `--pseudo-from`.

    Raises
    ------
    SettingsError
        The method has no unlabelled images or makes its own pseudo-labels, these are those of a
        teacher that labels tiles at each step, or there are several processes.
    """
    if not arguments.pseudo_from:
        if arguments.distil:
            raise SettingsError("--distil: give the models to learn from, --pseudo-from FOLDER ...")
        return
    method = METHODS[arguments.method]
    if not method.learns_stored_pseudo_labels:
        reason = (
            "makes its own pseudo-labels"
            if method.uses_unlabelled
            else ("takes no unlabelled image")
        )
        raise SettingsError(
            f"--pseudo-from: {method.name} {reason}; leave it out, or give --method semimoe"
        )
    if training.has_teacher:
        raise SettingsError(
            f"--pseudo-from: with training.pseudo={training.pseudo} the moving average makes the "
            "pseudo-labels; leave one of them out"
        )
    if arguments.devices > 1:
        raise SettingsError(
            "--pseudo-from: each of several processes would make all pseudo-labels; "
            "give --devices 1"
        )


def load_teachers(arguments: argparse.Namespace) -> dict[Path, ModelCard]:
    """Folder -> card of the teachers that were given."""
    folders = [arguments.start_from, *arguments.pseudo_from]
    return {folder: load_card(folder) for folder in folders if folder is not None}


def check_teachers(
    teachers: Mapping[Path, ModelCard], rows: Sequence[ListedImage], pseudo_from: Sequence[Path]
) -> list[str]:
    """Check that teachers were not trained on outlines which this run does not use.

    Returns
    -------
    list
        Warnings for the card: the scores of this run are better than they should be.

    Raises
    ------
    DataError
        A model of the pseudo-labels was trained on such outlines.
    """
    warnings = []
    for folder, card in teachers.items():
        leaked = _leaked_images(card, rows)
        if leaked and folder in pseudo_from:
            raise DataError(
                f"--pseudo-from {folder}: was trained on the outlines of {_shortened(leaked)}, "
                "which are unlabelled or held out here; give a model trained on the same list"
            )
        if leaked:
            warnings.append(
                f"--start-from {folder}: was trained on the outlines of {_shortened(leaked)}, "
                "which are unlabelled or held out here "
                "(unless these are other images of the same names): scores are optimistic"
            )
        if not known_images(card).learnt:
            log.warning(
                "%s: does not say which images it was trained on; these may be among them", folder
            )
    return warnings


def teacher_notes(
    teachers: Mapping[Path, ModelCard], pseudo_from: Sequence[Path]
) -> dict[str, Any]:
    """Entries of the notes of a card that come from the teachers.

    The licences of the models of the pseudo-labels hold for what is trained with them, too.
    """
    notes: dict[str, Any] = {}
    if pseudo_from:
        checksums = [file_checksum(folder / WEIGHTS)[:16] for folder in pseudo_from]
        notes["pseudo_from"] = ", ".join(checksums)
        licences = [teachers[folder].notes.licence for folder in pseudo_from]
        if any(licences):
            notes["licence"] = " ".join(dict.fromkeys(text for text in licences if text))
    sources = images_of_sources(known_images(card) for card in teachers.values())
    if sources is not None:
        notes["known"] = sources
    return notes


def make_pseudo_labels(
    arguments: argparse.Namespace,
    files: Sequence[ImageFile],
    resolution: Resolution,
    network: NetworkSettings,
) -> "dict[str, NDArray[np.uint8]]":
    """Name of an image -> pseudo-labels of `--pseudo-from` at the working resolution.

    Those of several models are made from the mean of their maps.

    Raises
    ------
    SettingsError
        A teacher has another resolution, or its outputs have another meaning.
    """
    from semimoe.prediction.image_predictor import ImagePredictor
    from tiling.raster.quantise import quantise_pseudo_label

    predictors = []
    for folder in arguments.pseudo_from:
        predictor = ImagePredictor(folder, device=arguments.device, threads=arguments.threads)
        if predictor.resolution != resolution:
            raise SettingsError(
                f"--pseudo-from {folder}: works at {predictor.resolution}, this run at {resolution}"
            )
        _check_outputs(folder, predictor.card.network, network)
        predictors.append(predictor)

    def pseudo_label(file: ImageFile) -> "NDArray[np.uint8]":
        image = read_image(file.image)
        maps = [predictor.maps(image) for predictor in predictors]
        mean: NDArray[np.float32] = np.mean(np.stack(maps), axis=0)
        return quantise_pseudo_label(mean)

    return {file.name: pseudo_label(file) for file in files}


def _leaked_images(card: ModelCard, rows: Sequence[ListedImage]) -> list[str]:
    """Images whose outlines a teacher used, but this run must not use."""
    learnt, chosen = known_images(card)
    return [
        row.image
        for row in rows
        if (row.role == "unlabelled" and row.image in chosen)
        or (row.role == "validation" and row.image in learnt)
    ]


def _shortened(names: Sequence[str]) -> str:
    text = ", ".join(names[:_MAX_NAMES])
    return text + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")


def _check_outputs(folder: Path, teacher: NetworkSettings, network: NetworkSettings) -> None:
    missing = [task for task in network.expert_tasks if task not in teacher.expert_tasks]
    if missing:
        raise SettingsError(
            f"--pseudo-from {folder}: has no expert of {', '.join(missing)}; take one that has, "
            "or set network.tasks"
        )
    for change in changed_meanings(network, teacher):
        raise SettingsError(f"--pseudo-from {folder}: {change}; use the same value")
