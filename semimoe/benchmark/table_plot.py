"""Plot of the table: the value of each seed, with mean and spread of each row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semimoe.benchmark.published_scores import published_score
from semimoe.benchmark.table_cells import percent_text
from semimoe.benchmark.table_rows import BASELINE, TABLE_ROWS
from semimoe.benchmark.table_scores import ScoreColumn, ScoredCell, TableGroup, table_groups
from tiling.raster.atomic_files import partial_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLOTTED = ("dice", "object_f1", "object_dice")
_AS_PUBLISHED = "as-published"
_MIN_SPAN = 0.02  # of an axis of scores: small differences must not look large
_MOST_INTERVALS = 5  # between labels of an axis


def write_table_plot(scored: Sequence[ScoredCell], path: Path, dataset: str) -> bool:
    """Write the plot as SVG; False if matplotlib is not installed.

    Published figures are drawn for protocol as-published only: they have no other meaning.

    Parameters
    ----------
    dataset : kind of the data set, see `ImageDataset`
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return False
    groups = table_groups(scored)
    columns = [column for column in scored[0].columns if column.key in _PLOTTED]
    most_rows = max(len(group.rows) for group in groups)
    size = (1.6 + 3.2 * len(columns), len(groups) * (1.0 + 0.3 * most_rows))
    # Equal values give equal bytes.
    with mpl.rc_context({"svg.hashsalt": "table", "font.size": 8}):
        figure = Figure(figsize=size, layout="constrained")
        all_axes = figure.subplots(len(groups), len(columns), sharey="row", squeeze=False)
        for group, row_axes in zip(groups, all_axes, strict=True):
            for column, axes in zip(columns, row_axes, strict=True):
                _plot_column(axes, group, column, dataset)
            labelled = percent_text(group.labelled)
            row_axes[0].set_title(f"{labelled} % labelled, {group.part}", loc="left")
        figure.supxlabel(_explanation(scored[0]), x=0.01, ha="left", fontsize=7, color="0.3")
        with partial_file(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})
    return True


def _explanation(scored: ScoredCell) -> str:
    text = (
        "points: seeds; bars: mean and standard deviation; grey line: mean of"
        f" {TABLE_ROWS[BASELINE].label}"
    )
    return text + ("; diamonds: published" if _is_comparable(scored) else "")


def _is_comparable(scored: ScoredCell) -> bool:
    """Whether its score was made by the protocol of the published figures."""
    return scored.cell.request.protocol == _AS_PUBLISHED


def _plot_column(axes: "Axes", group: TableGroup, column: ScoreColumn, dataset: str) -> None:
    """One score: a point for each seed, a line for the mean, a bar of one standard deviation."""
    for place, (name, cells) in enumerate(group.rows.items()):
        colour = TABLE_ROWS[name].colour
        values = [one.score(column.key) for one in cells.values()]
        numbers = [value for value in values if value is not None]
        if numbers:
            mean = float(np.mean(numbers))
            deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
            axes.plot(numbers, [place] * len(numbers), "o", color=colour, markersize=3, alpha=0.6)
            axes.errorbar(
                [mean], [place], xerr=[deviation], fmt="|", color=colour, capsize=3, markersize=9
            )
        if name == BASELINE and numbers:
            axes.axvline(float(np.mean(numbers)), color="0.75", linewidth=0.8, zorder=0)
        published = published_score(name, dataset, group.labelled)
        is_comparable = _is_comparable(next(iter(cells.values())))
        if published is not None and is_comparable and column.key == "dice":
            axes.plot([published.dice / 100], [place], "D", color="black", fillstyle="none")
    axes.set_yticks(range(len(group.rows)), [TABLE_ROWS[name].label for name in group.rows])
    axes.set_ylim(len(group.rows) - 0.5, -0.5)
    _widen(axes)
    axes.locator_params(axis="x", nbins=_MOST_INTERVALS)
    axes.set_xlabel(column.title)
    axes.grid(axis="x", linewidth=0.3)


def _widen(axes: "Axes") -> None:
    """Make the axis of the scores at least `_MIN_SPAN` long."""
    low, high = axes.get_xlim()
    if high - low < _MIN_SPAN:
        middle = (low + high) / 2
        axes.set_xlim(middle - _MIN_SPAN / 2, middle + _MIN_SPAN / 2)
