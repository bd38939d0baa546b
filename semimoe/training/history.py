"""The log of a run: one row per epoch."""

import csv
import io
from typing import TYPE_CHECKING, Any

from semimoe.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from semimoe.methods.phase import PhaseLoss

_TASKS = ("seg", "sdf", "bnd")
Row = dict[str, Any]
# Two ways in which the gates stop choosing: all on one expert, or none preferred, for this many epochs.
_ALONE = 0.99
_UNIFORM = 0.01
_UNIFORM_EPOCHS = 20

# `unsup_share` is the share of the unsupervised term in the weighted plain loss: lambda L_unsup / (L_sup + lambda L_unsup).
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


class EpochMeans:
    """Sums of what the steps of an epoch report; stays on the device until the epoch ends.

    Parameters
    ----------
    network : says which gates and experts the gate weights are of
    """

    def __init__(self, network: NetworkSettings) -> None:
        self._gates_of, self._experts_of = network.gates_of, network.experts_of
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}
        self._gates: Tensor | None = None
        self._gate_steps = 0

    def add(self, phase: int, result: "PhaseLoss") -> None:
        """Add one phase of one step."""
        for name, value in {
            **result.log,
            **result.counts,
            "loss": result.loss.detach(),
            f"plain_{phase}": result.plain,
        }.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._steps[name] = self._steps.get(name, 0) + 1
        if result.gate_weights is not None:
            self._gates = (
                result.gate_weights if self._gates is None else self._gates + result.gate_weights
            )
            self._gate_steps += 1

    def reduce(self, mean: "Callable[[Tensor], Tensor]") -> None:
        """Replace all sums by their mean over the processes that shared the batches."""
        self._sums = {name: mean(value.float()) for name, value in self._sums.items()}
        if self._gates is not None:
            self._gates = mean(self._gates)

    def row(self, steps: int) -> Row:
        """Columns of the epoch; `None` where there is nothing to report."""
        sums = {name: float(value) for name, value in self._sums.items()}
        row: Row = dict.fromkeys(COLUMNS)
        row |= {name: value / self._steps[name] for name, value in sums.items() if name in row}
        row["loss"] = sums["loss"] / steps  # both phases of a step are one total
        row["unsup_share"] = self._share(sums)
        if sums.get("pseudo_size"):
            row["pseudo_dice"] = sums["pseudo_overlap"] / sums["pseudo_size"]
        if self._gates is not None:
            weights = (self._gates / self._gate_steps).tolist()
            row |= {
                f"gate_{task}_{expert}": weights[t][e]
                for t, task in enumerate(self._gates_of)
                for e, expert in enumerate(self._experts_of)
            }
        return row

    @staticmethod
    def _share(sums: dict[str, float]) -> float | None:
        if "plain_1" not in sums:
            return None
        both = sums["plain_0"] + sums["plain_1"]
        return sums["plain_1"] / both if both else 0.0


def collapsed_gates(rows: list[Row]) -> list[str]:
    """Gates that no longer choose, in words: the network then works, but not as a mixture.

    Parameters
    ----------
    rows : of a run, or of its last epochs; looked at are the last twenty, or all where there are fewer
    """
    said = []
    for task in _TASKS:
        epochs = [_weights(row, task) for row in rows[-_UNIFORM_EPOCHS:]]
        if not all(len(weights) > 1 for weights in epochs) or not epochs:
            continue  # no such gate, or a single expert: nothing to choose
        expert, largest = max(epochs[-1].items(), key=lambda item: item[1])
        if largest > _ALONE:
            alone = f"the gate of task {task} listens to the {expert} expert alone (mean weight {largest:.3f})"
            said.append(f"expert collapse: {alone}: it works, but not as a mixture")
        if all(
            abs(weight - 1 / len(weights)) <= _UNIFORM
            for weights in epochs
            for weight in weights.values()
        ):
            since = f"for {len(epochs)} epochs" if len(epochs) > 1 else "for an epoch"
            said.append(
                f"expert collapse: the gate of task {task} prefers no expert (weights within {_UNIFORM} of uniform {since})"
            )
    return said


def settled(rows: list[Row]) -> bool:
    """Whether a run is long enough to speak of collapse before its end."""
    return len(rows) >= _UNIFORM_EPOCHS


def _weights(row: Row, task: str) -> dict[str, float]:
    named = {expert: row[f"gate_{task}_{expert}"] for expert in _TASKS}
    return {expert: weight for expert, weight in named.items() if weight is not None}


def to_csv(rows: list[Row], columns: tuple[str, ...]) -> str:
    """Rows as csv text; `None` is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in row.items()
            }
        )
    return text.getvalue()
