"""Figures of the report, as inline SVG."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from workflow.config.configuration import NAMES

_COLOUR = {"supervised": "#6b7a8f", "unet": "#b0803a", "semimoe": "#8a1c5c"}
_EXPERTS = (
    ("seg", "segmentation", "#1b6ca8"),
    ("sdf", "distance", "#2a9d5c"),
    ("bnd", "boundary", "#d98324"),
)


def training_figure(histories: dict[str, Any]) -> str:
    """Losses, validation Dice and pseudo-label Dice over the epochs.

    Parameters
    ----------
    histories : per method, its history.csv as a DataFrame
    """
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    losses, dice, unsupervised = figure.subplots(1, 3)
    for method, table in histories.items():
        name, color = NAMES[method], _COLOUR[method]
        losses.plot(table["epoch"], table["loss"], color=color, label=name)
        gates = method != "unet"
        dice.plot(
            table["epoch"],
            table["val_dice_gate"],
            color=color,
            label=f"{name}: gate" if gates else name,
        )
        if gates:
            dice.plot(
                table["epoch"],
                table["val_dice_seg"],
                color=color,
                ls=":",
                label=f"{name}: seg expert",
            )
    if "semimoe" in histories:
        table = histories["semimoe"]
        unsupervised.plot(
            table["epoch"],
            table["unsup_share"],
            color="#8a1c5c",
            label="share of the unsupervised term",
        )
        unsupervised.plot(
            table["epoch"],
            table["pseudo_dice"],
            color="#2a9d5c",
            label="pseudo-label Dice (where truth is known)",
        )
        unsupervised.set_ylim(0, 1)
    for axes, title in (
        (losses, "loss"),
        (dice, "validation Dice"),
        (unsupervised, "unlabelled tiles"),
    ):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, frameon=False)
    return _svg(figure)


def gate_figure(history: Any) -> str:  # noqa: ANN401  # a DataFrame
    """Mean gate weights per task and expert over the epochs; uniform is 1/3."""
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    for axes, (task, title, _) in zip(figure.subplots(1, 3, sharey=True), _EXPERTS, strict=True):
        for expert, name, color in _EXPERTS:
            axes.plot(
                history["epoch"],
                history[f"gate_{task}_{expert}"],
                color=color,
                label=f"{name} expert",
            )
        axes.axhline(1 / 3, color="0.6", lw=0.8, ls="--")
        axes.set(title=f"gate of the {title} task", xlabel="epoch")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(
        {"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(
            text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
