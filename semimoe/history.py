"""The log of a run: one row per epoch."""

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from semimoe.methods.phase import PhaseLoss

_TASKS = ("seg", "sdf", "bnd")
Row = dict[str, Any]
_COLLAPSED = 0.95

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
    """Sums of what the steps of an epoch report; stays on the device until the epoch ends."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}
        self._gates: Tensor | None = None
        self._gate_steps = 0

    def add(self, phase: int, result: "PhaseLoss") -> None:
        """Add one phase of one step."""
        for name, value in {**result.log, **result.counts, "loss": result.loss.detach(), f"plain_{phase}": result.plain}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._steps[name] = self._steps.get(name, 0) + 1
        if result.gate_weights is not None:
            self._gates = result.gate_weights if self._gates is None else self._gates + result.gate_weights
            self._gate_steps += 1

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
            row |= {f"gate_{task}_{_TASKS[e]}": weights[t][e] for t, task in enumerate(_TASKS) for e in range(len(_TASKS))}
        return row

    @staticmethod
    def _share(sums: dict[str, float]) -> float | None:
        if "plain_1" not in sums:
            return None
        both = sums["plain_0"] + sums["plain_1"]
        return sums["plain_1"] / both if both else 0.0


def collapsed_gates(row: Row) -> list[str]:
    """Tasks whose gate listens to one expert alone, in words: the network then works, but not as a mixture."""
    said = []
    for task in _TASKS:
        weights = {expert: row[f"gate_{task}_{expert}"] or 0.0 for expert in _TASKS}
        expert = max(weights, key=lambda name: weights[name])
        if weights[expert] > _COLLAPSED:
            said.append(
                f"the gate of task {task} listens to the {expert} expert alone (mean weight {weights[expert]:.2f}): expert collapse"
            )
    return said


def to_csv(rows: list[Row], columns: tuple[str, ...]) -> str:
    """Rows as csv text; `None` is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()
