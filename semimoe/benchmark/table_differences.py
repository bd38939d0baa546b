"""Differences of the rows of a table and their tests, as Markdown and as csv."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from semimoe.benchmark.table_rows import BASELINE, TABLE_ROWS
from semimoe.benchmark.table_scores import (
    Comparison,
    ScoredCell,
    TableGroup,
    compared_rows,
    table_groups,
)
from semimoe.methods import MAIN_METHOD

DIFFERENCES = "differences.csv"
# Of the same network on labelled tiles alone (most methods have that of the U-Net), and the main
# method.
_COMPARED_WITH = (BASELINE, "unet", MAIN_METHOD.name)
_DECIDED = ("better", "worse")
_COLUMNS = (
    "part", "labelled_share", "row", "against", "score", "draws", "mean_difference", "better_draws",
    "p_t", "p_sign", "p_t_holm", "images", "images_low_95", "images_high_95",
    "p_images_holm", "verdict",
)  # fmt: skip


class GroupDifferences(NamedTuple):
    """Differences within one group.

    Attributes
    ----------
    comparisons : row that is compared with -> all comparisons, by score and then by row
    """

    group: TableGroup
    comparisons: dict[str, list[Comparison]]


def table_differences(scored: Sequence[ScoredCell]) -> list[GroupDifferences]:
    """Compare the rows of each test part and share of labelled images."""
    return [
        GroupDifferences(
            group,
            {
                base: [
                    one for column in group.columns for one in compared_rows(group, base, column)
                ]
                for base in _COMPARED_WITH
            },
        )
        for group in table_groups(scored)
    ]


def difference_tables(differences: GroupDifferences) -> list[tuple[str, list[list[str]]]]:
    """Heading and lines of a table for each row that is compared with."""
    columns = differences.group.columns
    tables = []
    for base, comparisons in differences.comparisons.items():
        by_row: dict[str, dict[str, Comparison]] = {}
        for one in comparisons:
            by_row.setdefault(one.row, {})[one.column.key] = one
        lines = [["row", *(column.title for column in columns)]]
        for row, scores in by_row.items():
            cells = [_difference_text(scores.get(column.key)) for column in columns]
            lines.append([TABLE_ROWS[row].label, *cells])
        if by_row:
            tables.append((f"Difference to {TABLE_ROWS[base].label}", lines))
    return tables


def differences_csv(differences: Sequence[GroupDifferences]) -> str:
    """One line for each row, row that it is compared with, and score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for group, comparisons in differences:
        for base, compared in comparisons.items():
            for one in compared:
                draws, images = one.draws, one.images
                values = [group.part, group.labelled, one.row, base, one.column.key]
                values += [draws.pairs, draws.mean, draws.better, draws.t_p, draws.sign_p]
                values += [one.p_draws]
                values += [None] * 3 if images is None else [images.pairs, images.low, images.high]
                writer.writerow(map(csv_cell, [*values, one.p_images, one.verdict]))
    return text.getvalue()


def csv_cell(value: object) -> object:
    """A value with six digits at most."""
    return f"{value:.6g}" if isinstance(value, float) else value


def _difference_text(comparison: Comparison | None) -> str:
    """Mean difference, draws in which the row is better, and a verdict other than noise."""
    if comparison is None:
        return "-"
    draws, digits = comparison.draws, comparison.column.digits
    mean = round(draws.mean, digits) + 0.0  # not -0.0
    text = f"{mean:+.{digits}f} ({draws.better} of {draws.pairs})"
    return f"{text}, **{comparison.verdict}**" if comparison.verdict in _DECIDED else text
