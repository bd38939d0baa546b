"""The names of the columns of a sheet: spelling, misspelt names, names that are taken."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tiling.raster.similar_names import similar_name
from workflow.sheet import RESERVED_COLUMNS, SHEET_COLUMNS
from workflow.sheet_text import problem_of_text

_REQUIRED_COLUMNS = ("slide", "path", "split")
# Words that change nothing beside the name of a column: `patient_id` stands for `patient`, but
# `patient_age` is a further column.
_MEANINGLESS_WORDS = {
    *("id", "ids", "no", "nr", "number", "name", "code", "s"),
    *("file", "files", "path", "geojson", "mask", "image", "um", "px", "x", "value"),
}
# Higher than elsewhere: most further columns have names of their own.
_MIN_SIMILARITY = 0.8
# Spreadsheet programs run a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@")


class Header(NamedTuple):
    """The columns of a sheet.

    Attributes
    ----------
    names : known columns in lower case, further ones as they are written
    problems : what is wrong with them, without the name of the file
    """

    names: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def further(self) -> tuple[str, ...]:
        """Columns without a meaning for the run: the result tables repeat them."""
        return tuple(name for name in self.names if name not in SHEET_COLUMNS)


def read_header(cells: Sequence[str]) -> Header:
    """Check the names of the columns; upper and lower case of known ones are the same."""
    spellings = list(cells)
    while spellings and not spellings[-1]:  # spreadsheets write separators at the end of each line
        spellings.pop()
    names = tuple(name.lower() if name.lower() in SHEET_COLUMNS else name for name in spellings)
    return Header(names, tuple(_problems(names)))


def _problems(names: tuple[str, ...]) -> list[str]:
    unreadable = [problem for name in names if (problem := problem_of_text(name))]
    if unreadable:
        return [f"header: {problem}" for problem in unreadable]
    columns = ", ".join(names)
    missing = [name for name in _REQUIRED_COLUMNS if name not in names]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    nameless = [number for number, name in enumerate(names, start=1) if not name]
    further = [name for name in names if name and name not in SHEET_COLUMNS]
    reserved = sorted({name for name in further if name.lower() in RESERVED_COLUMNS})
    formulas = [name for name in further if name.startswith(FORMULA_STARTS)]
    return [
        *(f"column {name} is missing; add it (columns of the file: {columns})" for name in missing),
        *(f"column {name} occurs twice; remove or rename one of the two" for name in repeated),
        *(f"column {number} has no name; enter one, or remove the column" for number in nameless),
        *(f"column {name} is also a column of the result tables; rename it" for name in reserved),
        *(f"column {name} begins like a formula; rename it" for name in formulas),
        *(
            f"column {name} is not known: did you mean {intended}? Rename it, to {intended} or to"
            " a name that is less similar"
            for name in further
            if (intended := _intended_column(name, names))
        ),
    ]


def _intended_column(name: str, names: tuple[str, ...]) -> str | None:
    """The known column that a misspelt name stands for; None for a further column."""
    candidates = [column for column in SHEET_COLUMNS if column not in {*names, "check"}]
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    named = next((column for column in SHEET_COLUMNS if column in words), None)
    if named is not None:
        others = [word for word in words if word != named]
        is_misspelt = all(word in _MEANINGLESS_WORDS or word.isdigit() for word in others)
        return named if is_misspelt and named in candidates else None
    joined = "".join(words)
    return similar_name(joined, candidates, min_similarity=_MIN_SIMILARITY) or next(
        (
            column
            for column in candidates
            if len(column) == 3 and set(joined) == set(column) and abs(len(joined) - 3) <= 1
        ),
        None,
    )
