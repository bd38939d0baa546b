"""How long cells take: from finished cells of the same row, or from measured training steps."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from semimoe.benchmark.cell_cost import CellCost
from semimoe.benchmark.table_cells import TableCell
from semimoe.benchmark.table_plan import drawn_list
from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_lists import images_with_role
from semimoe.methods import METHODS
from tiling.raster.atomic_files import write_atomic

log = logging.getLogger(__name__)


class CellTimes:
    """Times of the cells of a table.

    Parameters
    ----------
    cells : all cells; finished ones tell how long others of their row will take
    """

    def __init__(self, cells: Sequence[TableCell]) -> None:
        self._seconds: dict[str, list[float]] = {}
        for cell in cells:
            if cell.cost_file.is_file():
                cost = CellCost.model_validate_json(cell.cost_file.read_text(encoding="utf-8"))
                self.add(cell, cost.training_s)

    def add(self, cell: TableCell, seconds: float) -> None:
        """Count the time of a finished cell."""
        self._seconds.setdefault(cell.row.name, []).append(seconds)

    def of_row(self, cell: TableCell) -> float | None:
        """Mean time of the finished cells of its row; None if there is none."""
        seconds = self._seconds.get(cell.row.name)
        return None if not seconds else sum(seconds) / len(seconds)

    def remaining_text(self, left: Sequence[TableCell], jobs: int) -> str:
        """Time of cells that are left, for a line of progress; "" if nothing is known."""
        known = [one for seconds in self._seconds.values() for one in seconds]
        if not known or not left:
            return ""
        mean = sum(known) / len(known)
        seconds = sum(self.of_row(cell) or mean for cell in left) / jobs
        return f"; about {duration_text(seconds)} left"


def listed_cells(missing: Sequence[TableCell], cells: Sequence[TableCell], jobs: int) -> str:
    """Cells that would run, each with its expected time, and the sum.

    Rows without a finished cell are measured: three steps on this machine, once.
    """
    times = CellTimes(cells)
    measured: dict[str, float | None] = {}
    lines, total = [], 0.0
    for cell in missing:
        seconds = times.of_row(cell)
        if seconds is None:
            if cell.row.name not in measured:
                measured[cell.row.name] = _measured_seconds(cell)
            seconds = measured[cell.row.name]
        state = "score" if cell.is_trained else "train and score"
        lines.append(
            f"{cell.text}: {state}, "
            + ("time unknown" if seconds is None else f"about {duration_text(seconds)}")
        )
        total += seconds or 0
    lines.append(f"{len(missing)} cells, about {duration_text(total / jobs)}, {jobs} at a time")
    return "\n".join(lines)


def duration_text(seconds: float) -> str:
    """A duration for a message.

    >>> duration_text(7.2), duration_text(150), duration_text(3600 * 5.5)
    ('7 s', '2 min', '5.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _measured_seconds(cell: TableCell) -> float | None:
    """Expected time of a training from the time of a step; kept in the folder of the table."""
    cache = cell.request.out / "step_times.json"
    network, training = cell.settings()
    request = cell.request
    key = hashlib.sha256(
        json.dumps(
            [cell.row.name, network.to_dict(), training.to_dict(), request.device, request.threads],
            sort_keys=True,
        ).encode()
    ).hexdigest()[:16]
    known = _read(cache)
    if key not in known:
        log.info("measuring a training step of %s", cell.row.name)
        try:
            known[key] = _step_seconds(cell)
        except (ValueError, RuntimeError) as error:
            log.warning("%s: a step cannot be measured (%s)", cell.row.name, error)
            return None
        write_atomic(cache, json.dumps(known, indent=2) + "\n")
    rows = drawn_list(cell, open_dataset(request.data))
    # Without a fixed number: one pass over the larger list.
    images = max(len(images_with_role(rows, role)) for role in ("labelled", "unlabelled"))
    steps = training.steps_per_epoch or -(-images // training.batch)
    return known[key] * steps * training.epochs


def _step_seconds(cell: TableCell) -> float:
    from semimoe.training.recipe import Recipe, RunResources
    from semimoe.training.step_time import seconds_per_step

    network, training = cell.settings()
    recipe = Recipe(cell.row.method, network, training, mpp_um=1.0, seed=0)
    resources = RunResources(cell.request.device, cell.request.threads, progress=False)
    return seconds_per_step(recipe, resources, unlabelled=METHODS[cell.row.method].uses_unlabelled)


def _read(cache: Path) -> dict[str, float]:
    """Earlier measurements; a missing or damaged file is ignored."""
    try:
        values: dict[str, float] = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values
