"""The figures of the report, as inline SVG."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semimoe.methods import METHODS

if TYPE_CHECKING:
    import pandas as pd


class ExpertStyle(NamedTuple):
    """How figures show the expert of one task: key in `history.csv`, label, colour and line."""

    key: str
    label: str
    colour: str
    line: str


_EXPERTS = (
    ExpertStyle("seg", "segmentation", "#1b6ca8", "-"),
    ExpertStyle("sdf", "distance", "#2a9d5c", "-."),
    ExpertStyle("bnd", "boundary", "#d98324", ":"),
)


def training_figure(histories: "Mapping[str, pd.DataFrame]") -> str:
    """Losses, validation Dice and pseudo-label Dice over the epochs.

    Parameters
    ----------
    histories : for each method, its history.csv
    """
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    losses, dice, unlabelled = figure.subplots(1, 3)
    for method, history in histories.items():
        label, colour = METHODS[method].label, METHODS[method].colour
        epochs = history["epoch"]
        losses.plot(epochs, history["loss"], color=colour, label=label)
        if METHODS[method].uses_unlabelled:
            _plot_unlabelled(unlabelled, history, method)
        if not METHODS[method].has_gates:
            dice.plot(epochs, history["val_dice_gate"], color=colour, label=label)
            continue
        dice.plot(epochs, history["val_dice_gate"], color=colour, label=f"{label}: gate")
        expert = history["val_dice_seg"]
        dice.plot(epochs, expert, color=colour, ls=":", label=f"{label}: segmentation expert")
    _decorate(losses, "loss")
    _decorate(dice, "validation Dice")
    _decorate(unlabelled, "unlabelled tiles")
    return _svg(figure)


def gate_figure(history: "pd.DataFrame") -> str:
    """Mean weight of each expert in the gate of each task over the epochs; 1/3: no preference."""
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    for axes, task in zip(figure.subplots(1, 3, sharey=True), _EXPERTS, strict=True):
        for expert in _EXPERTS:
            weights = history[f"gate_{task.key}_{expert.key}"]
            label = f"{expert.label} expert"
            axes.plot(history["epoch"], weights, color=expert.colour, ls=expert.line, label=label)
        axes.axhline(1 / 3, color="0.6", lw=0.8, ls="--")
        _label_axes(axes, f"gate of the {task.label} task")
    axes.legend(fontsize=7, frameon=False)
    return _svg(figure)


def _plot_unlabelled(axes: Axes, history: "pd.DataFrame", method: str) -> None:
    epochs, colour, name = history["epoch"], METHODS[method].colour, METHODS[method].label
    label = f"{name}: share of the unsupervised loss"
    axes.plot(epochs, history["unsup_share"], color=colour, label=label)
    label = f"{name}: Dice of pseudo-labels (slides with outlines)"
    axes.plot(epochs, history["pseudo_dice"], color=colour, ls="--", label=label)
    axes.set_ylim(0, 1)


def _label_axes(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _decorate(axes: Axes, title: str) -> None:
    _label_axes(axes, title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)


def _svg(figure: Figure) -> str:
    """The SVG element of a figure; the same figure gives the same text."""
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    file = io.StringIO()
    with mpl.rc_context(
        {"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(file, format="svg", metadata=metadata)
    _, start, rest = file.getvalue().partition("<svg")
    return start + rest
