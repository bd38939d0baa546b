"""`table --data`: trains and scores the cells that are missing, and writes the table."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from semimoe.benchmark.cell_processes import log_file, run_cells
from semimoe.benchmark.cell_times import CellTimes, listed_cells
from semimoe.benchmark.error_pictures import picture_files, write_error_picture
from semimoe.benchmark.table_cells import CELLS, TableCell, TableRequest, percent_text
from semimoe.benchmark.table_differences import DIFFERENCES
from semimoe.benchmark.table_files import CSV, MARKDOWN, PLOT, write_table
from semimoe.benchmark.table_plan import TableSelection, planned_cells, scored_parts
from semimoe.benchmark.table_recipes import default_recipe
from semimoe.commands.table_cell import run_cell
from semimoe.devices import check_gpu
from semimoe.model_errors import SettingsError
from semimoe.setting_values import MOST_SEED
from tiling.raster.durations import duration_text

log = logging.getLogger(__name__)

_CELL_BYTES = 2 * 2**30  # of a cell with the default network and batch


def run_table(arguments: argparse.Namespace) -> int:
    """Run the cells that are missing, and write the table.

    Returns
    -------
    int
        1 if a cell failed.

    Raises
    ------
    SettingsError
        Options do not fit each other or the data, or a cell was begun with other settings.
    """
    if arguments.out is None:
        raise SettingsError("--out: a folder for cells and tables is needed")
    for seed in arguments.seeds:
        if not 0 <= seed <= MOST_SEED:
            raise SettingsError(f"--seeds {seed}: numbers from 0 to {MOST_SEED} are needed")
    _check_folder(arguments.out)
    if arguments.device == "gpu" and not arguments.list:
        check_gpu()
    if arguments.measure_times and not arguments.list:
        raise SettingsError("--measure-times: only with --list")
    recipe = arguments.recipe or default_recipe(arguments.device)
    request = TableRequest(
        data=arguments.data,
        out=arguments.out,
        protocol=arguments.protocol,
        recipe=recipe,
        parts=scored_parts(arguments.data, arguments.parts),
        settings=tuple(arguments.set),
        image_mpp_um=arguments.mpp,
        flips=arguments.flips,
        device=arguments.device,
        threads=arguments.threads,
    )
    selection = TableSelection(
        arguments.methods, arguments.variants, arguments.labelled, arguments.seeds
    )
    cells = planned_cells(request, selection)
    picture_files(request.data / request.parts[0], arguments.pictures)
    missing = [cell for cell in cells if not cell.is_finished]
    jobs = min(arguments.jobs or _default_jobs(request), max(len(missing), 1))
    finished = len(cells) - len(missing)
    log.info("recipe %s: %d of %d cells finished; %d at a time", recipe, finished, len(cells), jobs)
    times = CellTimes(cells)
    if arguments.list:
        if arguments.measure_times:
            times.measure_steps(missing)
        print(listed_cells(missing, times, jobs))
        return 0
    problems = _run_missing(missing, cells, times, jobs)
    print(write_table(cells, request.out), end="")
    if arguments.pictures:
        _draw_pictures(cells, arguments.pictures)
    for text in problems:
        log.error("failed: %s", text)
    return 1 if problems else 0


def _run_missing(
    missing: Sequence[TableCell], cells: Sequence[TableCell], times: CellTimes, jobs: int
) -> list[str]:
    """Run cells and log their progress; returns what failed."""
    problems = []
    left = list(missing)
    for number, outcome in enumerate(run_cells(missing, run_cell, jobs=jobs), start=1):
        cell = outcome.cell
        left.remove(cell)
        if outcome.problem:
            problems.append(f"{cell.text}: {outcome.problem}, see {log_file(cell)}")
        else:
            times.add(cell, outcome.seconds)
            # An interrupted run leaves the table of the cells that it finished.
            try:
                write_table(cells, cell.request.out, with_plot=False)
            except (OSError, ValueError) as error:  # must not end the cells that run
                log.warning("the table is written at the end: %s", error)
        log.info(
            "%d of %d: %s: %s%s",
            number,
            len(missing),
            cell.text,
            outcome.problem or f"finished in {duration_text(outcome.seconds)}",
            times.remaining_text(left, jobs),
        )
    return problems


def _draw_pictures(cells: Sequence[TableCell], names: Sequence[str]) -> None:
    """One picture for each share of labelled images, of the lowest seed."""
    finished = [cell for cell in cells if cell.is_finished]
    for share in dict.fromkeys(cell.labelled for cell in finished):
        seed = min(cell.seed for cell in finished if cell.labelled == share)
        chosen = [cell for cell in finished if (cell.labelled, cell.seed) == (share, seed)]
        request = chosen[0].request
        path = request.out / "pictures" / f"errors-{percent_text(share)}-seed{seed}.png"
        write_error_picture(chosen, request.parts[0], names, path)
        log.info("picture: %s", path)


def _check_folder(out: Path) -> None:
    """Refuse a folder without cells that holds a table which this command did not write."""
    names = (MARKDOWN, CSV, PLOT, DIFFERENCES)
    existing = [out / name for name in names if (out / name).exists()]
    if existing and not (out / CELLS).is_dir():
        raise SettingsError(
            f"--out {out}: {existing[0]} would be replaced; move it away, or give another folder"
        )


def _default_jobs(request: TableRequest) -> int:
    """One cell for each GPU; on the CPU, as many as cores and memory allow."""
    if request.device == "gpu":
        import torch

        return max(torch.cuda.device_count(), 1)
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(min(cores // request.threads, _available_bytes() // _CELL_BYTES), 1)


def _available_bytes() -> int:
    """Memory that programs can use; on systems that do not tell, that of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration):
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
