"""Numbers with their nouns, and remedies, for messages."""

import re
from collections.abc import Sequence

_COLUMN = re.compile(r" \(in a sheet: column '(\w+)'\)")
_COLUMNS_WITH_OPTION = ("mpp", "tissue", "roi")


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the singular or plural.

    >>> counted(1, "gland"), counted(0, "gland"), counted(12, "slide")
    ('1 gland', '0 glands', '12 slides')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b"], 2), listed(["a", "b", "c"], 1)
    ('a, b', 'a and 2 more')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def for_command_line(message: str) -> str:
    """A message whose remedy is a column of the sheet, for a user who has no sheet.

    >>> for_command_line("no pixel size; give it (in a sheet: column 'mpp')")
    'no pixel size; give it (option --mpp)'
    >>> for_command_line("no such file; correct the path (in a sheet: column 'path')")
    'no such file; correct the path'
    """

    def option(match: re.Match[str]) -> str:
        return f" (option --{match[1]})" if match[1] in _COLUMNS_WITH_OPTION else ""

    return _COLUMN.sub(option, message)
