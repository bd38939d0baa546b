"""The log of a run: one row per epoch."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from semimoe.settings import NetworkSettings

if TYPE_CHECKING:
    from torch import Tensor

    from semimoe.methods.learner import PhaseLoss

_TASKS = ("seg", "sdf", "bnd")
# A row of history.csv or timing.csv: value by column; None: an empty cell.
LogRow = dict[str, float | int | None]

# `unsup_share` is lambda L_unsup / (L_sup + lambda L_unsup), from the plain sums of the losses.
COLUMNS = (
    "epoch",
    "steps",
    "loss",
    *(f"sup_{task}_{head}" for task in _TASKS for head in ("expert", "gate")),
    *(f"unsup_{task}" for task in _TASKS),
    "unsup_weight",
    "unsup_share",
    "pseudo_dice",
    *(f"s_{task}" for task in _TASKS),
    *(f"gate_{task}_{expert}" for task in _TASKS for expert in _TASKS),
    "val_dice_gate",
    "val_dice_seg",
    "lr",
)
TIMING_COLUMNS = ("epoch", "seconds", "tiles_per_s", "peak_memory_mb")

# Two kinds of expert collapse: one expert has nearly all the weight of a gate, or the weights were
# nearly uniform in this many epochs.
_SINGLE_EXPERT_WEIGHT = 0.99
_UNIFORM_TOLERANCE = 0.01
_UNIFORM_EPOCHS = 20


class EpochMeans:
    """Sums over the steps of an epoch; they stay on the device until the epoch ends.

    Parameters
    ----------
    network : its tasks name the rows and columns of the gate weights
    """

    def __init__(self, network: NetworkSettings) -> None:
        self._gate_tasks, self._expert_tasks = network.gate_tasks, network.expert_tasks
        # Names of the values of a phase; their sums over the steps; number of the steps.
        self._names: dict[int, list[str]] = {}
        self._sums: dict[int, Tensor] = {}
        self._steps: dict[int, int] = {}
        self._gates: Tensor | None = None
        self._gate_steps = 0

    def add(self, phase: int, result: "PhaseLoss") -> None:
        """Add one phase of one step."""
        import torch

        totals = {"loss": result.loss.detach(), f"plain_{phase}": result.plain}
        values = {**result.log, **result.counts, **totals}
        self._names[phase] = list(values)
        stacked = torch.stack([value.float() for value in values.values()])
        self._sums[phase] = self._sums[phase] + stacked if phase in self._sums else stacked
        self._steps[phase] = self._steps.get(phase, 0) + 1
        if result.gate_weights is not None:
            before = self._gates
            # A copy: the next step may overwrite the result.
            weights = result.gate_weights.clone()
            self._gates = weights if before is None else before + weights
            self._gate_steps += 1

    def reduce(self, mean: "Callable[[Tensor], Tensor]") -> None:
        """Replace all sums by their mean over the processes that shared the batches."""
        self._sums = {phase: mean(sums) for phase, sums in self._sums.items()}
        if self._gates is not None:
            self._gates = mean(self._gates)

    def row(self, steps: int) -> LogRow:
        """Row of the epoch for the log."""
        row: LogRow = dict.fromkeys(COLUMNS)
        sums: dict[str, float] = {}
        for phase, names in self._names.items():
            for name, value in zip(names, self._sums[phase].tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
                if name in row:
                    row[name] = value / self._steps[phase]
        row["loss"] = sums["loss"] / steps  # the sum of the phases of a step
        row["unsup_share"] = _unsupervised_share(sums)
        if sums.get("pseudo_size"):
            row["pseudo_dice"] = sums["pseudo_overlap"] / sums["pseudo_size"]
        if self._gates is not None:
            weights = (self._gates / self._gate_steps).tolist()
            for gate, task in enumerate(self._gate_tasks):
                for number, expert in enumerate(self._expert_tasks):
                    row[f"gate_{task}_{expert}"] = weights[gate][number]
        return row


def _unsupervised_share(sums: Mapping[str, float]) -> float | None:
    if "plain_1" not in sums:
        return None
    both = sums["plain_0"] + sums["plain_1"]
    return sums["plain_1"] / both if both else 0.0


def collapsed_gates(rows: Sequence[LogRow], *, means_hide_weights: bool = False) -> list[str]:
    """Notes about gates that do not distinguish experts: the network is then not a mixture.

    Parameters
    ----------
    rows : of a run; the last twenty are used, or all if there are fewer
    means_hide_weights : means of the log may be equal although the weights of single tiles or
        pixels are not, so that nothing is said of equal weights
    """
    notes = []
    for task in _TASKS:
        epochs = [_gate_weights(row, task) for row in rows[-_UNIFORM_EPOCHS:]]
        if not epochs or not all(len(weights) > 1 for weights in epochs):
            continue  # the task has no gate, or there is a single expert
        expert, largest = max(epochs[-1].items(), key=lambda item: item[1])
        if largest > _SINGLE_EXPERT_WEIGHT:
            notes.append(
                f"expert collapse: the gate of task {task} uses the {expert} expert only"
                f" (mean weight {largest:.3f}): the model is valid, but not a mixture"
            )
        if not means_hide_weights and all(_is_uniform(weights) for weights in epochs):
            period = f"for {len(epochs)} epochs" if len(epochs) > 1 else "for one epoch"
            notes.append(
                f"expert collapse: the gate of task {task} weighs all experts the same"
                f" (weights within {_UNIFORM_TOLERANCE} of uniform {period})"
            )
    return notes


def can_detect_collapse(rows: Sequence[LogRow]) -> bool:
    """Whether a run has enough epochs to detect expert collapse before its end."""
    return len(rows) >= _UNIFORM_EPOCHS


def _is_uniform(weights: Mapping[str, float]) -> bool:
    uniform = 1 / len(weights)
    return all(abs(weight - uniform) <= _UNIFORM_TOLERANCE for weight in weights.values())


def _gate_weights(row: LogRow, task: str) -> dict[str, float]:
    """Weights of a gate by expert; empty if the task has no gate."""
    weights = {expert: row[f"gate_{task}_{expert}"] for expert in _TASKS}
    return {expert: weight for expert, weight in weights.items() if weight is not None}


def to_csv(rows: Sequence[LogRow], columns: Sequence[str]) -> str:
    """Rows as CSV text; `None` is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: float | None) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
