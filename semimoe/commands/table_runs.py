"""`table --data`: trains and scores the cells that are missing, and writes the table."""

import argparse
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from semimoe.benchmark.cell_processes import log_file, run_cells
from semimoe.benchmark.table_cells import (
    TableCell,
    TableRequest,
    check_settings_file,
    different_rows,
)
from semimoe.benchmark.table_plot import write_table_plot
from semimoe.benchmark.table_rows import TableRow, chosen_rows
from semimoe.benchmark.table_scores import read_scored_cells
from semimoe.benchmark.table_text import table_csv, table_markdown
from semimoe.commands.table_cell import run_cell
from semimoe.datasets.image_dataset import ImageDataset, open_dataset
from semimoe.datasets.image_lists import (
    ListedImage,
    draw_training_list,
    image_list_csv,
    images_with_role,
)
from semimoe.methods import METHODS
from semimoe.model_errors import MissingPackageError, SettingsError
from tiling.raster.atomic_files import write_atomic

log = logging.getLogger(__name__)

_TEST_PARTS = ("testA", "test", "valid")
_CELL_BYTES = 2 * 2**30  # of a cell with the default network and batch
Lists = Mapping[tuple[float, int], list[ListedImage]]


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
    dataset = open_dataset(arguments.data)
    cells, lists = _planned(arguments, dataset)
    missing = [cell for cell in cells if not cell.is_finished]
    jobs = min(arguments.jobs or _default_jobs(arguments), max(len(missing), 1))
    log.info("%d cells, %d finished; %d at a time", len(cells), len(cells) - len(missing), jobs)
    if arguments.list:
        for cell in missing:
            print(cell.text)
        return 0
    _write_lists(missing, lists)
    problems: dict[str, str] = {}
    done_s: list[float] = []
    for number, (cell, problem, seconds) in enumerate(
        run_cells(missing, run_cell, jobs=jobs), start=1
    ):
        if problem:
            problems[cell.name] = f"{cell.text}: {problem}, see {log_file(cell)}"
        else:
            done_s.append(seconds)
        log.info(
            "%d of %d: %s: %s%s",
            number,
            len(missing),
            cell.text,
            problem or f"finished in {_minutes(seconds)}",
            _remaining_text(done_s, len(missing) - number, jobs),
        )
    _write_table(cells, dataset.kind)
    for text in problems.values():
        log.error("failed: %s", text)
    return 1 if problems else 0


def _planned(arguments: argparse.Namespace, dataset: ImageDataset) -> tuple[list[TableCell], Lists]:
    if arguments.out is None:
        raise SettingsError("--out: a folder for cells and tables is needed")
    if any(not 0 < share <= 1 for share in arguments.labelled):
        raise SettingsError(f"--labelled {arguments.labelled}: shares in (0, 1] are needed")
    request = TableRequest(
        data=arguments.data,
        out=arguments.out,
        protocol=arguments.protocol,
        recipe=arguments.recipe,
        parts=_test_parts(arguments, dataset),
        settings=tuple(arguments.set),
        image_mpp_um=arguments.mpp,
        flips=arguments.flips,
        device=arguments.device,
        threads=arguments.threads,
    )
    rows = _installed_rows(chosen_rows(arguments.methods, arguments.variants), arguments.methods)
    # All rows of a list before the next list: an interrupted table has rows that can be compared.
    lists = {
        (share, seed): draw_training_list(
            dataset, protocol=arguments.protocol, labelled=share, seed=seed
        )
        for share, seed in itertools.product(
            dict.fromkeys(arguments.labelled), dict.fromkeys(arguments.seeds)
        )
    }
    cells = [
        TableCell(request, row, share, seed)
        for share, seed in lists
        for row in different_rows(request, rows)
    ]
    for cell in cells:
        check_settings_file(cell, _images_by_role(lists[cell.labelled, cell.seed]))
    return cells, lists


def _installed_rows(rows: Sequence[TableRow], asked: Sequence[str]) -> list[TableRow]:
    """Rows without those of `all` whose packages are missing, which are named in the log.

    Raises
    ------
    MissingPackageError
        A method that was asked for by its name needs a package that is not installed.
    """
    installed = []
    for row in rows:
        problem = METHODS[row.method].package_problem()
        if problem is None:
            installed.append(row)
        elif row.name in asked:
            raise MissingPackageError(problem)
        else:
            log.warning("left out: %s", problem)
    return installed


def _test_parts(arguments: argparse.Namespace, dataset: ImageDataset) -> tuple[str, ...]:
    folders = [part for part in dataset.parts if (arguments.data / part).is_dir()]
    asked: Sequence[str] = (
        arguments.parts
        or [part for part in _TEST_PARTS if part in folders and dataset.parts[part]][:1]
    )
    missing = [part for part in asked if part not in folders]
    if missing or not asked:
        wanted = ", ".join(missing) or "a test part (testA, test or valid)"
        raise SettingsError(
            f"--data {arguments.data}: no folder {wanted}; docs/glas.md has the layout, and"
            " --parts names other parts"
        )
    return tuple(dict.fromkeys(asked))


def _images_by_role(rows: Sequence[ListedImage]) -> dict[str, list[str]]:
    return {role: images_with_role(rows, role) for role in ("labelled", "unlabelled", "validation")}


def _write_lists(cells: Sequence[TableCell], lists: Lists) -> None:
    """Write the lists and the settings of cells that will run."""
    for cell in cells:
        rows = lists[cell.labelled, cell.seed]
        write_atomic(cell.request.list_file(cell.labelled, cell.seed), image_list_csv(rows))
        if not cell.settings_file.exists():
            write_atomic(cell.settings_file, cell.settings_text(_images_by_role(rows)))


def _write_table(cells: Sequence[TableCell], dataset: str) -> None:
    scored = read_scored_cells(cells)
    if not scored:
        return
    out, text = cells[0].request.out, table_markdown(scored, dataset)
    write_atomic(out / "table.md", text)
    write_atomic(out / "table.csv", table_csv(scored, dataset))
    if not write_table_plot(scored, out / "table.svg", dataset):
        log.warning("no plot: matplotlib is not installed")
    print(text, end="")


def _default_jobs(arguments: argparse.Namespace) -> int:
    if arguments.device == "gpu":
        import torch

        return max(torch.cuda.device_count(), 1)
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    by_memory = _available_bytes() // _CELL_BYTES
    threads: int = arguments.threads
    return max(min(cores // threads, by_memory), 1)


def _available_bytes() -> int:
    """Memory that programs can use; on systems that do not tell, that of the machine."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration):
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))


def _remaining_text(done_s: Sequence[float], left: int, jobs: int) -> str:
    if not done_s or not left:
        return ""
    return f"; about {_minutes(sum(done_s) / len(done_s) * left / jobs)} left"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
