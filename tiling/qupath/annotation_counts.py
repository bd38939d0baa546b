"""Counts the objects of an annotation file by what is read of them; outlines are not checked."""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiling.outlines.geojson_reader import AnnotationFeature
from tiling.outlines.printable_names import printable
from tiling.qupath.annotation_limits import AnnotationLimits
from tiling.qupath.class_names import GLAND, Reading, reading_of

Box = tuple[float, float, float, float]  # left, top, right, bottom
_WITHOUT_AREA = {
    "Point": "point",
    "MultiPoint": "point",
    "LineString": "line",
    "MultiLineString": "line",
}


class SkippedKind(NamedTuple):
    """What objects of one kind are, and why they are not read.

    Attributes
    ----------
    kind : annotation, detection, cell, tile, TMA core, root object, point, line, without area
    class_name : as QuPath shows it; "" without a class
    reason : why it is left out
    """

    kind: str
    class_name: str
    reason: str


class AnnotationCounts(NamedTuple):
    """Number of objects in an annotation file.

    Attributes
    ----------
    regions : areas in which every gland is outlined, also the empty ones
    empty_regions : regions that are declared to contain no gland
    glands : outlines of the gland class
    ignored : areas without weight
    skipped : objects that are not read, by kind and class
    without_gland : regions that are not declared empty and that no bounding box of a gland meets:
        their names, or their places in the file
    extent_px : left, top, right, bottom of all that is read, as in the file; None if nothing is
    viewer_px : (width, height) of the viewer that the file was written for; None if unknown
    """

    regions: int
    empty_regions: int
    glands: int
    ignored: int
    skipped: dict[SkippedKind, int]
    without_gland: tuple[str, ...] = ()
    extent_px: Box | None = None
    viewer_px: tuple[int, int] | None = None


class AnnotationCounter:
    """Counts the objects of an annotation file while it is parsed.

    Outlines are not checked: some of those that are counted may be left out when the labels are
    made.

    Parameters
    ----------
    path : the file, for messages
    gland_class : class of a gland
    """

    def __init__(self, path: Path, *, gland_class: str = GLAND) -> None:
        self._gland_class = gland_class
        self._limits = AnnotationLimits(path)
        self._read: Counter[Reading] = Counter()
        self._boxes = _Boxes()
        self._skipped: Counter[SkippedKind] = Counter()

    def add(self, feature: AnnotationFeature) -> None:
        """Count one feature.

        Raises
        ------
        AnnotationError
            See `tiling.qupath.annotation_limits`.
        """
        reading = reading_of(feature.class_name, gland_class=self._gland_class)
        self._limits.add(feature, reading)
        reason = _reason(feature, reading)
        if reason or reading is None:
            class_name = printable(feature.class_name)
            self._skipped[SkippedKind(_kind(feature), class_name, reason)] += 1
        else:
            self._read[reading] += 1
            self._boxes.add(feature, reading)

    def counts(self, viewer_px: tuple[int, int] | None) -> AnnotationCounts:
        """The counts of all features; `viewer_px` as the file says."""
        read = self._read
        return AnnotationCounts(
            regions=read[Reading.REGION] + read[Reading.EMPTY_REGION],
            empty_regions=read[Reading.EMPTY_REGION],
            glands=read[Reading.GLAND],
            ignored=read[Reading.IGNORED],
            skipped=dict(self._skipped),
            without_gland=self._boxes.without_gland(),
            extent_px=self._boxes.extent(),
            viewer_px=viewer_px,
        )


class _Boxes:
    """Bounding boxes of what is read."""

    def __init__(self) -> None:
        self._boxes: list[Box] = []
        self._glands: list[Box] = []
        self._regions: dict[str, Box] = {}

    def add(self, feature: AnnotationFeature, reading: Reading) -> None:
        box = _box(feature.geometry)
        if box is None:
            return
        self._boxes.append(box)
        if reading is Reading.GLAND:
            self._glands.append(box)
        elif reading is Reading.REGION:
            self._regions[f"{feature.name} ({feature.id})".strip()] = box

    def without_gland(self) -> tuple[str, ...]:
        glands = np.array(self._glands, float).reshape(-1, 4)
        return tuple(name for name, box in self._regions.items() if not _meets(box, glands).any())

    def extent(self) -> Box | None:
        if not self._boxes:
            return None
        boxes = np.array(self._boxes, float)
        left, top = boxes[:, :2].min(axis=0).tolist()
        right, bottom = boxes[:, 2:].max(axis=0).tolist()
        return left, top, right, bottom


def _meets(box: Box, others: NDArray[np.float64]) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    in_columns = (others[:, 0] < right) & (others[:, 2] > left)
    return np.asarray(in_columns & (others[:, 1] < bottom) & (others[:, 3] > top))


def _box(geometry: Any) -> Box | None:  # noqa: ANN401  # JSON
    """Bounding box of the outer rings; None if a coordinate is no number or no finite one."""
    kind, parts = geometry.get("type"), geometry.get("coordinates")
    polygons = [parts] if kind == "Polygon" else parts
    try:
        # Three times as fast as arrays of numpy: there are hundreds of megabytes of files.
        x, y, *_ = zip(*chain.from_iterable(polygon[0] for polygon in polygons), strict=False)
        box = (float(min(x)), float(min(y)), float(max(x)), float(max(y)))
    except (TypeError, ValueError, IndexError, OverflowError, KeyError):
        return None
    return box if np.isfinite(box).all() else None


def _kind(feature: AnnotationFeature) -> str:
    if not feature.is_annotation:
        return feature.object_type
    geometry = feature.geometry
    if not isinstance(geometry, dict):
        return "without area"
    kind = geometry.get("type")
    return _WITHOUT_AREA.get(kind, "annotation") if isinstance(kind, str) else "annotation"


def _reason(feature: AnnotationFeature, reading: Reading | None) -> str:
    if not feature.is_annotation:
        return "only annotations are read"
    if _kind(feature) != "annotation":
        return "encloses no area"
    if reading is None:
        return "class is not read" if feature.class_name else "without class"
    return "proposals are not read" if reading is Reading.PROPOSAL else ""
