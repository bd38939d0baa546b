"""Writes the files of a table: Markdown, csv and plot."""

import logging
from collections.abc import Sequence
from pathlib import Path

from semimoe.benchmark.table_cells import TableCell
from semimoe.benchmark.table_differences import DIFFERENCES, differences_csv, table_differences
from semimoe.benchmark.table_plot import write_table_plot
from semimoe.benchmark.table_scores import read_scored_cells
from semimoe.benchmark.table_text import table_csv, table_markdown
from semimoe.datasets.image_dataset import open_dataset
from tiling.raster.atomic_files import write_atomic

log = logging.getLogger(__name__)

MARKDOWN, CSV, PLOT = "table.md", "table.csv", "table.svg"


def write_table(cells: Sequence[TableCell], out: Path, *, with_plot: bool = True) -> str:
    """Write the table of the finished cells; returns its Markdown, "" if no cell is finished."""
    scored = read_scored_cells(cells)
    if not scored:
        return ""
    dataset = open_dataset(cells[0].request.data).kind
    differences = table_differences(scored)
    text = table_markdown(scored, differences, dataset)
    write_atomic(out / MARKDOWN, text)
    write_atomic(out / DIFFERENCES, differences_csv(differences))
    write_atomic(out / CSV, table_csv(scored, dataset))
    if with_plot and not write_table_plot(scored, out / PLOT, dataset):
        log.warning("no plot: matplotlib is not installed")
    return text
