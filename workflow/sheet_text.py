"""The text of a sheet file as rows of cells; what cannot be read is named with its row.

Each line of the file is one row: a cell holds no line break. An opening quote without an end can
therefore not take the rows after it.
"""

import csv
import re
import stat
import unicodedata
from pathlib import Path
from typing import NamedTuple

from workflow.user_paths import absolute_place

_MAX_SHEET_BYTES = 64 << 20
_MAX_CELL_CHARACTERS = 4096
_GIVE_SHEET = "give a sheet with `--config slides=SHEET`"
_SAVE_AS_TEXT = "save the table as text: CSV UTF-8, or text separated by tabs"
# First bytes of files that spreadsheet programs write.
_BINARY_FORMATS = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook (.xlsx, .ods)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
_LINE_END = re.compile(r"\r\n|\r|\n")
# Control characters and the separators of lines and paragraphs.
_REFUSED_CATEGORIES = {"Cc", "Zl", "Zp"}
_MAY_BE_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class SheetTextError(ValueError):
    """A file that is no sheet at all. The message does not name the file."""


class SheetLine(NamedTuple):
    """One line of a sheet.

    Attributes
    ----------
    number : of the line in the file, from 1
    cells : without blanks at both ends; empty if the line cannot be read
    problem : why it cannot be read
    """

    number: int
    cells: tuple[str, ...]
    problem: str | None = None


def read_lines(path: Path) -> list[SheetLine]:
    """The lines of a sheet that are not blank; the first one is the header.

    Parameters
    ----------
    path : UTF-8 text, separated by tabs, commas or semicolons

    Raises
    ------
    SheetTextError
        The file cannot be read, or has no text.
    """
    lines = _LINE_END.split(_text(path))
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    delimiter = None
    if numbered and (line := numbered[0][1].strip().lower()).startswith("sep=") and len(line) == 5:
        delimiter = line[-1]  # Excel's own first line
        del numbered[0]
    if not numbered:
        raise SheetTextError(
            "the file is empty; it needs a header with the columns slide, path, split"
        )
    # Spreadsheets of countries with a decimal comma separate by semicolons.
    delimiter = delimiter or max("\t,;", key=numbered[0][1].count)
    return [_split(number, line, delimiter) for number, line in numbered]


def problem_of_text(text: str) -> str | None:
    """Why a cell cannot be used as text: it holds a control character or is very long."""
    if len(text) > _MAX_CELL_CHARACTERS:
        return f"the cell has {len(text)} characters; at most {_MAX_CELL_CHARACTERS} are allowed"
    if not _MAY_BE_REFUSED.search(text):
        return None
    refused = next(sign for sign in text if unicodedata.category(sign) in _REFUSED_CATEGORIES)
    return f"the cell holds the control character U+{ord(refused):04X}; remove it"


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise SheetTextError(
                f"is a folder; `python -m tiling sheet {path} --out my_slides.tsv` makes a sheet"
                " of its slides"
            )
        if not stat.S_ISREG(status.st_mode):
            raise SheetTextError(f"is no file (a pipe or a device); {_GIVE_SHEET}")
        if status.st_size > _MAX_SHEET_BYTES:
            raise SheetTextError(
                f"has {status.st_size / 1e6:.0f} MB, which is too large for a sheet; {_GIVE_SHEET}"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise SheetTextError(f"no such file: {absolute_place(str(path))}; {_GIVE_SHEET}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SheetTextError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SheetTextError(f"cannot be read ({reason}); {_GIVE_SHEET}") from None
    for start, name in _BINARY_FORMATS.items():
        if content.startswith(start):
            raise SheetTextError(f"cannot be read as UTF-8 text: it is {name}; {_SAVE_AS_TEXT}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = len(_LINE_END.findall(content[: error.start].decode("latin-1"))) + 1
        raise SheetTextError(
            f"cannot be read as UTF-8 text: byte {content[error.start]:#04x} in row {row};"
            f" {_SAVE_AS_TEXT}"
        ) from None


def _split(number: int, line: str, delimiter: str) -> SheetLine:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        if "field limit" in str(error):
            reason = f"a cell has more than {csv.field_size_limit()} characters"
        else:
            reason = (
                'a cell begins with a quote (") that is not closed at its end in the same row;'
                " remove the quote, or put the cell in quotes and write quotes inside twice"
            )
        return SheetLine(number, (), reason)
    return SheetLine(number, tuple(cell.strip() for cell in cells))
