"""What lies in a folder of images and masks, and what is wrong with it: by counts, sizes and label values."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from semimoe.datasets.image_dataset import GRADES, Dataset, open_dataset, part_of
from semimoe.datasets.image_folder import ImageFile, image_size, mask_values, read_labels
from semimoe.model_errors import DataError

# GlaS as released 2016-07-08.
_GLAS_COUNTS = {"train": 85, "testA": 60, "testB": 20}
_GLAS_USUAL = (522, 775)
_GLAS_OTHER = {(453, 589), (433, 574), (442, 581), (430, 567), (433, 578)}
_CRAG_COUNTS = {"train": 173, "test": 40}
_TINY_PX = 100
_EIGHT = np.ones((3, 3), int)


class _Mask(NamedTuple):
    """One mask in figures."""

    glands: int
    single_label: bool  # all glands share one number: relabelled when read
    tiny: int  # 8-connected components under 100 px
    scattered: int  # glands of several components


def check_data(folder: Path) -> dict[str, Any]:
    """Counts, sizes and label values, the variant they tell, problems (files that cannot be used) and notes (what a user should know).

    Raises
    ------
    DataError
        No folder, or no image at all. Broken files are problems, not errors.
    """
    dataset = open_dataset(folder)
    problems: list[str] = []
    parts = {part: _part(files, problems) for part, files in dataset.parts.items()}
    notes = [note for part, facts in parts.items() for note in _part_notes(part, facts)]
    return {
        "folder": str(folder),
        "variant": _variant(dataset, parts),
        "parts": parts,
        "patients": dataset.shared_patients(),
        "problems": problems,
        "notes": notes + _count_notes(dataset) + _table_notes(dataset),
    }


def _part(files: Sequence[ImageFile], problems: list[str]) -> dict[str, Any]:
    sizes: Counter[tuple[int, int]] = Counter()
    masks: dict[str, _Mask] = {}
    for file in files:
        try:
            sizes[image_size(file.image)] += 1
            if file.mask is not None:
                masks[file.name] = _mask(file)
        except DataError as error:
            problems.append(str(error))
    single = [name for name, mask in masks.items() if mask.single_label and mask.glands > 1]
    return {
        "images": len(files),
        "masks": sum(file.mask is not None for file in files),
        "without_mask": [file.name for file in files if file.mask is None],
        "formats": dict(Counter(file.image.suffix.lower().lstrip(".") for file in files)),
        "sizes_px": {f"{width}x{height}": count for (height, width), count in sizes.most_common()},
        "glands": sum(mask.glands for mask in masks.values()),
        "tiny_components": sum(mask.tiny for mask in masks.values()),
        "scattered_glands": {
            name: mask.scattered for name, mask in masks.items() if mask.scattered
        },
        "single_label": single,
    }


def _mask(file: ImageFile) -> _Mask:
    assert file.mask is not None  # asked only for those that have one
    labels = read_labels(file.mask)
    size = image_size(file.image)
    if labels.shape != size:
        raise DataError(
            f"{file.mask}: {labels.shape[::-1]} px, but its image {file.image.name} has {size[::-1]}"
        )
    numbers = np.unique(labels[labels > 0])
    components, tiny = 0, 0
    scattered = 0
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(labels[box] == number, _EIGHT)
        components += count
        scattered += count > 1
        tiny += int((np.bincount(pieces.ravel())[1:] < _TINY_PX).sum())
    return _Mask(len(numbers), len(mask_values(file.mask)) <= 1, tiny, scattered)


def _part_notes(part: str, facts: dict[str, Any]) -> list[str]:
    notes = []
    if facts["without_mask"]:
        notes.append(
            f"{part}: no mask of {', '.join(facts['without_mask'])}; they can only be unlabelled"
        )
    if facts["single_label"]:
        notes.append(
            f"{part}: one number for all glands of {', '.join(facts['single_label'])}; 8-connected components are taken"
        )
    if facts["scattered_glands"]:
        count = sum(facts["scattered_glands"].values())
        notes.append(
            f"{part}: {count} glands of several pieces, in {', '.join(facts['scattered_glands'])}; each counts as one"
        )
    if facts["tiny_components"]:
        notes.append(
            f"{part}: {facts['tiny_components']} components under {_TINY_PX} px; object scores count them unless min_object_um2 is set"
        )
    return notes


def _count_notes(dataset: Dataset) -> list[str]:
    released = {"glas": _GLAS_COUNTS, "crag": _CRAG_COUNTS, "folder": {}}[dataset.kind]
    return [
        f"{part}: {len(dataset.parts[part])} images, the release has {count}"
        for part, count in released.items()
        if part in dataset.parts and len(dataset.parts[part]) != count
    ]


def _table_notes(dataset: Dataset) -> list[str]:
    if dataset.kind != "glas":
        return []
    if not dataset.cases:
        return [
            f"no {GRADES}: patients are not known, so images of one patient can be in training and validation"
        ]
    here = {file.name for files in dataset.parts.values() for file in files}
    unlisted = sorted(name for name in here if name not in dataset.cases)
    absent = Counter(part_of(name) for name in dataset.cases if name not in here)
    notes = [f"{GRADES} does not list {', '.join(unlisted)}"] if unlisted else []
    # A part that was left out as a whole is no mistake.
    return notes + [
        f"{GRADES} lists {n} images of {part} that are not here"
        for part, n in absent.items()
        if part in dataset.parts
    ]


def _variant(dataset: Dataset, parts: dict[str, dict[str, Any]]) -> str:
    """In words: which data this is, and in which form."""
    counts = ", ".join(f"{part} {facts['images']}" for part, facts in parts.items())
    masked, single = (
        sum(facts["masks"] for facts in parts.values()),
        sum(len(facts["single_label"]) for facts in parts.values()),
    )
    kind = (
        "no masks"
        if not masked
        else "binary masks"
        if 2 * single > masked
        else "one number per gland"
    )
    formats = "/".join(
        sorted({ending.upper() for facts in parts.values() for ending in facts["formats"]})
    )
    head = f"{dataset.layout}, {formats}, {counts}, {kind}"
    if dataset.kind == "folder":
        return f"own images ({head})"
    if dataset.kind == "crag":
        return f"CRAG ({head})"
    sizes = {
        tuple(int(side) for side in text.split("x"))[::-1]
        for facts in parts.values()
        for text in facts["sizes_px"]
    }
    usual = _GLAS_USUAL in sizes and sizes <= {_GLAS_USUAL, *_GLAS_OTHER}
    absent = [part for part in _GLAS_COUNTS if part not in parts]
    complete = all(
        parts[part]["images"] == count for part, count in _GLAS_COUNTS.items() if part in parts
    )
    name = (
        "GlaS, Warwick-QU release 2016-07-08"
        if usual and complete
        else "named like GlaS, but not its counts or sizes"
    )
    return f"{name} ({head}{', without ' + ' and '.join(absent) if absent else ''})"
