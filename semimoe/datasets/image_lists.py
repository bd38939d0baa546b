"""Which training images are labelled, unlabelled and validation; whole patients are held out.

Lists are csv: image, patient, grade, role. They name images only, so they can be shared where the images cannot.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from semimoe.datasets.image_dataset import Case
from semimoe.model_errors import DataError, SettingsError

Role = Literal["labelled", "unlabelled", "validation"]
Protocol = Literal["honest", "as-published"]
COLUMNS = ("image", "patient", "grade", "role")
# Of all images; at most this much more, since patients are whole.
VALIDATION, _SLACK = 0.15, 0.05
_DRAWS = 1000


class Row(NamedTuple):
    """One image of a list."""

    image: str
    patient: str
    grade: str
    role: Role


def split(
    cases: Mapping[str, Case],
    *,
    protocol: Protocol,
    labelled: float,
    seed: int,
    validation: float = VALIDATION,
) -> list[Row]:
    """Draw roles by seed. The labelled images of a smaller share are among those of a larger one.

    Parameters
    ----------
    cases : image with a mask -> patient and grade, in a fixed order
    protocol : honest: whole patients are held out for validation; as-published: nobody is (17 labelled + 68 unlabelled of GlaS)
    labelled : share of *all* images whose masks are used, (0, 1]; held-out images come on top
    validation : least share of the images that is held out, [0, 1); at most 5 % more

    Raises
    ------
    DataError
        No whole patients make such a share, or nothing is left to train on.
    """
    if not (0 < labelled <= 1 and 0 <= validation < 1):
        raise SettingsError(
            f"--labelled {labelled}, --validation {validation}: shares in (0, 1] and [0, 1) are needed"
        )
    rng = np.random.default_rng(seed)
    held = _held_out(cases, validation, rng) if protocol == "honest" and validation > 0 else set()
    rest = [image for image in cases if image not in held]
    if not rest:
        raise DataError(
            "no image with a mask (X_anno.*, or X.* in a folder Annotation/) is left to train on; see --validation"
        )
    count = min(max(round(labelled * len(cases)), 1), len(rest))
    drawn = {rest[i] for i in rng.permutation(len(rest))[:count]}
    return [
        Row(
            image,
            *case,
            "validation" if image in held else "labelled" if image in drawn else "unlabelled",
        )
        for image, case in cases.items()
    ]


def _held_out(cases: Mapping[str, Case], share: float, rng: np.random.Generator) -> set[str]:
    """Images of whole patients, benign and malignant, drawn until they are enough; a draw that becomes too large is drawn anew."""
    sizes = Counter(case.patient for case in cases.values())
    grades = {case.grade for case in cases.values()}
    least = max(math.ceil(share * len(cases) - 1e-9), 1)
    most = max(math.floor((share + _SLACK) * len(cases) + 1e-9), least)
    patients = list(sizes)
    for _ in range(_DRAWS):
        chosen: set[str] = set()
        for i in rng.permutation(len(patients)):
            chosen.add(patients[i])
            total = sum(sizes[patient] for patient in chosen)
            held = {image for image, case in cases.items() if case.patient in chosen}
            if least <= total <= most and {cases[image].grade for image in held} == grades:
                return held
            if total > most:
                break
    raise DataError(
        f"no whole patients with every grade make up {least} to {most} of {len(cases)} images; give another --validation"
    )


def folds(cases: Mapping[str, Case], *, count: int = 5, seed: int = 0) -> list[list[Row]]:
    """Patient-wise folds of nearly the same size and grades; list k has fold k as validation and the rest labelled.

    Largest patients first, each to the fold where it leaves all folds most alike.
    """
    if count < 2:
        raise SettingsError(f"{count} folds; at least 2 are needed")
    tallies: dict[str, Counter[str]] = {}
    for case in cases.values():
        tallies.setdefault(case.patient, Counter())[case.grade] += 1
    patients = list(tallies)
    if len(patients) < count:
        raise DataError(f"{len(patients)} patients do not make {count} folds")
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    filled: list[Counter[str]] = [Counter() for _ in range(count)]
    fold_of: dict[str, int] = {}
    for patient in sorted(order, key=lambda name: -tallies[name].total()):
        costs = [
            sum((fold[grade] + n) ** 2 - fold[grade] ** 2 for grade, n in tallies[patient].items())
            + fold.total()
            for fold in filled
        ]
        best = int(np.argmin(costs))
        filled[best] += tallies[patient]
        fold_of[patient] = best
    return [
        [
            Row(image, *case, "validation" if fold_of[case.patient] == k else "labelled")
            for image, case in cases.items()
        ]
        for k in range(count)
    ]


def with_role(rows: Iterable[Row], role: Role) -> list[str]:
    """Images of a role, in the order of the list."""
    return [row.image for row in rows if row.role == role]


def to_csv(rows: Sequence[Row]) -> str:
    """A list as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def read_split(path: Path) -> list[Row]:
    """A list as written by `to_csv`, or made by hand.

    Raises
    ------
    DataError
        Other columns, another role, or an image listed twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"image", "role"} - set(table.fieldnames or ())
            given = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a list of images ({error})") from error
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(sorted(missing))}; the columns are {', '.join(COLUMNS)}"
        )
    rows: dict[str, Row] = {}
    for number, cells in enumerate(given, start=2):
        row = Row(*((cells.get(column) or "").strip() for column in COLUMNS))  # type: ignore[arg-type]
        if row.role not in get_args(Role):
            raise DataError(
                f"{path}, row {number}: role {row.role!r}; one of {', '.join(get_args(Role))} is needed"
            )
        if row.image in rows:
            raise DataError(f"{path}, row {number}: {row.image} is listed twice")
        rows[row.image] = row
    return list(rows.values())
