"""Lists that give each training image a role: labelled, unlabelled or validation.

A list is a csv file with the columns image, patient, grade, role. It holds names of images only,
so it can be published where the images cannot. All images of a patient are held out for
validation, or none.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from semimoe.datasets.image_dataset import GradeRecord, ImageDataset
from semimoe.model_errors import DataError, SettingsError
from semimoe.setting_values import SplitProtocol

Role = Literal["labelled", "unlabelled", "validation"]
COLUMNS = ("image", "patient", "grade", "role")
# Shares of all images: held out at least, and allowed beyond the share that was asked for.
MIN_VALIDATION, _VALIDATION_TOLERANCE = 0.15, 0.05
_MAX_DRAWS = 1000


class ListedImage(NamedTuple):
    """One row of a list."""

    image: str
    patient: str
    grade: str
    role: Role


def draw_image_list(
    records: Mapping[str, GradeRecord],
    *,
    protocol: SplitProtocol,
    labelled: float,
    seed: int,
    validation: float = MIN_VALIDATION,
) -> list[ListedImage]:
    """Draw the role of each image at random.

    With the same seed, the labelled images of a smaller share are among those of a larger share.

    Parameters
    ----------
    records : images with masks -> patient and grade; the result depends on their order
    protocol : honest: whole patients are held out for validation; as-published: none
        (17 labelled and 68 unlabelled images of GlaS)
    labelled : share of *all* images whose masks are used, (0, 1]; held-out images are additional
    validation : smallest share of the images that is held out, [0, 1); at most 5 % more are

    Raises
    ------
    SettingsError
        A share is outside its range.
    DataError
        No set of whole patients has such a share of the images, or no image is left for training.
    """
    if not (0 < labelled <= 1 and 0 <= validation < 1):
        raise SettingsError(
            f"--labelled {labelled}, --validation {validation}: "
            "shares in (0, 1] and [0, 1) are needed"
        )
    rng = np.random.default_rng(seed)
    held_out: set[str] = set()
    if protocol == "honest" and validation > 0:
        held_out = _draw_held_out(records, validation, rng)
    rest = [image for image in records if image not in held_out]
    if not rest:
        raise DataError(
            "no image with a mask (X_anno.*, or X.* in a folder Annotation/) is left for "
            "training; see --validation"
        )
    count = min(max(round(labelled * len(records)), 1), len(rest))
    drawn = {rest[i] for i in rng.permutation(len(rest))[:count]}
    roles: dict[str, Role] = dict.fromkeys(rest, "unlabelled")
    roles |= dict.fromkeys(drawn, "labelled")
    roles |= dict.fromkeys(held_out, "validation")
    return [ListedImage(image, *record, roles[image]) for image, record in records.items()]


def draw_training_list(
    dataset: ImageDataset,
    *,
    protocol: SplitProtocol,
    labelled: float,
    seed: int,
    validation: float = MIN_VALIDATION,
) -> list[ListedImage]:
    """Draw the role of each training image of a data set, see `draw_image_list`.

    Images without a mask are unlabelled, except for those of held-out patients, which are left out.

    Raises
    ------
    SettingsError, DataError
        As of `draw_image_list`; or no image has a mask.
    """
    files = dataset.training_images()
    records = {file.name: dataset.grade_record(file.name) for file in files if file.mask}
    if not records:
        raise DataError(
            f"{files[0].image.parent}: no image has a mask; name the mask of X.png X_anno.png"
        )
    rows = draw_image_list(
        records, protocol=protocol, labelled=labelled, seed=seed, validation=validation
    )
    held_out = {row.patient for row in rows if row.role == "validation"}
    for file in files:
        record = dataset.grade_record(file.name)
        if file.mask is None and record.patient not in held_out:
            rows.append(ListedImage(file.name, *record, "unlabelled"))
    return rows


def _draw_held_out(
    records: Mapping[str, GradeRecord], share: float, rng: np.random.Generator
) -> set[str]:
    """Images of whole patients of every grade, drawn until there are enough.

    A draw with too many images is discarded, and a new one begins.
    """
    images_of_patient = Counter(record.patient for record in records.values())
    grades = {record.grade for record in records.values()}
    min_images = max(math.ceil(share * len(records) - 1e-9), 1)
    max_images = max(math.floor((share + _VALIDATION_TOLERANCE) * len(records) + 1e-9), min_images)
    patients = list(images_of_patient)
    for _ in range(_MAX_DRAWS):
        drawn: set[str] = set()
        for i in rng.permutation(len(patients)):
            drawn.add(patients[i])
            count = sum(images_of_patient[patient] for patient in drawn)
            images = {image for image, record in records.items() if record.patient in drawn}
            has_every_grade = {records[image].grade for image in images} == grades
            if min_images <= count <= max_images and has_every_grade:
                return images
            if count > max_images:
                break
    raise DataError(
        f"no whole patients of every grade have {min_images} to {max_images} of the "
        f"{len(records)} images; give another --validation"
    )


def patient_folds(
    records: Mapping[str, GradeRecord], *, count: int = 5, seed: int = 0
) -> list[list[ListedImage]]:
    """Lists of a cross-validation: in list k, fold k is validation, and all else is labelled.

    All images of a patient are in one fold. The folds have nearly the same number of images of
    each grade: patients with many images are placed first, each in the fold where the sum of
    squares of these numbers grows least.

    Raises
    ------
    SettingsError
        Fewer than two folds.
    DataError
        Fewer patients than folds.
    """
    if count < 2:
        raise SettingsError(f"{count} folds; at least 2 are needed")
    images_by_grade: dict[str, Counter[str]] = {}
    for record in records.values():
        images_by_grade.setdefault(record.patient, Counter())[record.grade] += 1
    patients = list(images_by_grade)
    if len(patients) < count:
        raise DataError(f"{len(patients)} patients are too few for {count} folds")
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    folds: list[Counter[str]] = [Counter() for _ in range(count)]
    fold_of_patient: dict[str, int] = {}
    for patient in sorted(shuffled, key=lambda name: -images_by_grade[name].total()):
        costs = [_added_cost(fold, images_by_grade[patient]) for fold in folds]
        best = int(np.argmin(costs))
        folds[best] += images_by_grade[patient]
        fold_of_patient[patient] = best
    return [_list_of_fold(records, fold_of_patient, number) for number in range(count)]


def _added_cost(fold: Counter[str], added: Counter[str]) -> int:
    """How much the sum of squares grows if these images join a fold; a larger fold costs more."""
    growth = sum((fold[grade] + n) ** 2 - fold[grade] ** 2 for grade, n in added.items())
    return growth + fold.total()


def _list_of_fold(
    records: Mapping[str, GradeRecord], fold_of_patient: Mapping[str, int], number: int
) -> list[ListedImage]:
    rows = []
    for image, record in records.items():
        held_out = fold_of_patient[record.patient] == number
        rows.append(ListedImage(image, *record, "validation" if held_out else "labelled"))
    return rows


def images_with_role(rows: Iterable[ListedImage], role: Role) -> list[str]:
    """Names of the images with a role, in the order of the list."""
    return [row.image for row in rows if row.role == role]


def image_list_csv(rows: Sequence[ListedImage]) -> str:
    """A list as the text of its csv file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def read_image_list(path: Path) -> list[ListedImage]:
    """Read a list that `image_list_csv` or a person wrote; patient and grade may be missing.

    Raises
    ------
    DataError
        The file cannot be read, has no column image or role, or a row has an unknown role or an
        image that an earlier row lists.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"image", "role"} - set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of images ({error})") from error
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(sorted(missing))}; the columns are {', '.join(COLUMNS)}"
        )
    listed: dict[str, ListedImage] = {}
    for number, cells in enumerate(rows, start=2):
        values = ((cells.get(column) or "").strip() for column in COLUMNS)
        row = ListedImage(*values)  # type: ignore[arg-type]  # the role is checked below
        if row.role not in get_args(Role):
            raise DataError(
                f"{path}, row {number}: role {row.role!r}; "
                f"one of {', '.join(get_args(Role))} is needed"
            )
        if row.image in listed:
            raise DataError(f"{path}, row {number}: {row.image} is listed twice")
        listed[row.image] = row
    return list(listed.values())
