"""Scores of finished cells, and the comparison of rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from semimoe.benchmark.cell_cost import CellCost
from semimoe.benchmark.table_cells import TableCell
from semimoe.evaluation.result_tables import Result
from semimoe.evaluation.results import GlandEvaluation, PublishedEvaluation, read_evaluation
from semimoe.evaluation.significance import (
    DrawTest,
    ImageTest,
    compare_draws,
    compare_images,
    holm,
    verdict,
)
from semimoe.model_errors import DataError


class ScoreColumn(NamedTuple):
    """A score of the table.

    Attributes
    ----------
    key : name in the results
    digits : after the decimal point
    """

    key: str
    title: str
    digits: int = 3
    higher_is_better: bool = True


_GLAND_SCORES = (
    ScoreColumn("dice", "pixel Dice"),
    ScoreColumn("object_f1", "object F1"),
    ScoreColumn("object_dice", "object Dice"),
    ScoreColumn("object_hausdorff_px", "object Hausdorff px", 1, higher_is_better=False),
)
_PUBLISHED_SCORES = (ScoreColumn("dice", "pixel Dice"), ScoreColumn("jaccard", "Jaccard"))


class ScoredCell(NamedTuple):
    """A finished cell with its scores on one test part."""

    cell: TableCell
    part: str
    result: Result
    cost: CellCost

    @property
    def columns(self) -> tuple[ScoreColumn, ...]:
        """The scores that it has."""
        if isinstance(self.result, PublishedEvaluation):
            return _PUBLISHED_SCORES
        return _GLAND_SCORES

    def score(self, key: str) -> float | None:
        """A score of all images together; None: infinite."""
        value: float | None = getattr(self.result.pooled, key)
        return value

    def image_scores(self, key: str) -> dict[str, float | None]:
        """A score of each image; empty for a protocol without scores of images."""
        if not isinstance(self.result, GlandEvaluation):
            return {}
        return {name: getattr(scores, key) for name, scores in self.result.images.items()}


class TableGroup(NamedTuple):
    """Cells that are compared: the same test part and share of labelled images.

    Attributes
    ----------
    rows : name of the row -> seed -> its cell, in the order of the table
    """

    part: str
    labelled: float
    rows: dict[str, dict[int, ScoredCell]]

    @property
    def columns(self) -> tuple[ScoreColumn, ...]:
        """The scores of its cells."""
        return next(iter(next(iter(self.rows.values())).values())).columns


class Comparison(NamedTuple):
    """A row compared with another one in one score.

    Attributes
    ----------
    p_draws, p_images : corrected for the number of rows
    """

    row: str
    column: ScoreColumn
    draws: DrawTest
    images: ImageTest | None
    p_draws: float | None
    p_images: float | None
    verdict: str


def read_scored_cells(cells: Sequence[TableCell]) -> list[ScoredCell]:
    """Scores and cost of finished cells; others are left out.

    Raises
    ------
    DataError
        A file of a cell is damaged.
    """
    scored = []
    for cell in (one for one in cells if one.is_finished):
        for part in cell.request.parts:
            path = cell.cost_file
            try:
                cost = CellCost.model_validate_json(path.read_text(encoding="utf-8"))
                path = cell.scores_file(part)
                result = read_evaluation(path.read_text(encoding="utf-8"))
            except ValueError as error:
                problem = " ".join(str(error).split())
                raise DataError(
                    f"{path}: damaged ({problem}); remove this file, then run again"
                ) from error
            scored.append(ScoredCell(cell, part, result, cost))
    return scored


def table_groups(scored: Sequence[ScoredCell]) -> list[TableGroup]:
    """Cells by test part and share of labelled images, then by row and seed."""
    groups: dict[tuple[str, float], dict[str, dict[int, ScoredCell]]] = {}
    for one in scored:
        rows = groups.setdefault((one.part, one.cell.labelled), {})
        rows.setdefault(one.cell.row.name, {})[one.cell.seed] = one
    return [TableGroup(part, labelled, rows) for (part, labelled), rows in groups.items()]


def mean_and_deviation(values: Sequence[float | None], digits: int) -> str:
    """Mean and standard deviation of a sample; `missing` if a value is None.

    >>> mean_and_deviation([0.8, 0.9], 3), mean_and_deviation([0.8], 2)
    ('0.850 ± 0.071', '0.80')
    """
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return "missing"
    mean = f"{np.mean(numbers):.{digits}f}"
    return f"{mean} ± {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else mean


def compared_rows(group: TableGroup, base: str, column: ScoreColumn) -> list[Comparison]:
    """All other rows compared with row `base` on the draws that both have."""
    if base not in group.rows:
        return []
    tests: list[tuple[str, DrawTest, ImageTest | None]] = []
    for name, cells in group.rows.items():
        if name == base:
            continue
        pairs = _pairs(cells, group.rows[base], column.key)
        if not pairs:
            continue
        draws = compare_draws(
            [first - second for first, second in pairs.values()],
            higher_is_better=column.higher_is_better,
        )
        images = _compared_images(
            [(cells[seed], group.rows[base][seed]) for seed in pairs], column.key
        )
        tests.append((name, draws, images))
    draw_ps = holm([draws.t_p for _, draws, _ in tests])
    image_ps = holm([None if images is None else images.wilcoxon_p for _, _, images in tests])
    return [
        Comparison(
            name,
            column,
            draws,
            images,
            p_draws,
            p_images,
            verdict(
                draws,
                p_draws,
                p_images,
                images=images,
                higher_is_better=column.higher_is_better,
            ),
        )
        for (name, draws, images), p_draws, p_images in zip(tests, draw_ps, image_ps, strict=True)
    ]


def _pairs(
    cells: Mapping[int, ScoredCell], others: Mapping[int, ScoredCell], key: str
) -> dict[int, tuple[float, float]]:
    """Seed -> both scores."""
    pairs = {}
    for seed, cell in cells.items():
        if seed in others:
            first, second = cell.score(key), others[seed].score(key)
            if first is not None and second is not None:
                pairs[seed] = (first, second)
    return pairs


def _compared_images(pairs: Sequence[tuple[ScoredCell, ScoredCell]], key: str) -> ImageTest | None:
    differences = []
    for first, second in pairs:
        ours, theirs = first.image_scores(key), second.image_scores(key)
        differences.append({name: _difference(ours[name], theirs.get(name)) for name in ours})
    has_values = any(
        all(one.get(name) is not None for one in differences) for name in differences[0]
    )
    return compare_images(differences) if has_values else None


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
