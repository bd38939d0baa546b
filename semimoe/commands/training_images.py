"""Roles of the images of a training run: labelled, unlabelled or validation."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from semimoe.datasets.image_dataset import ImageDataset
from semimoe.datasets.image_folder import ImageFile
from semimoe.datasets.image_lists import (
    ListedImage,
    draw_training_list,
    images_with_role,
    read_image_list,
)
from semimoe.model_card import ImageNames
from semimoe.model_errors import DataError


class TrainingImages(NamedTuple):
    """The list of a run, and the files of its images by role."""

    rows: list[ListedImage]
    labelled: list[ImageFile]
    unlabelled: list[ImageFile]
    validation: list[ImageFile]

    @property
    def names(self) -> ImageNames:
        """Names of the images by role, for the card of the model."""
        return ImageNames(
            labelled=tuple(file.name for file in self.labelled),
            unlabelled=tuple(file.name for file in self.unlabelled),
            validation=tuple(file.name for file in self.validation),
        )


def choose_training_images(arguments: argparse.Namespace, dataset: ImageDataset) -> TrainingImages:
    """Roles from the list that was given, or drawn at random.

    Raises
    ------
    DataError
        The list does not fit the images, or no image is labelled.
    """
    files = {file.name: file for file in dataset.training_images()}
    if arguments.split:
        rows = read_image_list(arguments.split)
        _check_list(rows, files, arguments.split, arguments.data)
    else:
        rows = draw_training_list(
            dataset,
            protocol=arguments.protocol,
            labelled=arguments.labelled,
            seed=arguments.seed,
            validation=arguments.validation,
        )
    chosen = TrainingImages(
        rows,
        labelled=[files[name] for name in images_with_role(rows, "labelled")],
        unlabelled=[files[name] for name in images_with_role(rows, "unlabelled")],
        validation=[files[name] for name in images_with_role(rows, "validation")],
    )
    if not chosen.labelled:
        raise DataError(f"{arguments.split}: no image of role labelled")
    return chosen


def shared_patients_warnings(
    rows: Sequence[ListedImage], dataset: ImageDataset, list_file: Path
) -> list[str]:
    """A warning if validation images and other images are of the same patients."""
    held_out: set[str] = set()
    used: set[str] = set()
    for row in rows:
        (held_out if row.role == "validation" else used).add(_patient(row, dataset))
    shared = sorted(held_out & used)
    if not shared:
        return []
    return [
        f"{list_file}: patients {', '.join(shared)} are both trained on and held out: "
        "validation is optimistic"
    ]


def _patient(row: ListedImage, dataset: ImageDataset) -> str:
    """Patient of an image by `Grade.csv`, or else by the list; without both, one of its own."""
    record = dataset.grade_records.get(row.image)
    return record.patient if record else row.patient or row.image


def _check_list(
    rows: Sequence[ListedImage], files: Mapping[str, ImageFile], list_file: Path, data: Path
) -> None:
    absent = [row.image for row in rows if row.image not in files]
    if absent:
        raise DataError(f"{list_file}: {', '.join(absent)} not among the training images of {data}")
    without_mask = [
        row.image for row in rows if row.role != "unlabelled" and files[row.image].mask is None
    ]
    if without_mask:
        raise DataError(
            f"{list_file}: {', '.join(without_mask)} must have a mask for its role, and has none"
        )
