"""Read the sheet of slides as text and check all of it: every problem is listed, with its row."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from workflow.sheet import (
    DEMO_FOLDER,
    ID_PATTERN,
    RESERVED_COLUMNS,
    SHEET_COLUMNS,
    SPLITS,
    SPLITS_WITH_OUTLINES,
    Sheet,
    SheetRow,
)

_REQUIRED_COLUMNS = ("slide", "path", "split")
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_MPP_RANGE_UM = (0.05, 20.0)
_GIVE_SHEET = "give a sheet with `--config slides=SHEET`"


def read_sheet(
    path: Path,
    *,
    allow_patients: tuple[str, ...] = (),
    training: bool = True,
    check_files: bool = True,
) -> Sheet:
    """Read and check a sheet; problems are returned in the sheet.

    Parameters
    ----------
    path : UTF-8 text with a header, separated by tabs, commas or semicolons
    allow_patients : patients that may have slides both for training and for scoring
    training : the run trains a model, so that outlines are required
    check_files : report files that do not exist
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return _unreadable(f"{path}: no such file; {_GIVE_SHEET}")
    except (OSError, UnicodeDecodeError) as error:
        return _unreadable(f"{path}: cannot be read as UTF-8 text ({error}); {_GIVE_SHEET}")
    if not lines:
        return _unreadable(
            f"{path}: the file is empty; it needs a header with the columns slide, path, split"
        )
    # Spreadsheets of countries with a decimal comma separate by semicolons.
    delimiter = next((sign for sign in "\t," if sign in lines[0]), ";")
    header, *body = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in header]
    while header and not header[-1]:  # spreadsheets write separators at the end of every line
        header.pop()
    header_problems = _header_problems(header)
    if header_problems:
        return _unreadable(*(f"{path}: {problem}" for problem in header_problems))

    problems: list[str] = []
    rows: list[SheetRow] = []
    for number, cells in enumerate(body, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header):
            problems.append(
                f"{path} row {number}: {len(cells)} cells, but the header has {len(header)} columns"
            )
        padded = cells + [""] * len(header)
        texts = {name: cell.strip() for name, cell in zip(header, padded, strict=False)}
        row, row_problems = _read_row(
            texts, path.parent, training=training, check_files=check_files
        )
        problems += [f"{path} row {number}, column {problem}" for problem in row_problems]
        rows.append(row)
    problems += [
        f"{path}: {text}" for text in _problems_of_rows(rows, allow_patients, training=training)
    ]
    return Sheet(tuple(row for row in rows if row.split != "skip"), tuple(problems))


def _unreadable(*problems: str) -> Sheet:
    return Sheet((), problems)


def _header_problems(header: list[str]) -> list[str]:
    columns = ", ".join(header)
    missing = [name for name in _REQUIRED_COLUMNS if name not in header]
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    nameless = [number for number, name in enumerate(header, start=1) if not name]
    reserved = sorted((set(header) - set(SHEET_COLUMNS)) & set(RESERVED_COLUMNS))
    return [
        *(f"column {name} is missing (columns of the file: {columns})" for name in missing),
        *(f"column {name} occurs twice" for name in repeated),
        *(f"column {number} has no name" for number in nameless),
        *(f"column {name} is also a column of the result tables; rename it" for name in reserved),
    ]


def _read_row(
    texts: dict[str, str], folder: Path, *, training: bool, check_files: bool
) -> tuple[SheetRow, list[str]]:
    """A row, and its problems, each after the name of its column."""
    problems: list[str] = []
    slide, split = texts["slide"], texts["split"]
    if not re.fullmatch(ID_PATTERN, slide):
        problems.append(
            f"slide: {slide!r} is not a valid id; use letters, digits, '_', '.' and '-', "
            "and begin with a letter or a digit"
        )
    if split not in SPLITS:
        problems.append(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    files: dict[str, str | None] = {}
    for column in ("path", "annotation", "tissue", "roi"):
        text = texts.get(column, "")
        files[column] = file = _from_working_directory(text, folder) if text else None
        checked = check_files and split != "skip" and not text.startswith(DEMO_FOLDER)
        if file and checked and not Path(file).exists():
            problems.append(f"{column}: {text} does not exist (expected at {file})")
    if not files["path"]:
        problems.append("path: empty; enter the slide file")
    if training and split in SPLITS_WITH_OUTLINES and not files["annotation"]:
        problems.append(
            f"annotation: empty, but a {split} slide needs outlines "
            "(GeoJSON from QuPath, or a mask image of glands)"
        )
    annotated = texts.get("annotated", "") or "regions"
    if annotated not in ("regions", "whole"):
        problems.append(f"annotated: {annotated!r} is not one of regions, whole")
    is_mask = (files["annotation"] or "").lower().endswith(_MASK_SUFFIXES)
    mpp, mpp_problems = _read_mpp(texts.get("mpp", ""))
    row = SheetRow(
        slide=slide,
        path=files["path"] or "",
        split=split,
        annotation=files["annotation"],
        annotated="whole" if is_mask or annotated == "whole" else "regions",
        mpp=mpp,
        tissue=files["tissue"],
        roi=files["roi"],
        patient=texts.get("patient") or None,
        extra={name: text for name, text in texts.items() if name not in SHEET_COLUMNS},
    )
    return row, problems + mpp_problems


def _from_working_directory(text: str, folder: Path) -> str:
    """A path of the sheet, which is relative to the folder of the sheet; those of the demo stay."""
    if text.startswith(DEMO_FOLDER):
        return text
    path = Path(text).expanduser()
    return str(path if path.is_absolute() else folder / path)


def _read_mpp(text: str) -> tuple[float | None, list[str]]:
    if not text:
        return None, []
    low, high = _MPP_RANGE_UM
    try:
        mpp = float(text)
    except ValueError:
        return None, [f"mpp: {text!r} is not a number of um per pixel"]
    if not low <= mpp <= high:
        return None, [
            f"mpp: {text} um per pixel is outside {low} to {high}; a 20x scan has about 0.5"
        ]
    return mpp, []


def _problems_of_rows(
    rows: Sequence[SheetRow], allow_patients: tuple[str, ...], *, training: bool
) -> list[str]:
    """Problems that several rows have together, sorted."""
    used = [row for row in rows if row.split != "skip"]
    problems = _repeated_ids(rows)
    if not used:
        problems.append("no slide to process; the sheet has no row, or every row has split skip")
    elif training and not any(row.split == "labelled" for row in used):
        problems.append(
            "column split: no labelled slide to train on; outline some regions, "
            "or give a trained model with `--config model=FOLDER`"
        )
    if training:
        problems += [*_files_of_two_splits(used), *_patients_of_two_sides(used, allow_patients)]
    return sorted(problems)


def _repeated_ids(rows: Sequence[SheetRow]) -> list[str]:
    """One problem for each id that occurs more than once, with the spelling that comes first."""
    spellings: dict[str, list[str]] = {}
    for row in rows:
        spellings.setdefault(row.slide.lower(), []).append(row.slide)
    return [
        f"column slide: {same[0]!r} occurs more than once (upper and lower case count as the same)"
        for same in spellings.values()
        if len(same) > 1
    ]


def _patients_of_two_sides(used: list[SheetRow], allow_patients: tuple[str, ...]) -> list[str]:
    trained = {row.patient for row in used if row.split == "labelled" and row.patient}
    scored = {row.patient for row in used if row.split in ("validation", "test") and row.patient}
    return [
        f"column patient: {patient!r} has labelled slides and validation or test slides; "
        "change the split of one group, or name the patient in `allow_patients`"
        for patient in sorted((trained & scored) - set(allow_patients))
    ]


def _files_of_two_splits(used: list[SheetRow]) -> list[str]:
    """Files that occur in two of the splits labelled, validation and test."""
    splits: dict[Path, set[str]] = {}
    for row in used:
        if row.path and row.split in SPLITS_WITH_OUTLINES:
            splits.setdefault(Path(row.path).resolve(), set()).add(row.split)
    return [
        f"column path: {path} is both {' and '.join(sorted(names))}"
        for path, names in splits.items()
        if len(names) > 1
    ]
