"""The sheet of slides: read as text, checked as a whole, every problem listed with row and column."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Split = Literal["labelled", "unlabelled", "validation", "test", "predict", "skip"]
SPLITS: tuple[str, ...] = get_args(Split)
ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
# `check` is a remark of `python -m tiling sheet` to whoever fills the sheet in.
COLUMNS = (
    "slide",
    "path",
    "split",
    "annotation",
    "annotated",
    "mpp",
    "tissue",
    "roi",
    "patient",
    "check",
)
_QUARTILES = tuple(f"gland_area_um2_q{quartile}" for quartile in (25, 50, 75))
RESERVED = (
    "region",
    "glands",
    "gland_area_mm2",
    "area_mm2",
    "gland_share",
    "glands_per_mm2",
    *_QUARTILES,
    "method",
    "split",
    "error",
)
_NEEDS_ANNOTATION = ("labelled", "validation", "test")
_MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
MADE = "data/demo/"  # files that a rule makes
_MPP_RANGE_UM = (0.05, 20.0)


@dataclass(frozen=True)
class Slide:
    """One row. Paths are as Snakemake needs them; `mpp` in um per level-0 pixel, only where the sheet overrides the file."""

    slide: str
    path: str
    split: str
    annotation: str | None
    annotated: Literal["regions", "whole"]
    mpp: float | None
    tissue: str | None
    roi: str | None
    patient: str | None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """The rows that are used (`skip` left out), and what is wrong with the sheet (empty when it is sound)."""

    rows: tuple[Slide, ...]
    problems: tuple[str, ...]

    def __getitem__(self, slide: str) -> Slide:
        return next(row for row in self.rows if row.slide == slide)

    def ids(self, *splits: str) -> list[str]:
        """Ids of the rows of these splits (all without an argument), in the sheet's order."""
        return [row.slide for row in self.rows if not splits or row.split in splits]

    def annotated(self, *splits: str) -> list[str]:
        """Ids of the rows of these splits that have an annotation."""
        return [
            row.slide for row in self.rows if row.annotation and (not splits or row.split in splits)
        ]

    def evaluated(self) -> list[str]:
        """Ids of the slides whose glands are scored against outlines."""
        return self.annotated(*_NEEDS_ANNOTATION)

    def passed_through(self) -> dict[str, dict[str, str]]:
        """Per slide what the tables repeat of the sheet: split, patient, further columns."""
        return {
            row.slide: {"split": row.split, "patient": row.patient or "", **row.extra}
            for row in self.rows
        }


def load(
    path: Path,
    *,
    allow_patients: tuple[str, ...] = (),
    training: bool = True,
    look_for_files: bool = True,
) -> Sheet:
    """Read and check a sheet.

    Parameters
    ----------
    path : UTF-8 text separated by tabs, commas or semicolons, with a header, with or without byte order mark
    allow_patients : patients that may stand on both sides of the labelled / held-out line
    training : False where a model is given or the slides are only looked at: then no labelled row is needed
    look_for_files : name those that are missing
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return Sheet((), (f"{path}: no such file; give a sheet with `--config slides=SHEET`",))
    except (OSError, UnicodeDecodeError) as error:
        return Sheet(
            (),
            (
                f"{path}: cannot be read as UTF-8 text ({error}); give a sheet with `--config slides=SHEET`",
            ),
        )
    if not lines:
        return Sheet((), (f"{path}: empty; it needs a header with the columns slide, path, split",))
    # Spreadsheets of countries with a decimal comma separate by semicolons.
    delimiter = next((mark for mark in "\t," if mark in lines[0]), ";")
    header, *body = csv.reader(lines, delimiter=delimiter)
    header = [name.strip() for name in header]
    while header and not header[-1]:  # spreadsheets leave separators at the end of every line
        header.pop()
    missing = [name for name in ("slide", "path", "split") if name not in header]
    reserved = sorted((set(header) - set(COLUMNS)) & set(RESERVED))
    nameless = [number for number, name in enumerate(header, start=1) if not name]
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if missing or doubled or reserved or nameless:
        found = [
            f"{path}: column {name} is missing (found: {', '.join(header)})" for name in missing
        ]
        found += [f"{path}: column {name} stands twice" for name in doubled]
        found += [f"{path}: column {number} has no name" for number in nameless]
        return Sheet(
            (),
            (
                *found,
                *(
                    f"{path}: column {name} is a name of the result tables; rename it"
                    for name in reserved
                ),
            ),
        )

    problems: list[str] = []
    rows: list[Slide] = []
    for number, cells in enumerate(body, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        if len(cells) > len(header):
            problems.append(
                f"{path} row {number}: {len(cells)} cells, but the header has {len(header)} columns"
            )
        values = {
            name: cell.strip()
            for name, cell in zip(header, cells + [""] * len(header), strict=False)
        }
        row, found = _row(values, path.parent, look_for_files=look_for_files, training=training)
        problems += [f"{path} row {number}, column {text}" for text in found]
        rows.append(row)
    problems += [f"{path}: {text}" for text in _across(rows, allow_patients, training)]
    return Sheet(tuple(row for row in rows if row.split != "skip"), tuple(problems))


def _row(
    values: dict[str, str], folder: Path, *, look_for_files: bool, training: bool
) -> tuple[Slide, list[str]]:
    found: list[str] = []
    say = found.append
    slide, split = values["slide"], values["split"]
    if not re.fullmatch(ID_PATTERN, slide):
        say(
            f"slide: {slide!r} is not an id; use letters, digits, '_', '.', '-', beginning with a letter or digit"
        )
    if split not in SPLITS:
        say(f"split: {split!r} is not one of {', '.join(SPLITS)}")
    used = split != "skip" and look_for_files
    where = {
        name: _located(values.get(name, ""), folder, name, say if used else None)
        for name in ("path", "annotation", "tissue", "roi")
    }
    if not where["path"]:
        say("path: empty; give the slide file")
    if training and split in _NEEDS_ANNOTATION and not where["annotation"]:
        say(
            f"annotation: empty, but a {split} slide needs outlines (GeoJSON from QuPath, or a mask image of glands)"
        )
    annotated = values.get("annotated", "") or "regions"
    if annotated not in ("regions", "whole"):
        say(f"annotated: {annotated!r} is not one of regions, whole")
    is_mask = (where["annotation"] or "").lower().endswith(_MASK_ENDINGS)
    return (
        Slide(
            slide=slide,
            path=where["path"] or "",
            split=split,
            annotation=where["annotation"],
            annotated="whole" if is_mask or annotated == "whole" else "regions",
            mpp=_mpp(values.get("mpp", ""), say),
            tissue=where["tissue"],
            roi=where["roi"],
            patient=values.get("patient") or None,
            extra={name: value for name, value in values.items() if name not in COLUMNS},
        ),
        found,
    )


def _located(text: str, folder: Path, column: str, say: Callable[[str], None] | None) -> str | None:
    """The path as seen from the working directory; said when it does not exist (the demo's files are made by a rule)."""
    if not text:
        return None
    if text.startswith(MADE):
        return text
    path = Path(text).expanduser()
    path = path if path.is_absolute() else folder / path
    if say and not path.exists():
        say(f"{column}: {text} does not exist (looked for {path})")
    return str(path)


def _mpp(text: str, say: Callable[[str], None]) -> float | None:
    if not text:
        return None
    low, high = _MPP_RANGE_UM
    try:
        value = float(text)
    except ValueError:
        say(f"mpp: {text!r} is not a number of um per pixel")
        return None
    if not low <= value <= high:
        say(f"mpp: {text} um per pixel is outside {low} to {high}; a 20x scan has about 0.5")
        return None
    return value


def _across(rows: list[Slide], allow_patients: tuple[str, ...], training: bool) -> list[str]:
    found: list[str] = []
    seen: dict[str, str] = {}
    for row in rows:
        other = seen.setdefault(row.slide.lower(), row.slide)
        if sum(r.slide.lower() == row.slide.lower() for r in rows) > 1 and row.slide == other:
            found.append(
                f"column slide: {row.slide!r} stands more than once (upper and lower case count as the same)"
            )
    used = [row for row in rows if row.split != "skip"]
    if not used:
        found.append("no slide to work on")
    elif training and not any(row.split == "labelled" for row in used):
        found.append(
            "column split: no labelled slide to train on; outline some regions, or give a trained model with `--config model=FOLDER`"
        )
    found += _leaks(used) if training else []
    held_out = {row.patient for row in used if row.split in ("validation", "test") and row.patient}
    both = sorted(
        {
            row.patient
            for row in used
            if row.split == "labelled" and row.patient in held_out and row.patient
        }
        - set(allow_patients)
    )
    if training:
        found += [
            f"column patient: {patient!r} is both labelled and held out; move its slides to one side, or name it in `allow_patients`"
            for patient in both
        ]
    return sorted(set(found))


def _leaks(used: list[Slide]) -> list[str]:
    """One file on two sides of a line that must hold: learnt from, chosen on (validation), scored on (test)."""
    sides: dict[Path, set[str]] = {}
    for row in used:
        if row.path and row.split in _NEEDS_ANNOTATION:
            sides.setdefault(Path(row.path).resolve(), set()).add(row.split)
    return [
        f"column path: {path} is both {' and '.join(sorted(splits))}"
        for path, splits in sides.items()
        if len(splits) > 1
    ]
