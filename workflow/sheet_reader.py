"""Read the sheet of slides as text and check all of it: every problem is listed, with its row."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from semimoe.setting_problems import shortened
from tiling.raster.similar_names import similar_name
from tiling.slides.pixel_size import MPP_RANGE_UM
from workflow.sheet import (
    ID_PATTERN,
    MAX_ID_CHARACTERS,
    SHEET_COLUMNS,
    SPLITS,
    SPLITS_WITH_OUTLINES,
    Sheet,
    SheetRow,
    is_demo_file,
)
from workflow.sheet_columns import Header, read_header
from workflow.sheet_consistency import problems_of_rows
from workflow.sheet_text import SheetTextError, problem_of_text, read_lines
from workflow.user_paths import (
    problem_in_results,
    problem_of_file,
    problem_of_path,
    with_home,
)

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
# Common names of the splits.
_SYNONYMS = {
    **dict.fromkeys(("train", "training", "labeled", "label", "annotated"), "labelled"),
    **dict.fromkeys(("unlabeled", "unlabel", "unsupervised"), "unlabelled"),
    **dict.fromkeys(("val", "valid", "dev", "validate", "tune"), "validation"),
    **dict.fromkeys(("testing", "holdout", "hold-out", "eval", "evaluation"), "test"),
    **dict.fromkeys(("inference", "infer", "prediction", "predicted"), "predict"),
    **dict.fromkeys(("ignore", "exclude", "excluded", "none", "no"), "skip"),
}


class _RowChecks(NamedTuple):
    """Which checks a row needs, see `read_sheet`; `folder` is that of the sheet."""

    folder: Path
    training: bool
    check_files: bool
    results: Path | None


def read_sheet(
    path: Path,
    *,
    allow_patients: tuple[str, ...] = (),
    training: bool = True,
    check_files: bool = True,
    results: Path | None = None,
) -> Sheet:
    """Read and check a sheet; problems are returned in the sheet.

    Parameters
    ----------
    path : UTF-8 text with a header, separated by tabs, commas or semicolons
    allow_patients : patients that may have slides both for training and for scoring
    training : the run trains a model, so that outlines are required
    check_files : report files that do not exist, and copies of one slide in two splits
    results : folder that the run writes to: files in it are reported
    """
    try:
        first, *lines = read_lines(path)
    except SheetTextError as error:
        return Sheet((), (f"{path}: {error}",))
    header = read_header(first.cells)
    header_problems = (first.problem,) if first.problem else header.problems
    if header_problems:
        return Sheet((), tuple(f"{path}: {problem}" for problem in header_problems))

    checks = _RowChecks(path.parent, training, check_files, results)
    problems: list[str] = []
    rows: list[SheetRow] = []
    for line in lines:
        cells = list(line.cells)
        if not line.problem and not any(cells):
            continue
        while len(cells) > len(header.names) and not cells[-1]:
            cells.pop()
        problem = line.problem
        if len(cells) > len(header.names):
            problem = f"{len(cells)} cells, but the header has {len(header.names)} columns"
        if problem:
            problems.append(f"{path} row {line.number}: {problem}")
            continue
        padded = cells + [""] * (len(header.names) - len(cells))
        row, row_problems = _read_row(dict(zip(header.names, padded, strict=True)), checks)
        problems += [f"{path} row {line.number}, column {problem}" for problem in row_problems]
        rows.append(row)
    common_problems = problems_of_rows(
        rows, allow_patients, training=training, check_files=check_files
    )
    if not rows and problems:
        common_problems = []  # no row could be read, so that none can be compared with another
    problems += [f"{path}: {problem}" for problem in common_problems]
    used = tuple(row for row in rows if row.split != "skip")
    return Sheet(used, tuple(problems), tuple(_remarks(path, header, used, training=training)))


def _remarks(
    path: Path, header: Header, rows: tuple[SheetRow, ...], *, training: bool
) -> list[str]:
    remarks = []
    if header.further:
        columns = ", ".join(shortened(name) for name in header.further)
        remarks.append(f"{path}: columns that are only copied to the result tables: {columns}")
    scored = any(row.split in ("validation", "test") for row in rows)
    if training and scored and "patient" not in header.names:
        remarks.append(
            f"{path}: without a column patient, slides of one patient may be both trained on and"
            " scored"
        )
    return remarks


def _read_row(texts: dict[str, str], checks: _RowChecks) -> tuple[SheetRow, list[str]]:
    """A row, and its problems, each after the name of its column."""
    problems = [
        f"{name}: {problem}" for name, text in texts.items() if (problem := problem_of_text(text))
    ]
    if problems:
        texts = {name: "" if problem_of_text(text) else text for name, text in texts.items()}
    slide, split = texts["slide"], texts["split"].lower()
    if not problems or slide:
        problems += _slide_problems(slide)
    if split not in SPLITS:
        text = shortened(texts["split"])
        problems.append(f"split: {text!r} is not one of {', '.join(SPLITS)}{_split_hint(split)}")
    files: dict[str, str | None] = {}
    for column in ("path", "annotation", "tissue", "roi"):
        files[column], problem = _read_file(texts.get(column, ""), column, split, checks)
        problems += [problem] if problem else []
    if not texts["path"]:
        problems.append("path: empty; enter the slide file")
    if checks.training and split in SPLITS_WITH_OUTLINES and not files["annotation"]:
        problems.append(
            f"annotation: empty, but a {split} slide needs outlines "
            "(GeoJSON from QuPath, or a mask image of glands)"
        )
    annotated = texts.get("annotated", "").lower() or "regions"
    if annotated not in ("regions", "whole"):
        problems.append(f"annotated: {shortened(annotated)!r} is not one of regions, whole")
    mpp, mpp_problems = _read_mpp(texts.get("mpp", ""))
    row = SheetRow(
        slide=slide,
        path=files["path"] or "",
        split=split,
        annotation=files["annotation"],
        annotated="whole" if annotated == "whole" else "regions",
        mpp=mpp,
        tissue=files["tissue"],
        roi=files["roi"],
        patient=texts.get("patient") or None,
        extra={name: text for name, text in texts.items() if name not in SHEET_COLUMNS},
    )
    return row, problems + mpp_problems


def _slide_problems(slide: str) -> list[str]:
    if not re.fullmatch(ID_PATTERN, slide):
        return [
            f"slide: {shortened(slide)!r} is not a valid id; use letters, digits, '_', '.' and"
            " '-', and begin with a letter or a digit"
        ]
    if len(slide) > MAX_ID_CHARACTERS:
        return [
            f"slide: {shortened(slide)!r} is too long for the names of files; use at most"
            f" {MAX_ID_CHARACTERS} characters"
        ]
    return []


def _split_hint(split: str) -> str:
    meant = _SYNONYMS.get(split) or similar_name(split, SPLITS)
    return f" (did you mean {meant}?)" if meant else ""


def _read_file(
    text: str, column: str, split: str, checks: _RowChecks
) -> tuple[str | None, str | None]:
    """A file of the sheet as the rules name it, and its problem after the name of the column.

    Paths are relative to the folder of the sheet; those of the demo stay as they are.
    """
    if not text:
        return None, None
    if is_demo_file(text):
        return text, None
    short_text = shortened(text, 300)
    try:
        expanded = with_home(text)
    except ValueError as error:
        return text, f"{column}: {error}"
    file = expanded if os.path.isabs(expanded) else str(checks.folder / expanded)
    problem = None
    if split != "skip":
        problem = problem_of_path(text) or problem_of_path(file)
        if problem is None and checks.check_files:
            problem = problem_of_file(file, text)
        if problem is None and checks.results is not None:
            problem = problem_in_results(file, checks.results)
    return file, problem and f"{column}: {short_text} {problem}"


def _read_mpp(text: str) -> tuple[float | None, list[str]]:
    if not text:
        return None, []
    low, high = MPP_RANGE_UM
    if not _NUMBER.fullmatch(text):
        hint = "; write a point in place of the comma" if "," in text else ""
        return None, [f"mpp: {shortened(text)!r} is not a number of um per pixel{hint}"]
    mpp = float(text)
    if not low <= mpp <= high:
        return None, [
            f"mpp: {text} um per pixel is outside {low} to {high}; a 20x scan has about 0.5"
        ]
    return mpp, []
