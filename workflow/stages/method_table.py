"""Cells and tables of `snakemake benchmark`, as `python -m semimoe table` makes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semimoe.benchmark.table_cells import TableCell, TableRequest
from semimoe.benchmark.table_files import write_table
from semimoe.benchmark.table_plan import TableSelection, planned_cells, scored_parts
from semimoe.model_errors import TrainingError
from semimoe.settings import Device
from workflow.config.configuration import Configuration
from workflow.result_paths import ResultPaths
from workflow.stages.job_resources import JobResources, device_for


def benchmark_values(configuration: Configuration) -> dict[str, Any]:
    """What the jobs of a table need of the configuration."""
    return configuration.model_dump(include={"results", "benchmark"})


def table_cells(configuration: Configuration, *, device: Device = "cpu") -> list[TableCell]:
    """All cells of the table of a configuration.

    Raises
    ------
    ValueError
        The data is missing, options do not fit each other, or a cell was begun with other settings.
    """
    options = configuration.benchmark
    assert options.data is not None  # the rules exist only then
    data = Path(options.data)
    request = TableRequest(
        data=data,
        out=ResultPaths(Path(configuration.results)).benchmark,
        protocol=options.protocol,
        recipe=options.recipe,
        parts=scored_parts(data, options.parts),
        settings=tuple(options.settings),
        image_mpp_um=options.mpp_um,
        flips=options.flips,
        device=device,
        threads=options.threads,
    )
    selection = TableSelection(options.methods, options.variants, options.labelled, options.seeds)
    return planned_cells(request, selection)


def cell_files(cell: TableCell, *, name: str | None = None) -> list[str]:
    """Files that the job of a cell makes; its model stays if they are made again.

    Parameters
    ----------
    name : in the place of the name of the cell
    """
    folder = cell.folder if name is None else cell.folder.with_name(name)
    files = [cell.cost_file, *(cell.scores_file(part) for part in cell.request.parts)]
    return [str(folder / file.name) for file in files]


def make_cell(values: Mapping[str, Any], name: str, job: JobResources) -> None:
    """Train and score the model of a cell.

    Parameters
    ----------
    values : of `benchmark_values`

    Raises
    ------
    TrainingError
        A command failed; its message stands above.
    """
    from semimoe.commands.table_cell import run_cell

    device = device_for(job.gpu, training=True)
    cells = {cell.name: cell for cell in table_cells(Configuration(**values), device=device)}
    try:
        run_cell(cells[name])
    except SystemExit as error:
        raise TrainingError(f"{cells[name].text}: failed, see the message above") from error


def make_table(values: Mapping[str, Any]) -> None:
    """Write the table of all cells.

    Parameters
    ----------
    values : of `benchmark_values`
    """
    cells = table_cells(Configuration(**values))
    write_table(cells, cells[0].request.out)
