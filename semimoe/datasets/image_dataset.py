"""Opens a folder of GlaS, CRAG or own images: its parts, images and masks, and their patients.

GlaS (Warwick-QU, release of 2016-07-08): images like `train_1.bmp` with masks like
`train_1_anno.bmp`, all in one folder or in `train/`, `testA/` and `testB/`, as BMP or PNG, and
`Grade.csv`. CRAG: `train|valid|test/{Images,Annotation,Overlay}/*.png`. In any other folder all
images may be used for training.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from semimoe.datasets.image_files import image_size
from semimoe.datasets.image_folder import ImageFile, find_images
from semimoe.json_model import JsonModel
from semimoe.model_errors import DataError

PARTS = ("train", "valid", "test", "testA", "testB")
GRADES_FILE = "Grade.csv"
# Challenge page: 20x, every part.
GLAS_MPP_UM = 0.62005
# (height, width) of the images in px, as released on 2016-07-08.
GLAS_COMMON_SIZE = (522, 775)
GLAS_RARE_SIZES = frozenset({(453, 589), (433, 574), (442, 581), (430, 567), (433, 578)})
_GLAS_TEST_PARTS = ("testA", "testB")
_GLAS_TRAINING_PATIENTS = 15


class GradeRecord(NamedTuple):
    """Patient and grade of an image, as `Grade.csv` lists them."""

    patient: str
    grade: Literal["benign", "malignant", ""]


class SharedPatients(JsonModel):
    """How many training patients are also patients of a test part.

    Attributes
    ----------
    known : whether `Grade.csv` lists the patients; if not, only `note` is given
    training : number of training patients
    also_in_test : number of them with images in `test_parts`, too
    note : the same in words, for people
    """

    known: bool
    training: int | None = None
    also_in_test: int | None = None
    test_parts: list[str] | None = None
    note: str


@dataclass(frozen=True)
class ImageDataset:
    """Images of a folder by part.

    Attributes
    ----------
    kind : the data set whose layout the folder has
    layout : how the images are arranged, in words
    parts : part -> images in natural order; only those of `train` may be used for training
    grade_records : image -> patient and grade, for all images in `Grade.csv`, whether or not the
        image is in the folder
    """

    kind: Literal["glas", "crag", "folder"]
    layout: str
    parts: dict[str, list[ImageFile]]
    grade_records: dict[str, GradeRecord]

    def training_images(self) -> list[ImageFile]:
        """Images that may be used for training, never those of validation and test parts.

        Raises
        ------
        DataError
            There are none.
        """
        files = self.parts.get("train", [])
        if not files:
            raise DataError(
                f"the folder holds only {', '.join(self.parts)}, and test images are not used for "
                "training; give a folder with train/ or train_*"
            )
        return files

    def grade_record(self, image: str) -> GradeRecord:
        """Patient and grade of an image; an image that is not listed is a patient of its own."""
        return self.grade_records.get(image, GradeRecord(image, ""))

    def patients_of_part(self, part: str) -> set[str]:
        """Patients of the images of a part, in the folder or only in `Grade.csv`."""
        images = {file.name for file in self.parts.get(part, [])}
        images |= {name for name in self.grade_records if part_of_image(name) == part}
        return {self.grade_record(image).patient for image in images}

    def shared_patients(self) -> SharedPatients:
        """How many training patients are also test patients; every table of test scores says it."""
        unknown = "whether training patients are also in"
        if not self.grade_records:
            return SharedPatients(
                known=False, note=f"no {GRADES_FILE}: {unknown} the test parts is not known"
            )
        listed_parts = {part_of_image(name) for name in self.grade_records}
        test_parts = [part for part in _GLAS_TEST_PARTS if part in listed_parts]
        if not test_parts:
            return SharedPatients(
                known=False,
                note=f"{GRADES_FILE} lists no test part: {unknown} one is not known",
            )
        training = self.patients_of_part("train")
        test = {patient for part in test_parts for patient in self.patients_of_part(part)}
        shared = training & test
        note = (
            f"{len(shared)} of {len(training)} training patients are also in "
            f"{' and '.join(test_parts)}"
        )
        if "testB" not in test_parts and len(training) == _GLAS_TRAINING_PATIENTS:
            note += f" ({GRADES_FILE} lists no testB; with it, 11 of 15)"
        return SharedPatients(
            known=True,
            training=len(training),
            also_in_test=len(shared),
            test_parts=test_parts,
            note=note,
        )


def open_dataset(folder: Path) -> ImageDataset:
    """Find the parts and images of a folder, and its `Grade.csv`.

    Raises
    ------
    DataError
        The folder is missing or has no image, or its `Grade.csv` is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    part_folders = [part for part in PARTS if (folder / part).is_dir()]
    parts = {part: find_images(folder / part) for part in part_folders}
    if any((folder / part / "Images").is_dir() for part in part_folders):
        return ImageDataset("crag", "Images/ and Annotation/ by part", parts, {})
    if not part_folders:
        for file in find_images(folder):
            parts.setdefault(part_of_image(file.name) or "train", []).append(file)
    layout = "one folder per part" if part_folders else "one folder"
    if not _has_glas_names(parts):
        return ImageDataset("folder", layout, parts, {})
    grades = _grades_file(folder)
    return ImageDataset("glas", layout, parts, read_grades(grades) if grades else {})


def _has_glas_names(parts: dict[str, list[ImageFile]]) -> bool:
    """Whether the names of all images begin with their part; testA_3 may be in test/."""
    return all(
        part_of_image(file.name).startswith(part) for part, files in parts.items() for file in files
    )


def has_glas_sizes(files: Sequence[ImageFile]) -> bool:
    """Whether all images have sizes of GlaS: other folders may use the same names.

    Raises
    ------
    DataError
        A file is not an image.
    """
    return {image_size(file.image) for file in files} <= {GLAS_COMMON_SIZE, *GLAS_RARE_SIZES}


def _grades_file(folder: Path) -> Path | None:
    """`Grade.csv` in the folder, or beside it: the folder may be a single part."""
    for candidate in (folder / GRADES_FILE, folder.parent / GRADES_FILE):
        if candidate.is_file():
            return candidate
    return None


def part_of_image(name: str) -> str:
    """The part that the name of an image begins with, or an empty text.

    >>> part_of_image("testA_3"), part_of_image("biopsy_3")
    ('testA', '')
    """
    part, underscore, number = name.partition("_")
    return part if part in PARTS and underscore and number.isdigit() else ""


def read_grades(path: Path) -> dict[str, GradeRecord]:
    """`Grade.csv` of GlaS; its columns are image, patient, benign or malignant, a finer grade.

    Raises
    ------
    DataError
        The file cannot be read, or a row has no patient, an unknown grade, or an image that an
        earlier row lists.
    """
    records: dict[str, GradeRecord] = {}
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
                f"{path}, row {number}: name, patient, and benign or malignant are needed, "
                f"but the row is {','.join(row)!r}"
            )
        if name in records:
            raise DataError(f"{path}, row {number}: {name} is listed twice")
        records[name] = GradeRecord(patient, grade)  # type: ignore[arg-type]  # checked above
    return records
