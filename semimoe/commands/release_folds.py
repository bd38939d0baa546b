"""The folds of a cross-validation, on which `release` chooses threshold and split parameters."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semimoe.datasets.image_checksums import training_files_checksum
from semimoe.datasets.image_dataset import ImageDataset, open_dataset
from semimoe.datasets.image_folder import FolderImages, ImageFile
from semimoe.datasets.image_resolution import Resolution
from semimoe.known_images import known_images
from semimoe.model_card import ImageNames, ModelCard, load_card
from semimoe.model_errors import DataError, SettingsError
from semimoe.prediction.predictor import Predictor

log = logging.getLogger(__name__)
# Entries of a card that all folds share with the model.
_SHARED_ENTRIES = ("method", "network", "training", "mpp_um", "tile_px")
# Settings of the training that may differ: steps depend on the images, and `release` chooses
# threshold and split again.
_MAY_DIFFER = ("steps_per_epoch", "split_rule", "choose_with_flips")


class Fold(NamedTuple):
    """A model of the cross-validation.

    Attributes
    ----------
    predictor : the model
    held_out : the images that it was not trained on
    warnings : why its scores are better than those of a fair cross-validation
    """

    predictor: Predictor
    held_out: FolderImages
    warnings: list[str]


def load_folds(arguments: argparse.Namespace, card: ModelCard) -> list[Fold]:
    """Check and load the models of `--folds`.

    Parameters
    ----------
    card : of the model that is released

    Raises
    ------
    SettingsError
        A fold was trained on slides, or with other settings than the model.
    DataError
        Images changed since a training, or folds do not hold out different images.
    """
    dataset = open_dataset(arguments.data)
    files = {file.name: file for file in dataset.training_images()}
    if card.notes.images is not None:
        _check_unchanged(arguments.model, card, files)
    folds: list[Fold] = []
    held_out_before: set[str] = set()
    for folder in arguments.folds:
        fold_card = load_card(folder)
        resolution = _check_recipe(folder, fold_card, arguments.model, card)
        held_out = fold_card.notes.images.validation if fold_card.notes.images else ()
        _check_held_out(folder, held_out, held_out_before, files)
        held_out_before |= set(held_out)
        _check_unchanged(folder, fold_card, files)
        warnings = _fold_warnings(folder.name, fold_card, held_out, dataset)
        for warning in warnings:
            log.warning("%s", warning)
        predictor = Predictor.load(folder, device=arguments.device, threads=arguments.threads)
        images = FolderImages([files[name] for name in held_out], resolution=resolution)
        folds.append(Fold(predictor, images, warnings))
    return folds


def _check_recipe(folder: Path, fold_card: ModelCard, model: Path, card: ModelCard) -> Resolution:
    """Check that a fold was trained like the model; returns its resolution."""
    resolution = fold_card.notes.resolution
    if resolution is None:
        raise SettingsError(
            f"{folder}: trained on slides; a cross-validation is of models of "
            "`python -m semimoe train`"
        )
    theirs, ours = _shared_entries(fold_card), _shared_entries(card)
    different = [key for key in _SHARED_ENTRIES if theirs[key] != ours[key]]
    if different:
        raise SettingsError(
            f"{folder}: another {', '.join(different)} than {model}; "
            "all models of a cross-validation have the same settings"
        )
    return Resolution(**resolution.model_dump())


def _shared_entries(card: ModelCard) -> dict[str, Any]:
    training = {} if card.training is None else card.training.to_dict()
    for name in _MAY_DIFFER:
        training.pop(name, None)
    return {**{key: getattr(card, key) for key in _SHARED_ENTRIES}, "training": training}


def _check_held_out(
    folder: Path, held_out: Sequence[str], before: set[str], files: dict[str, ImageFile]
) -> None:
    twice = [name for name in held_out if name in before]
    absent = [name for name in held_out if name not in files or files[name].mask is None]
    if not held_out:
        problem = "held nothing out"
    elif twice:
        problem = f"{', '.join(twice)} held out twice"
    elif absent:
        problem = f"{', '.join(absent)} not in --data"
    else:
        return
    raise DataError(f"{folder}: {problem}; each fold holds out images of its own")


def _check_unchanged(folder: Path, card: ModelCard, files: dict[str, ImageFile]) -> None:
    """Check that no image or outline changed since a training: else the scores do not count."""
    images = card.notes.images or ImageNames()
    outlined = [files[name] for name in (*images.labelled, *images.validation) if name in files]
    unlabelled = [files[name] for name in images.unlabelled if name in files]
    checksums = {
        training_files_checksum(outlined, unlabelled, unlabelled_masks=masks)
        for masks in (False, True)
    }
    if card.notes.data not in checksums:
        data = next(iter(files.values())).image.parent
        raise DataError(
            f"{folder}: was trained on other images or outlines than --data {data}; train it again"
        )


def _fold_warnings(
    name: str, card: ModelCard, held_out: Sequence[str], dataset: ImageDataset
) -> list[str]:
    """Why the scores of a fold are better than those of a fair cross-validation."""
    warnings = []
    learnt = known_images(card).learnt
    if leaked := [image for image in held_out if image in learnt]:
        warnings.append(
            f"{name} held {', '.join(leaked)} out, and its teachers learnt from images of these "
            "names: its scores are optimistic"
        )
    if card.training and card.training.validate_every < (card.epochs or 0):
        warnings.append(
            f"{name} chose its epoch on the images that it held out: its scores are optimistic"
        )
    files = {file.name for file in dataset.training_images()}
    patients = [
        {dataset.grade_record(image).patient for image in images if image in files}
        for images in (held_out, learnt - set(held_out))
    ]
    if shared := sorted(patients[0] & patients[1]):
        warnings.append(
            f"{name} learnt from other images of patients {', '.join(shared)} that it held out: "
            "its scores are optimistic"
        )
    return warnings
