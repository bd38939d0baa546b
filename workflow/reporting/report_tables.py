"""The tables of the report: fewer columns and digits than the csv files, and units."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from semimoe.methods import METHODS

_SHARE_DIGITS = 3
_SIGNIFICANT_DIGITS = 3
_MIN_WITH_SEPARATOR = 10_000

# A row of a csv file: texts by column.
CsvRow = dict[str, str]


class ReportColumn(NamedTuple):
    """One column.

    Attributes
    ----------
    group : header above this column and its neighbours of the same group
    title, unit : header of the column
    text : text of a csv row; "" where the row has no value
    is_number : the column is right-aligned and never wrapped
    """

    group: str
    title: str
    unit: str
    text: Callable[[CsvRow], str]
    is_number: bool = True


class ReportRow(NamedTuple):
    """One row: the texts of its cells, and why it has no numbers ("" if it has)."""

    cells: list[str]
    error: str


class ReportTable(NamedTuple):
    """What the template needs to draw a table.

    Attributes
    ----------
    groups : first header row, (title, number of columns)
    columns : second header row; columns of text come first
    rows : below the header
    """

    groups: list[tuple[str, int]]
    columns: list[ReportColumn]
    rows: list[ReportRow]

    @property
    def text_columns(self) -> int:
        """Number of columns of text."""
        return sum(not column.is_number for column in self.columns)


def metrics_report(rows: Sequence[CsvRow]) -> ReportTable:
    """`metrics.csv` for the report."""
    method = ReportColumn("", "method", "", _method_of, is_number=False)
    texts = [_text("slide"), _text("split"), method, _text("region")]
    return _table(rows, [*texts, *_SCORE_COLUMNS])


def cohort_report(rows: Sequence[CsvRow]) -> ReportTable:
    """`cohort.csv` for the report; further columns of the sheet follow the split."""
    own_columns = {"slide", "region", "split", "error", *_COHORT_KEYS}
    names = list(rows[0]) if rows else []
    further = [
        name for name in names if name not in own_columns and any(row.get(name) for row in rows)
    ]
    texts = [_text(name) for name in ("slide", "region", "split", *further)]
    return _table(rows, [*texts, *_COHORT_COLUMNS])


def cohort_facts(row: CsvRow) -> list[str]:
    """A row of `cohort.csv` as short texts: the cells of the sheet, glands and tissue.

    >>> row = {"slide": "A", "region": "", "split": "test", "glands": "61", "area_mm2": "3.2"}
    >>> cohort_facts({**row, "gland_share": "0.41"})
    ['split: test', 'glands: count 61, share of area 0.410', 'tissue 3.20 mm\u00b2']
    """
    hidden = {"slide", "region", "error", *_COHORT_KEYS}
    facts = [
        f"{key.replace('_', ' ')}: {value}"
        for key, value in row.items()
        if key not in hidden and value
    ]
    for group in ("glands", "gland area"):
        columns = [column for column in _COHORT_COLUMNS if column.group == group]
        texts = [
            f"{column.title} {column.text(row)} {column.unit}".strip()
            for column in columns
            if column.text(row)
        ]
        if texts:
            facts.append(f"{group}: {', '.join(texts)}")
    if row.get("area_mm2"):
        facts.append(f"tissue {short_number(row['area_mm2'])} mm\u00b2")
    return facts


def method_label(name: str) -> str:
    """Label of a method; other models have no label but their name.

    >>> method_label("supervised"), method_label("given model"), method_label("start-model")
    ('supervised-only', 'given model', 'start model')
    """
    return METHODS[name].label if name in METHODS else name.replace("-", " ")


def short_number(text: str) -> str:
    """A number with three significant digits and without exponent; other texts do not change.

    >>> short_number("0.8588281"), short_number("123456.7"), short_number("2.0")
    ('0.859', '123,457', '2.00')
    >>> short_number("61"), short_number("0.00123"), short_number("1.5e-07")
    ('61', '0.00123', '0.000000150')
    >>> short_number("validation")
    'validation'
    """
    if "." not in text and "e" not in text:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if abs(number) >= 100:
        return f"{number:,.0f}" if abs(number) >= _MIN_WITH_SEPARATOR else f"{number:.0f}"
    short = f"{number:#.{_SIGNIFICANT_DIGITS}g}".rstrip(".")
    if "e" not in short:
        return short
    exponent = math.floor(math.log10(abs(number)))
    return f"{number:.{_SIGNIFICANT_DIGITS - 1 - exponent}f}"


def _table(rows: Sequence[CsvRow], columns: list[ReportColumn]) -> ReportTable:
    same_group = groupby(column.group for column in columns)
    return ReportTable(
        groups=[(title, len(list(members))) for title, members in same_group],
        columns=columns,
        rows=[
            ReportRow([column.text(row) for column in columns], row.get("error", ""))
            for row in rows
        ],
    )


def _text(key: str) -> ReportColumn:
    title = key.replace("_", " ")
    return ReportColumn("", title, "", lambda row: row.get(key, ""), is_number=False)


def _number(group: str, title: str, unit: str, key: str) -> ReportColumn:
    return ReportColumn(group, title, unit, lambda row: short_number(row.get(key) or ""))


def _share(group: str, title: str, key: str) -> ReportColumn:
    return ReportColumn(group, title, "", lambda row: _fixed(row.get(key) or ""))


def _fixed(text: str) -> str:
    return f"{float(text):.{_SHARE_DIGITS}f}" if text else ""


def _several(
    group: str, title: str, unit: str, keys: Sequence[str], separator: str
) -> ReportColumn:
    """A column with several numbers in a cell; it is empty unless the row has all of them."""

    def text(row: CsvRow) -> str:
        if not all(row.get(key) for key in keys):
            return ""
        return separator.join(short_number(row[key]) for key in keys)

    return ReportColumn(group, title, unit, text)


def _method_of(row: CsvRow) -> str:
    return method_label(row["method"])


_SCORE_COLUMNS = (
    _number("", "annotated", "mm\u00b2", "annotated_mm2"),
    _number("glands", "predicted", "", "glands"),
    _several("glands", "right / false / missed", "", ("tp", "fp", "fn"), " / "),
    _several("glands", "split / merged", "", ("splits", "merges"), " / "),
    _share("pixels", "Dice", "dice"),
    _share("pixels", "Jaccard", "jaccard"),
    _share("objects", "F1", "object_f1"),
    _share("objects", "Dice", "object_dice"),
    _number("objects", "Hausdorff", "\u00b5m", "object_hausdorff_um"),
)
_QUARTILE_KEYS = ("gland_area_um2_q25", "gland_area_um2_q50", "gland_area_um2_q75")
_COHORT_KEYS = (
    "glands",
    "gland_area_mm2",
    "area_mm2",
    "gland_share",
    "glands_per_mm2",
    *_QUARTILE_KEYS,
)
_COHORT_COLUMNS = (
    _number("", "tissue or region", "mm\u00b2", "area_mm2"),
    _number("glands", "count", "", "glands"),
    _number("glands", "density", "per mm\u00b2", "glands_per_mm2"),
    _number("glands", "area", "mm\u00b2", "gland_area_mm2"),
    _share("glands", "share of area", "gland_share"),
    _number("gland area", "median", "\u00b5m\u00b2", "gland_area_um2_q50"),
    _several(
        "gland area",
        "quartiles",
        "\u00b5m\u00b2",
        ("gland_area_um2_q25", "gland_area_um2_q75"),
        " \u2013 ",
    ),
)
