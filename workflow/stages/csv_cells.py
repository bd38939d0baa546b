"""Texts of a person in csv files: spreadsheet programs must not run them as formulas."""

import re

from workflow.sheet_columns import FORMULA_STARTS

# Texts such as -1.5, +, ++ or - are no formulas.
_HARMLESS = re.compile(r"[-+]*|[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def plain_cell(text: str) -> str:
    """A text that a spreadsheet program shows as it is: `'` is written before a formula.

    >>> plain_cell("=cmd|'/c calc'!A0"), plain_cell("-1.5"), plain_cell("site 3")
    ("'=cmd|'/c calc'!A0", '-1.5', 'site 3')
    """
    is_formula = text.lstrip().startswith(FORMULA_STARTS)
    return f"'{text}" if is_formula and not _HARMLESS.fullmatch(text) else text
