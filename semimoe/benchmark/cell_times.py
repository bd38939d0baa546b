"""How long cells take: from finished cells of the same row, or from measured training steps."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from semimoe.benchmark.cell_cost import CellCost
from semimoe.benchmark.table_cells import TableCell, TableRequest
from semimoe.benchmark.table_plan import drawn_list
from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_lists import images_with_role
from semimoe.methods import METHODS
from tiling.raster.atomic_files import write_atomic
from tiling.raster.durations import duration_text

log = logging.getLogger(__name__)


class CellTimes:
    """Times of the cells of a table.

    They are known from finished cells of the same row, or from the time of a step that was measured
    in an earlier call.

    Parameters
    ----------
    cells : all cells of the table
    """

    def __init__(self, cells: Sequence[TableCell]) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._step_seconds = _stored_step_seconds(cells[0].request) if cells else {}
        self._dataset = open_dataset(cells[0].request.data) if cells else None
        for cell in cells:
            if cell.is_finished:
                self.add(cell, _training_seconds(cell))

    def add(self, cell: TableCell, seconds: float) -> None:
        """Count the time of a finished cell; one that was continued took longer than its last run.

        Parameters
        ----------
        seconds : of its last run
        """
        seconds = max(seconds, _training_seconds(cell))
        if seconds:
            self._seconds.setdefault(cell.row.name, []).append(seconds)

    def of_cell(self, cell: TableCell) -> float | None:
        """Time of a cell that is not finished; None: not known."""
        if cell.is_trained:
            return 0.0  # scores take seconds
        seconds = self._seconds.get(cell.row.name)
        if seconds:
            return sum(seconds) / len(seconds)
        step = self._step_seconds.get(_step_key(cell))
        return None if step is None else step * self._steps(cell)

    def of_cells(self, cells: Sequence[TableCell], jobs: int) -> float | None:
        """Time of all cells; rows that are not known count as the mean of the others.

        Returns
        -------
        float or None
            None: no row is known.
        """
        times = [self.of_cell(cell) for cell in cells]
        known = [seconds for seconds in times if seconds]
        finished = [one for seconds in self._seconds.values() for one in seconds]
        mean = fmean(known or finished) if known or finished else None
        if mean is None and None in times:
            return None
        total = sum((mean or 0.0) if seconds is None else seconds for seconds in times)
        return total / max(min(jobs, len(cells)), 1)

    def remaining_text(self, left: Sequence[TableCell], jobs: int) -> str:
        """Time of cells that are left, for a line of progress; "" if nothing is known."""
        seconds = self.of_cells(left, jobs) if left else None
        return "" if seconds is None else f"; about {duration_text(seconds)} left"

    def measure_steps(self, cells: Sequence[TableCell]) -> None:
        """Take three steps of each row whose time is not known; kept in the folder of the table."""
        rows = {cell.row.name: cell for cell in cells if self.of_cell(cell) is None}
        for number, cell in enumerate(rows.values(), start=1):
            log.info("%d of %d: measuring training steps of %s", number, len(rows), cell.row.name)
            try:
                self._step_seconds[_step_key(cell)] = _measured_step_seconds(cell)
            except (ValueError, RuntimeError) as error:
                log.warning("%s: a step cannot be measured (%s)", cell.row.name, error)
                continue
            write_atomic(_step_file(cell.request), json.dumps(self._step_seconds, indent=2) + "\n")

    def _steps(self, cell: TableCell) -> int:
        """Number of optimiser steps of its training."""
        training = cell.settings()[1]
        if training.steps_per_epoch:
            return training.steps_per_epoch * training.epochs
        assert self._dataset is not None
        rows = drawn_list(cell, self._dataset)
        # Without a fixed number: one pass over the larger list.
        images = max(len(images_with_role(rows, role)) for role in ("labelled", "unlabelled"))
        return -(-images // training.batch) * training.epochs


def listed_cells(missing: Sequence[TableCell], times: CellTimes, jobs: int) -> str:
    """Cells that would run, the expected times of their trainings, and the sum."""
    lines = []
    for cell in missing:
        seconds = times.of_cell(cell)
        text = "time not known" if seconds is None else f"about {duration_text(seconds)}"
        lines.append(
            f"{cell.text}: " + ("score" if cell.is_trained else f"train ({text}) and score")
        )
    noun = "cell" if len(missing) == 1 else "cells"
    total = times.of_cells(missing, jobs)
    text = "time not known" if total is None else f"about {duration_text(total)}"
    lines.append(f"{len(missing)} {noun}, training {text}, {jobs} at a time")
    unknown = {cell.row.name for cell in missing if times.of_cell(cell) is None}
    if unknown:
        lines.append(
            f"{len(unknown)} of the rows have no known time: --measure-times takes three training"
            " steps of each"
        )
    return "\n".join(lines)


def _training_seconds(cell: TableCell) -> float:
    """Time of the training of a finished cell, from its log; 0: not known."""
    try:
        return CellCost.model_validate_json(cell.cost_file.read_text(encoding="utf-8")).training_s
    except (OSError, ValueError):  # the table names a damaged file
        return 0.0


def _step_key(cell: TableCell) -> str:
    """Checksum of what the time of a step depends on, except for the machine."""
    network, training = cell.settings()
    request = cell.request
    values = [
        *(cell.row.name, network.to_dict(), training.to_dict(), request.device, request.threads)
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _step_file(request: TableRequest) -> Path:
    return request.out / "step_times.json"


def _stored_step_seconds(request: TableRequest) -> dict[str, float]:
    """Earlier measurements; a missing or damaged file is ignored."""
    try:
        values = json.loads(_step_file(request).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: float(one) for key, one in values.items()} if isinstance(values, dict) else {}


def _measured_step_seconds(cell: TableCell) -> float:
    from semimoe.training.recipe import Recipe, RunResources
    from semimoe.training.step_time import seconds_per_step

    network, training = cell.settings()
    recipe = Recipe(cell.row.method, network, training, mpp_um=1.0, seed=0)
    resources = RunResources(cell.request.device, cell.request.threads, progress=False)
    return seconds_per_step(recipe, resources, unlabelled=METHODS[cell.row.method].uses_unlabelled)
