"""Counts the objects of an annotation file by what is read of them; outlines are not checked."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tiling.outlines.geojson_reader import AnnotationFeature, GeoJsonFile
from tiling.outlines.printable_names import printable
from tiling.qupath.class_names import GLAND, Reading, reading_of

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
    """

    regions: int
    empty_regions: int
    glands: int
    ignored: int
    skipped: dict[SkippedKind, int]


def count_annotations(path: Path, *, gland_class: str = GLAND) -> AnnotationCounts:
    """Parse an annotation file and count its objects.

    This takes about as long as parsing its JSON. Outlines are not checked: some of those that are
    counted may be left out when the labels are made.

    Raises
    ------
    AnnotationError
        See `tiling.outlines.geojson_reader.GeoJsonFile.features`.
    """
    read: Counter[Reading] = Counter()
    skipped: Counter[SkippedKind] = Counter()
    for feature in GeoJsonFile(path).features():
        reading = reading_of(feature.class_name, gland_class=gland_class)
        reason = _reason(feature, reading)
        if reason or reading is None:
            class_name = printable(feature.class_name)
            skipped[SkippedKind(_kind(feature), class_name, reason)] += 1
        else:
            read[reading] += 1
    return AnnotationCounts(
        regions=read[Reading.REGION] + read[Reading.EMPTY_REGION],
        empty_regions=read[Reading.EMPTY_REGION],
        glands=read[Reading.GLAND],
        ignored=read[Reading.IGNORED],
        skipped=dict(skipped),
    )


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
