"""Annotation files from QuPath -> outlines, sorted by how their class is read.

Only *annotations* count as truth; detections, points and lines are counted and skipped. Everything
that is skipped or repaired is reported. The classes: `tiling.qupath.class_names`.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import shapely

from tiling.outlines.geojson_reader import AnnotationFeature, GeoJsonFile
from tiling.outlines.polygons import AmbiguousOutline, polygon_of
from tiling.outlines.printable_names import printable
from tiling.qupath.annotation_limits import AnnotationLimits
from tiling.qupath.class_names import GLAND, Reading, base_classes, reading_of, similar_class

_MAX_MESSAGES = 30
_MAX_KINDS = 20
_COUNTED_AS_READ = "read"
_UNDECIDED = "outlines of unclear area"


class AnnotatedOutline(NamedTuple):
    """One annotated object.

    Attributes
    ----------
    class_name : as QuPath shows it
    name : of a region, unique in the file; "" for other objects without a name
    shape : shapely Polygon or MultiPolygon, (x, y) in level-0 pixels of the viewer, valid
    id : place in the file and id, for messages
    """

    class_name: str
    name: str
    shape: Any
    id: str = ""


def _outlines_by_reading() -> dict[Reading, list[AnnotatedOutline]]:
    return {reading: [] for reading in Reading if reading is not Reading.EMPTY_REGION}


@dataclass
class SlideAnnotations:
    """The content of an annotation file.

    Attributes
    ----------
    outlines : by how they are read; those of `Reading.REGION` include the empty regions
    empty_regions : names of the regions that a person declared to contain no gland
    counts : objects read and skipped, by kind
    messages : what was skipped or repaired, one sentence each
    outline_messages : those about single outlines
    left_out_outlines : annotations whose area is not clear: their places in the file and ids
    viewer_px : (width, height) of the viewer that the file was written for; None if unknown
    """

    outlines: dict[Reading, list[AnnotatedOutline]] = field(default_factory=_outlines_by_reading)
    empty_regions: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    outline_messages: list[str] = field(default_factory=list)
    left_out_outlines: list[str] = field(default_factory=list)
    viewer_px: tuple[int, int] | None = None

    @property
    def regions(self) -> list[AnnotatedOutline]:
        """Areas in which every gland is outlined."""
        return self.outlines[Reading.REGION]

    @property
    def glands(self) -> list[AnnotatedOutline]:
        """Outlines of glands."""
        return self.outlines[Reading.GLAND]

    @property
    def ignored(self) -> list[AnnotatedOutline]:
        """Areas without weight."""
        return self.outlines[Reading.IGNORED]

    @property
    def skipped(self) -> dict[str, int]:
        """Number of objects that were skipped, by kind."""
        return {kind: count for kind, count in self.counts.items() if kind != _COUNTED_AS_READ}


def read_annotations(
    path: Path,
    *,
    gland_class: str = GLAND,
    objects: Literal["annotations", "all"] = "annotations",
    limits: AnnotationLimits | None = None,
) -> SlideAnnotations:
    """Read an annotation file: GeoJSON, also `.gz` and `.zip`, in every form that QuPath writes.

    Parameters
    ----------
    path : the whole file must fit in memory
    gland_class : class of a gland; derived classes ("Gland: benign") are read like it
    objects : "all" also reads detections (for round trips; predictions of this pipeline are
        detections, so that they are not read as truth)
    limits : of the file; None: it has none

    Returns
    -------
    SlideAnnotations
        It may contain no region or no gland; `tiling.qupath.annotation_checks` decides what that
        means. An outline that crosses itself too far to be repaired is left out, with a message.
        If it is a gland or an ignored area, its convex hull becomes an ignored area: a model must
        not learn as background what a person has outlined.

    Raises
    ------
    AnnotationError
        Missing, truncated, not GeoJSON, above the limits, or a feature that cannot be understood:
        with file, feature and remedy.
    """
    file = GeoJsonFile(path)
    reader = AnnotationReader(path, gland_class=gland_class, objects=objects)
    for feature in file.features():
        if limits is not None:
            limits.add(feature, reading_of(feature.class_name, gland_class=gland_class))
        reader.add(feature)
    return reader.annotations(file.viewer_px)


class AnnotationReader:
    """Makes outlines of the features of an annotation file while it is parsed.

    Parameters
    ----------
    path : the file, for messages
    gland_class, objects : see `read_annotations`
    """

    def __init__(
        self,
        path: Path,
        *,
        gland_class: str = GLAND,
        objects: Literal["annotations", "all"] = "annotations",
    ) -> None:
        self._path, self._gland_class, self._objects = path, gland_class, objects
        self._drawn = SlideAnnotations()
        self._known_outlines: set[tuple[str, bytes]] = set()

    def add(self, feature: AnnotationFeature) -> None:
        """Read one feature.

        Raises
        ------
        AnnotationError
            It cannot be understood.
        """
        drawn = self._drawn
        if self._objects == "annotations" and not feature.is_annotation:
            drawn.counts[f"{feature.object_type}s"] += 1
            return
        outline = _outline(feature, self._path, drawn, self._gland_class)
        if outline is None:
            return
        key = (outline.class_name, shapely.to_wkb(shapely.normalize(outline.shape)))
        if key in self._known_outlines:
            drawn.counts["duplicates"] += 1
            return
        self._known_outlines.add(key)
        _add(drawn, outline, self._gland_class)

    def annotations(self, viewer_px: tuple[int, int] | None) -> SlideAnnotations:
        """What was read, after the last feature; `viewer_px` as the file says."""
        drawn = self._drawn
        drawn.viewer_px = viewer_px
        _name_regions(drawn)
        omitted = _omitted_messages(drawn.outline_messages)
        drawn.outline_messages = [*drawn.outline_messages[:_MAX_MESSAGES], *omitted]
        skipped = _skipped_message(drawn, self._path, self._gland_class)
        drawn.messages = [*drawn.outline_messages, *skipped]
        return drawn


def _outline(
    feature: AnnotationFeature, path: Path, drawn: SlideAnnotations, gland_class: str
) -> AnnotatedOutline | None:
    """The outline of a feature; None when it has none that can be used, which is counted."""
    label = feature.class_name
    try:
        shape, notes = polygon_of(feature.geometry, f"{path}: feature {feature.id}")
    except AmbiguousOutline as ambiguous:
        drawn.outline_messages.append(f"{ambiguous}; it is left out")
        drawn.counts[_UNDECIDED] += 1
        drawn.left_out_outlines.append(feature.id)
        if reading_of(label, gland_class=gland_class) in (Reading.GLAND, Reading.IGNORED):
            drawn.ignored.append(AnnotatedOutline(label, feature.name, ambiguous.hull, feature.id))
        return None
    drawn.outline_messages += notes
    if shape is None:
        drawn.counts[_kind_without_area(feature.geometry)] += 1
        return None
    return AnnotatedOutline(label, feature.name, shape, feature.id)


def _kind_without_area(geometry: Any) -> str:  # noqa: ANN401  # JSON
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind in ("Point", "MultiPoint"):
        return "points"
    return "lines" if kind in ("LineString", "MultiLineString") else "without area"


def _add(drawn: SlideAnnotations, outline: AnnotatedOutline, gland_class: str) -> None:
    """Put an outline into the list of its reading; count it as read or as skipped."""
    label = outline.class_name
    reading = reading_of(label, gland_class=gland_class)
    if reading is None:
        drawn.counts[_unread_class(label, gland_class)] += 1
    elif reading is Reading.PROPOSAL:
        drawn.counts["proposals"] += 1
    else:
        is_region = reading in (Reading.REGION, Reading.EMPTY_REGION)
        drawn.outlines[Reading.REGION if is_region else reading].append(outline)
        drawn.counts[_COUNTED_AS_READ] += 1


def _unread_class(label: str, gland_class: str) -> str:
    """The kind under which an object is counted whose class is not read."""
    if not label:
        return "without class"
    meant = similar_class(label, gland_class=gland_class)
    hint = f" (did you mean {meant!r}?)" if meant else ""
    return f"class {printable(label)!r}{hint}"


def _name_regions(drawn: SlideAnnotations) -> None:
    """Give every region a name that no other region has, and note the empty ones."""
    taken: set[str] = set()
    for index, region in enumerate(drawn.regions):
        name = _unique_name(region.name, taken, index + 1)
        taken.add(name)
        drawn.regions[index] = region._replace(name=name)
        if reading_of(region.class_name) is Reading.EMPTY_REGION:
            drawn.empty_regions.add(name)


def _unique_name(name: str, taken: set[str], number: int) -> str:
    name = name or f"region {number}"
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def _omitted_messages(messages: list[str]) -> list[str]:
    omitted = len(messages) - _MAX_MESSAGES
    return [f"... and {omitted} more messages"] if omitted > 0 else []


def _skipped_message(drawn: SlideAnnotations, path: Path, gland_class: str) -> list[str]:
    """One sentence for everything that was skipped."""
    skipped = drawn.skipped
    if not skipped:
        return []
    text = f"{path}: left out: {counts_text(skipped)}"
    if any(kind == "without class" or kind.startswith("class ") for kind in skipped):
        readings = [reading for reading in Reading if reading is not Reading.PROPOSAL]
        names = base_classes(*readings, gland_class=gland_class)
        text += f" (classes that are read: {', '.join(names)})"
    return [text]


def counts_text(counts: dict[str, int]) -> str:
    """Counts by kind in one line; of many kinds the first ones.

    >>> counts_text({"points": 1, "lines": 3})
    '3 lines, 1 points'
    """
    kinds = sorted(counts.items())
    parts = [f"{count} {name}" for name, count in kinds[:_MAX_KINDS]]
    if len(kinds) > _MAX_KINDS:
        parts.append(f"{len(kinds) - _MAX_KINDS} more kinds")
    return ", ".join(parts)
