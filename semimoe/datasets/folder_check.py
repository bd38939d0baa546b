"""Checks a folder of images and masks: counts, sizes and label values, and what is wrong."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from semimoe.datasets.image_dataset import (
    GLAS_COMMON_SIZE,
    GLAS_RARE_SIZES,
    GRADES_FILE,
    ImageDataset,
    SharedPatients,
    open_dataset,
    part_of_image,
)
from semimoe.datasets.image_files import image_size, mask_values, read_labels
from semimoe.datasets.image_folder import ImageFile
from semimoe.json_model import JsonModel
from semimoe.model_errors import DataError

# GlaS as released on 2016-07-08: images by part.
_GLAS_COUNTS = {"train": 85, "testA": 60, "testB": 20}
_CRAG_COUNTS = {"train": 173, "test": 40}
_RELEASED_COUNTS = {"glas": _GLAS_COUNTS, "crag": _CRAG_COUNTS, "folder": {}}
_TINY_PX = 100
_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


class PartCheck(JsonModel):
    """The images and masks of one part.

    Attributes
    ----------
    images, masks : number of files
    without_mask : images that have no mask
    formats : file format -> number of images
    sizes_px : "WIDTHxHEIGHT" -> number of images
    glands : number of glands in all masks
    tiny_components : number of 8-connected components under 100 px
    scattered_glands : image -> number of glands that consist of several components
    single_label : images whose mask has one number for all of several glands
    """

    images: int
    masks: int
    without_mask: list[str]
    formats: dict[str, int]
    sizes_px: dict[str, int]
    glands: int
    tiny_components: int
    scattered_glands: dict[str, int]
    single_label: list[str]


class FolderCheck(JsonModel):
    """Result of `check_folder`.

    Attributes
    ----------
    variant : the data set and its form, in words
    problems : one message for each file that cannot be used
    notes : facts that a user should know, but that prevent nothing
    """

    folder: str
    variant: str
    parts: dict[str, PartCheck]
    patients: SharedPatients
    problems: list[str]
    notes: list[str]


class _MaskCounts(NamedTuple):
    glands: int
    single_label: bool  # one number for all glands, so components are counted as glands
    tiny_components: int  # 8-connected, under 100 px
    scattered_glands: int  # glands of several components


def check_folder(folder: Path) -> FolderCheck:
    """Read all images and masks of a folder.

    Raises
    ------
    DataError
        There is no folder, or it has no image. A damaged file is a problem, not an error.
    """
    dataset = open_dataset(folder)
    problems: list[str] = []
    parts = {part: _check_part(files, problems) for part, files in dataset.parts.items()}
    notes = []
    for part, check in parts.items():
        notes += _part_notes(part, check)
    return FolderCheck(
        folder=str(folder),
        variant=_variant(dataset, parts),
        parts=parts,
        patients=dataset.shared_patients(),
        problems=problems,
        notes=notes + _count_notes(dataset) + _grade_notes(dataset),
    )


def _check_part(files: Sequence[ImageFile], problems: list[str]) -> PartCheck:
    """Counts of one part; messages about files that cannot be used are added to `problems`."""
    sizes: Counter[tuple[int, int]] = Counter()
    masks: dict[str, _MaskCounts] = {}
    for file in files:
        try:
            sizes[image_size(file.image)] += 1
            if file.mask is not None:
                masks[file.name] = _count_mask(file.image, file.mask)
        except DataError as error:
            problems.append(str(error))
    scattered = {name: mask.scattered_glands for name, mask in masks.items()}
    formats = Counter(file.image.suffix.lower().lstrip(".") for file in files)
    return PartCheck(
        images=len(files),
        masks=sum(file.mask is not None for file in files),
        without_mask=[file.name for file in files if file.mask is None],
        formats=dict(formats),
        sizes_px={f"{width}x{height}": count for (height, width), count in sizes.most_common()},
        glands=sum(mask.glands for mask in masks.values()),
        tiny_components=sum(mask.tiny_components for mask in masks.values()),
        scattered_glands={name: count for name, count in scattered.items() if count},
        single_label=[
            name for name, mask in masks.items() if mask.single_label and mask.glands > 1
        ],
    )


def _count_mask(image: Path, mask: Path) -> _MaskCounts:
    labels = read_labels(mask)
    size = image_size(image)
    if labels.shape != size:
        raise DataError(
            f"{mask}: {labels.shape[::-1]} px, but its image {image.name} has {size[::-1]}"
        )
    tiny, scattered = 0, 0
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        components, count = ndimage.label(labels[window] == number, _EIGHT_NEIGHBOURS)
        areas_px = np.bincount(components.ravel())[1:]
        scattered += count > 1
        tiny += int((areas_px < _TINY_PX).sum())
    glands = len(np.unique(labels[labels > 0]))
    return _MaskCounts(glands, len(mask_values(mask)) <= 1, tiny, scattered)


def _part_notes(part: str, check: PartCheck) -> list[str]:
    notes = []
    if check.without_mask:
        notes.append(
            f"{part}: no mask of {', '.join(check.without_mask)}; they can only be unlabelled"
        )
    if check.single_label:
        notes.append(
            f"{part}: one number for all glands of {', '.join(check.single_label)}; "
            "8-connected components are taken"
        )
    if check.scattered_glands:
        count = sum(check.scattered_glands.values())
        notes.append(
            f"{part}: {count} glands of several pieces, in {', '.join(check.scattered_glands)}; "
            "each counts as one"
        )
    if check.tiny_components:
        notes.append(
            f"{part}: {check.tiny_components} components under {_TINY_PX} px; object scores count "
            "them unless min_object_um2 is set"
        )
    return notes


def _count_notes(dataset: ImageDataset) -> list[str]:
    notes = []
    for part, released in _RELEASED_COUNTS[dataset.kind].items():
        count = len(dataset.parts.get(part, []))
        if part in dataset.parts and count != released:
            notes.append(f"{part}: {count} images, the release has {released}")
    return notes


def _grade_notes(dataset: ImageDataset) -> list[str]:
    if dataset.kind != "glas":
        return []
    if not dataset.grade_records:
        return [
            f"no {GRADES_FILE}: patients are not known, so images of one patient can be in "
            "training and validation"
        ]
    images = {file.name for files in dataset.parts.values() for file in files}
    unlisted = sorted(images - dataset.grade_records.keys())
    missing = Counter(part_of_image(name) for name in dataset.grade_records if name not in images)
    notes = [f"{GRADES_FILE} does not list {', '.join(unlisted)}"] if unlisted else []
    for part, count in missing.items():
        if part in dataset.parts:  # a user may leave out a part on purpose, but not single images
            notes.append(f"{GRADES_FILE} lists {count} images of {part} that are not here")
    return notes


def _variant(dataset: ImageDataset, parts: dict[str, PartCheck]) -> str:
    """In words: which data set this is, and in which form."""
    counts = ", ".join(f"{part} {check.images}" for part, check in parts.items())
    formats = {name.upper() for check in parts.values() for name in check.formats}
    form = f"{dataset.layout}, {'/'.join(sorted(formats))}, {counts}, {_mask_kind(parts)}"
    if dataset.kind == "folder":
        return f"own images ({form})"
    if dataset.kind == "crag":
        return f"CRAG ({form})"
    missing_parts = [part for part in _GLAS_COUNTS if part not in parts]
    if missing_parts:
        form += f", without {' and '.join(missing_parts)}"
    return f"{_glas_name(parts)} ({form})"


def _mask_kind(parts: dict[str, PartCheck]) -> str:
    masks = sum(check.masks for check in parts.values())
    single_label = sum(len(check.single_label) for check in parts.values())
    if not masks:
        return "no masks"
    return "binary masks" if 2 * single_label > masks else "one number per gland"


def _glas_name(parts: dict[str, PartCheck]) -> str:
    sizes = set()
    for check in parts.values():
        for size in check.sizes_px:
            width, height = size.split("x")
            sizes.add((int(height), int(width)))
    has_sizes = GLAS_COMMON_SIZE in sizes and sizes <= {GLAS_COMMON_SIZE, *GLAS_RARE_SIZES}
    has_counts = all(
        parts[part].images == count for part, count in _GLAS_COUNTS.items() if part in parts
    )
    if has_sizes and has_counts:
        return "GlaS, Warwick-QU release 2016-07-08"
    return "named like GlaS, but not its counts or sizes"
