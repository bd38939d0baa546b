"""GlaS, CRAG or an own folder as one thing: parts, images, masks, and patients where a table tells them.

GlaS (Warwick-QU, release 2016-07-08): `train_1.bmp` with `train_1_anno.bmp`, all in one folder or in `train/`, `testA/`, `testB/`,
BMP or PNG, and `Grade.csv`. CRAG: `train|valid|test/{Images,Annotation,Overlay}/*.png`. Anything else is one part to train on.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from semimoe.datasets.image_folder import ImageFile, find_images
from semimoe.model_errors import DataError

PARTS = ("train", "valid", "test", "testA", "testB")
GRADES = "Grade.csv"
# Challenge page: 20x, every part.
GLAS_MPP_UM = 0.62005
_GLAS_PATIENTS = 15


class Case(NamedTuple):
    """Whose image it is; an image of unknown origin is a patient of its own."""

    patient: str
    grade: Literal["benign", "malignant", ""]


@dataclass(frozen=True)
class Dataset:
    """Images of a folder by part.

    Attributes
    ----------
    kind : what its layout says it is
    layout : how the images lie, in words
    parts : part -> images in natural order; `train` is what may be trained on
    cases : image -> patient and grade, of all images that `Grade.csv` lists, here or not
    """

    kind: Literal["glas", "crag", "folder"]
    layout: str
    parts: dict[str, list[ImageFile]]
    cases: dict[str, Case]

    def training(self) -> list[ImageFile]:
        """Images that may be trained on; those of test and validation parts never are.

        Raises
        ------
        DataError
            There are none.
        """
        files = self.parts.get("train", [])
        if not files:
            raise DataError(
                f"only {', '.join(self.parts)} here, and test images are not trained on; give a folder with train/ or train_*"
            )
        return files

    def case(self, image: str) -> Case:
        """Patient and grade, or the image as its own patient."""
        return self.cases.get(image, Case(image, ""))

    def patients(self, part: str) -> set[str]:
        """Patients of a part, of images here and of those that only the table lists."""
        named = {file.name for file in self.parts.get(part, [])} | {
            name for name in self.cases if part_of(name) == part
        }
        return {self.case(name).patient for name in named}

    def shared_patients(self) -> dict[str, object]:
        """How many training patients are also in a test part, as far as `Grade.csv` tells; for every table of test scores."""
        if not self.cases:
            return {
                "known": False,
                "note": f"no {GRADES}: whether training patients are also in the test parts is not known",
            }
        tests = [
            part for part in ("testA", "testB") if any(part_of(name) == part for name in self.cases)
        ]
        if not tests:
            return {
                "known": False,
                "note": f"{GRADES} lists no test part: whether training patients are also in one is not known",
            }
        training = self.patients("train")
        shared = training & set().union(*(self.patients(part) for part in tests))
        note = (
            f"{len(shared)} of {len(training)} training patients are also in {' and '.join(tests)}"
        )
        if "testB" not in tests and len(training) == _GLAS_PATIENTS:
            note += f" ({GRADES} lists no testB; with it, 11 of 15)"
        return {
            "known": True,
            "training": len(training),
            "also_in_test": len(shared),
            "test_parts": tests,
            "note": note,
        }


def open_dataset(folder: Path) -> Dataset:
    """Find out what lies in a folder.

    Raises
    ------
    DataError
        No folder, no image, nothing to train on, or a broken `Grade.csv`.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    inside = [part for part in PARTS if (folder / part).is_dir()]
    parts = {part: find_images(folder / part) for part in inside}
    if any((folder / part / "Images").is_dir() for part in inside):
        return Dataset("crag", "Images/ and Annotation/ by part", parts, {})
    if not inside:
        for file in find_images(folder):
            parts.setdefault(part_of(file.name) or "train", []).append(file)
    # testA_3 may lie in test/.
    named = all(
        part_of(file.name).startswith(part) for part, files in parts.items() for file in files
    )
    layout = "one folder per part" if inside else "one folder"
    # A part alone may be given: its table lies beside it.
    grades = next(
        (path for path in (folder / GRADES, folder.parent / GRADES) if named and path.is_file()),
        None,
    )
    return Dataset(
        "glas" if named else "folder", layout, parts, read_grades(grades) if grades else {}
    )


def part_of(image: str) -> str:
    """train_12 -> train; empty for names that carry no part.

    >>> part_of("testA_3"), part_of("biopsy_3")
    ('testA', '')
    """
    part, underscore, number = image.partition("_")
    return part if part in PARTS and underscore and number.isdigit() else ""


def read_grades(path: Path) -> dict[str, Case]:
    """`Grade.csv` of GlaS: image, patient, benign or malignant, a finer grade.

    Raises
    ------
    DataError
        A row without patient, another grade, or an image listed twice.
    """
    cases: dict[str, Case] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        name, patient, grade = (*(cell.strip() for cell in row[:3]), "", "", "")[:3]
        if not patient or grade not in ("benign", "malignant"):
            raise DataError(
                f"{path}, row {number}: name, patient, and benign or malignant are needed, this is {','.join(row)!r}"
            )
        if name in cases:
            raise DataError(f"{path}, row {number}: {name} is listed twice")
        cases[name] = Case(patient, grade)  # type: ignore[arg-type]  # one of the two, see above
    return cases
