"""The scores that the report and the last lines of a run show: pooled rows of `metrics.csv`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from workflow.config.configuration import COMPARABLE
from workflow.config.start_model import START_MODEL
from workflow.stages.evaluate_slide import POOLED, CsvValue
from workflow.stages.summarise import read_metrics


class PooledScores(NamedTuple):
    """The pooled row of one slide and one method.

    Attributes
    ----------
    dice, jaccard, object_f1, object_dice : 0..1; None: not scored
    object_hausdorff_um : None: not scored, or infinite
    tp, fp, fn : numbers of glands
    error : why the row has no scores; None if it has scores
    """

    slide: str
    method: str
    dice: float | None
    jaccard: float | None
    object_f1: float | None
    object_dice: float | None
    object_hausdorff_um: float | None
    tp: float | None
    fp: float | None
    fn: float | None
    error: str | None

    @property
    def predicted_glands(self) -> int:
        """Number of predicted glands."""
        return int((self.tp or 0) + (self.fp or 0))

    @property
    def true_glands(self) -> int:
        """Number of glands that a person outlined."""
        return int((self.tp or 0) + (self.fn or 0))


def pooled_scores(metrics_table: Path, *, split: str = "test") -> list[PooledScores]:
    """The pooled rows of one split, in the order of slides; the main method comes first.

    Parameters
    ----------
    metrics_table : `metrics.csv`; it may be missing
    """
    if not metrics_table.is_file():
        return []
    table = read_metrics(metrics_table)
    pooled = table[(table["region"] == POOLED) & (table["split"] == split)]
    rows = [_from_record(record) for record in json.loads(pooled.to_json(orient="records"))]
    # The predicting model first, then the methods in the order of the table, and the start model.
    order = {name: place for place, name in enumerate((*COMPARABLE, START_MODEL), start=1)}
    return sorted(rows, key=lambda row: (row.slide, order.get(row.method, 0)))


def _from_record(record: Mapping[str, CsvValue]) -> PooledScores:
    """Columns that are missing are None: tables of failed runs lack some."""
    return PooledScores._make(record.get(column) for column in PooledScores._fields)
