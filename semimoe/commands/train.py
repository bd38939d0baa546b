"""`train`: from a folder of images to a model."""

import argparse
import logging
from typing import TYPE_CHECKING

from semimoe.commands.model_folder import check_model_folder
from semimoe.commands.teachers import (
    check_pseudo_from,
    check_teachers,
    load_teachers,
    make_pseudo_labels,
    teacher_notes,
)
from semimoe.commands.training_images import (
    TrainingImages,
    choose_training_images,
    shared_patients_warnings,
)
from semimoe.commands.training_settings import network_and_training_settings, working_resolution
from semimoe.datasets.image_checksums import training_files_checksum
from semimoe.datasets.image_dataset import ImageDataset, open_dataset
from semimoe.datasets.image_folder import FolderImages
from semimoe.datasets.image_resolution import Resolution
from semimoe.model_card import ImageResolution, TrainingNotes
from semimoe.settings import NetworkSettings

if TYPE_CHECKING:
    from semimoe.training.recipe import TrainingData

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Train on the images of a folder: some are labelled, some held out, the rest is unlabelled."""
    from semimoe.training.fit import fit
    from semimoe.training.recipe import Recipe, RunFolders, RunResources

    checkpoint = arguments.out.with_name(arguments.out.name + ".resume")
    check_model_folder(arguments.out, checkpoint=checkpoint)
    network, training = network_and_training_settings(arguments)
    dataset = open_dataset(arguments.data)
    images = choose_training_images(arguments, dataset)
    check_pseudo_from(arguments, training)
    resolution = working_resolution(arguments, dataset)
    notes = _notes(arguments, dataset, images, resolution)
    log.info(
        "%d labelled, %d unlabelled, %d validation images; pixels of %.4g um",
        len(images.labelled),
        len(images.unlabelled),
        len(images.validation),
        resolution.mpp_um,
    )
    fit(
        _training_data(arguments, images, resolution, network),
        Recipe(arguments.method, network, training, resolution.mpp_um, arguments.seed),
        folders=RunFolders(arguments.out, checkpoint=checkpoint, start_from=arguments.start_from),
        resources=RunResources(arguments.device, arguments.threads, arguments.devices),
        notes=notes,
    )


def _notes(
    arguments: argparse.Namespace,
    dataset: ImageDataset,
    images: TrainingImages,
    resolution: Resolution,
) -> TrainingNotes:
    """What the card says about the data; warnings are also logged."""
    teachers = load_teachers(arguments)
    warnings = shared_patients_warnings(images.rows, dataset, arguments.split)
    warnings += check_teachers(teachers, images.rows, arguments.pseudo_from)
    for warning in warnings:
        log.warning("%s", warning)
    if arguments.split:
        split = {"file": arguments.split.name}
    else:
        split = {
            "protocol": arguments.protocol,
            "labelled": arguments.labelled,
            "seed": arguments.seed,
        }
    notes = TrainingNotes(
        resolution=ImageResolution(**resolution.to_dict()),
        data=training_files_checksum(
            images.labelled + images.validation,
            images.unlabelled,
            unlabelled_masks=arguments.unlabelled_truth,
        ),
        images=images.names,
        labels_used=len(images.labelled) + len(images.validation),
        split=split,
        patients=dataset.shared_patients().to_json_dict(),
    )
    added = teacher_notes(teachers, arguments.pseudo_from)
    return notes.model_copy(update=added | ({"warnings": tuple(warnings)} if warnings else {}))


def _training_data(
    arguments: argparse.Namespace,
    images: TrainingImages,
    resolution: Resolution,
    network: NetworkSettings,
) -> "TrainingData":
    from semimoe.training.recipe import TrainingData

    pseudo, unlabelled_files = None, images.unlabelled
    if arguments.distil:
        unlabelled_files = [*images.labelled, *images.unlabelled]
    if arguments.pseudo_from:
        pseudo = make_pseudo_labels(arguments, unlabelled_files, resolution, network)
    unlabelled, validation = None, None
    if unlabelled_files:
        unlabelled = FolderImages(
            unlabelled_files,
            labels=arguments.unlabelled_truth,
            resolution=resolution,
            pseudo=pseudo,
        )
    if images.validation:
        validation = FolderImages(images.validation, resolution=resolution)
    labelled = FolderImages(images.labelled, resolution=resolution)
    return TrainingData(labelled, unlabelled, validation)
