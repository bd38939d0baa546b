"""The tables of the report: few columns in groups, units in the header, few digits. All columns and digits are in the csv files."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from workflow.config.configuration import NAMES

_SHARE_DIGITS = 3
_LEAST_GROUPED = 10_000


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    group : what stands above this column and its neighbours of the same group
    title, unit : its header
    text : of a csv row; "" where there is nothing to show
    number : right-aligned, never wrapped
    """

    group: str
    title: str
    unit: str
    text: Callable[[dict[str, str]], str]
    number: bool = True


class Table(NamedTuple):
    """What the template needs.

    Attributes
    ----------
    groups : (title, columns under it)
    columns : of the second header row
    rows : texts of the cells, and why the row has no figures ("" when it has)
    """

    groups: list[tuple[str, int]]
    columns: list[Column]
    rows: list[tuple[list[str], str]]

    @property
    def texts(self) -> int:
        """How many columns stand before the figures."""
        return sum(not column.number for column in self.columns)


def score_table(rows: list[dict[str, str]]) -> Table:
    """`metrics.csv` for the reader."""
    return _table(
        rows,
        [
            _text("slide"),
            _text("split"),
            Column("", "method", "", _method, number=False),
            _text("region"),
            *_SCORES,
        ],
    )


def cohort_table(rows: list[dict[str, str]]) -> Table:
    """`cohort.csv` for the reader; whatever columns the sheet gave come after the split."""
    known = {"slide", "region", "split", "error", *_COHORT_KEYS}
    own = [
        name
        for name in (rows[0] if rows else {})
        if name not in known and any(row.get(name) for row in rows)
    ]
    return _table(rows, [*map(_text, ("slide", "region", "split", *own)), *_COHORT])


def in_words(row: dict[str, str]) -> list[str]:
    """A row of `cohort.csv` below the picture of its slide: what the sheet says of it, then what was found.

    >>> in_words({"slide": "A", "region": "", "split": "test", "glands": "61", "area_mm2": "3.2", "gland_share": "0.41"})
    ['split: test', 'glands: count 61, share of area 0.410', 'tissue 3.20 mm\u00b2']
    """
    known = {"slide", "region", "error", *_COHORT_KEYS}
    told = [
        f"{key.replace('_', ' ')}: {value}"
        for key, value in row.items()
        if key not in known and value
    ]
    for group in ("glands", "gland area"):
        found = [
            f"{column.title} {text} {column.unit}".strip()
            for column in _COHORT
            if column.group == group and (text := column.text(row))
        ]
        told += [f"{group}: {', '.join(found)}"] if found else []
    return told + ([f"tissue {short(row['area_mm2'])} mm\u00b2"] if row.get("area_mm2") else [])


def short(value: str) -> str:
    """A number with three digits that count and no exponent, a text as it is.

    >>> short("0.8588281"), short("61"), short("123456.7"), short("0.00123"), short("validation"), short("2.0"), short("1.5e-07")
    ('0.859', '61', '123,457', '0.00123', 'validation', '2.00', '0.000000150')
    """
    if "." not in value and "e" not in value:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if abs(number) >= 100:
        return f"{number:,.0f}" if abs(number) >= _LEAST_GROUPED else f"{number:.0f}"
    text = f"{number:#.3g}".rstrip(".")
    return f"{number:.{2 - math.floor(math.log10(abs(number)))}f}" if "e" in text else text


def _table(rows: list[dict[str, str]], columns: list[Column]) -> Table:
    groups = [
        (title, len(list(same))) for title, same in groupby(column.group for column in columns)
    ]
    return Table(
        groups,
        columns,
        [([column.text(row) for column in columns], row.get("error", "")) for row in rows],
    )


def _text(key: str) -> Column:
    return Column("", key.replace("_", " "), "", lambda row: row.get(key, ""), number=False)


def _number(group: str, title: str, unit: str, key: str) -> Column:
    return Column(group, title, unit, lambda row: short(row.get(key) or ""))


def _share(group: str, title: str, key: str) -> Column:
    return Column(group, title, "", lambda row: _fixed(row.get(key) or ""))


def _fixed(value: str) -> str:
    return f"{float(value):.{_SHARE_DIGITS}f}" if value else ""


def _joined(group: str, title: str, unit: str, keys: Sequence[str], mark: str) -> Column:
    def text(row: dict[str, str]) -> str:
        return (
            mark.join(short(row[key]) for key in keys) if all(row.get(key) for key in keys) else ""
        )

    return Column(group, title, unit, text)


def _method(row: dict[str, str]) -> str:
    return NAMES.get(row["method"], row["method"])


_SIZE = (
    _number("gland area", "median", "\u00b5m\u00b2", "gland_area_um2_q50"),
    _joined(
        "gland area",
        "quartiles",
        "\u00b5m\u00b2",
        ("gland_area_um2_q25", "gland_area_um2_q75"),
        " \u2013 ",
    ),
)
_SCORES = (
    _number("", "annotated", "mm\u00b2", "annotated_mm2"),
    _number("glands", "found", "", "glands"),
    _joined("glands", "right / false / missed", "", ("tp", "fp", "fn"), " / "),
    _joined("glands", "split / merged", "", ("splits", "merges"), " / "),
    _share("pixels", "Dice", "dice"),
    _share("pixels", "Jaccard", "jaccard"),
    _share("objects", "F1", "object_f1"),
    _share("objects", "Dice", "object_dice"),
    _number("objects", "Hausdorff", "\u00b5m", "object_hausdorff_um"),
)
_COHORT_KEYS = (
    "glands",
    "gland_area_mm2",
    "area_mm2",
    "gland_share",
    "glands_per_mm2",
    *(f"gland_area_um2_q{q}" for q in (25, 50, 75)),
)
_COHORT = (
    _number("", "tissue or region", "mm\u00b2", "area_mm2"),
    _number("glands", "count", "", "glands"),
    _number("glands", "density", "per mm\u00b2", "glands_per_mm2"),
    _number("glands", "area", "mm\u00b2", "gland_area_mm2"),
    _share("glands", "share of area", "gland_share"),
    *_SIZE,
)
