"""The picture of docs/architecture.md: how the data go through folders and stores.

python docs/draw_architecture.py docs/images/architecture.svg
"""

import sys
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

_TILING, _SEMIMOE, _WORKFLOW, _STORE = "#dbe9f6", "#f6dbe6", "#e9f0d8", "#ffffff"
_WIDTH, _HEIGHT = 1.72, 0.62


class Box(NamedTuple):
    """One folder of the code, or one store or file."""

    text: str
    x: float
    y: float
    colour: str


BOXES = {
    "slide": Box("slide file", 0, 3, _STORE),
    "slides": Box("tiling.slides\nlevels, pixel size", 2, 3, _TILING),
    "tissue": Box("tiling.tissue\ntissue, pen", 4, 3, _TILING),
    "tiles": Box("tiling.tiles\ngrid, pyramid", 6, 3, _TILING),
    "tile_store": Box("tiles/S.zarr", 8, 3, _STORE),
    "geojson": Box("outlines\nfrom QuPath", 0, 2, _STORE),
    "qupath_in": Box("tiling.qupath\nread, rasterise", 2, 2, _TILING),
    "label_store": Box("labels/S.zarr", 4, 2, _STORE),
    "training": Box("semimoe.training\nmethods, networks", 6, 2, _SEMIMOE),
    "model": Box("models/M", 8, 2, _STORE),
    "prediction": Box("semimoe.prediction", 10, 3, _SEMIMOE),
    "pseudo": Box("pseudo_labels/S.zarr", 10, 2, _STORE),
    "maps": Box("tiling.maps\nblend tiles", 12, 3, _TILING),
    "map_store": Box("maps/S.zarr", 12, 2, _STORE),
    "objects": Box("tiling.objects\nsplit, stitch, trace", 12, 1, _TILING),
    "gland_store": Box("glands/S.zarr", 10, 1, _STORE),
    "qupath_out": Box("tiling.qupath\nwrite, propose", 8, 1, _TILING),
    "pictures": Box("tiling.pictures\noverviews", 10, 0, _TILING),
    "evaluation": Box("semimoe.evaluation\nscores", 8, 0, _SEMIMOE),
    "out": Box("GeoJSON, csv\nproposals", 6, 1, _STORE),
    "reporting": Box("workflow.reporting\ntables, pages", 6, 0, _WORKFLOW),
    "report": Box("report.html", 4, 0, _STORE),
}
ARROWS = (
    ("slide", "slides"), ("slides", "tissue"), ("tissue", "tiles"), ("tiles", "tile_store"),
    ("geojson", "qupath_in"), ("qupath_in", "label_store"), ("label_store", "training"),
    ("tile_store", "training"), ("training", "model"), ("model", "prediction"),
    ("tile_store", "prediction"), ("prediction", "maps"), ("prediction", "pseudo"),
    ("maps", "map_store"), ("map_store", "objects"), ("objects", "gland_store"),
    ("gland_store", "qupath_out"), ("gland_store", "pictures"), ("qupath_out", "out"),
    ("gland_store", "evaluation"), ("evaluation", "reporting"), ("reporting", "report"),
)  # fmt: skip


def main() -> None:
    """Write the picture."""
    figure = Figure(figsize=(14.4, 4.9))
    axes = figure.add_axes((0, 0, 1, 1))
    for start, end in ARROWS:
        draw_arrow(axes, BOXES[start], BOXES[end])
    draw_bent_arrow(axes)
    for box in BOXES.values():
        draw_box(axes, box)
    for x, (label, colour) in enumerate(
        (
            ("tiling", _TILING),
            ("semimoe", _SEMIMOE),
            ("workflow", _WORKFLOW),
            ("file or store", _STORE),
        )
    ):
        draw_box(axes, Box(label, 2 * x, 4, colour))
    axes.set(xlim=(-1.1, 13.1), ylim=(-0.55, 4.5))
    axes.axis("off")
    with mpl.rc_context({"svg.hashsalt": "architecture", "svg.fonttype": "none"}):
        figure.savefig(sys.argv[1], metadata=dict.fromkeys(("Creator", "Date")))


def draw_box(axes: Axes, box: Box) -> None:
    """A box with its text in the middle."""
    corner = box.x - _WIDTH / 2, box.y - _HEIGHT / 2
    style = "round,pad=0,rounding_size=0.08"
    patch = FancyBboxPatch(corner, _WIDTH, _HEIGHT, style, fc=box.colour, ec="0.35", lw=0.9)
    axes.add_patch(patch)
    axes.text(box.x, box.y, box.text, ha="center", va="center", fontsize=9)


def draw_arrow(axes: Axes, start: Box, end: Box) -> None:
    """An arrow from edge to edge."""
    if start.y == end.y:
        side = _WIDTH / 2 if end.x > start.x else -_WIDTH / 2
        points = (start.x + side, start.y), (end.x - side, end.y)
    else:
        half = _HEIGHT / 2 if end.y > start.y else -_HEIGHT / 2
        points = (start.x, start.y + half), (end.x, end.y - half)
    style = {"arrowstyle": "-|>", "color": "0.35", "lw": 1.1, "shrinkA": 0, "shrinkB": 1}
    axes.annotate("", points[1], points[0], arrowprops=style)


def draw_bent_arrow(axes: Axes) -> None:
    """From the pseudo-labels back to the training, below the models."""
    style = {
        "arrowstyle": "-|>", "color": "0.35", "lw": 1.1, "ls": "--",
        "connectionstyle": "arc3,rad=-0.16",
    }  # fmt: skip
    start, end = BOXES["pseudo"], BOXES["training"]
    axes.annotate(
        "", (end.x, end.y - _HEIGHT / 2), (start.x, start.y - _HEIGHT / 2), arrowprops=style
    )


if __name__ == "__main__":
    main()
