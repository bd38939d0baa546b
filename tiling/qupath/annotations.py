"""Annotations from QuPath (GeoJSON) -> polygons: kinder than QuPath's own reader, but nothing goes in silence.

Only *annotations* count as truth; detections, points and lines are counted and skipped. Class names are matched literally
(the star belongs to QuPath's names): `Region*`, `Ignore*`, the gland class, and what is derived from them (`Gland: tumour`).
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import shapely

from tiling.qupath.features import features_of, load_json, shown
from tiling.qupath.polygons import AmbiguousOutline, polygon_of
from tiling.slide_errors import AnnotationError

REGION, IGNORE, PROPOSED = "Region*", "Ignore*", "Proposed*"
_EMPTY = f"{REGION}: empty"
_MOST_MESSAGES = 30
_MOST_KINDS = 20
_MOST_PARENTS = 8
_MOST_REGIONS = 65535  # as many as `region` of a label store can number


class Outline(NamedTuple):
    """One annotated object.

    Attributes
    ----------
    name : of a region: its own, unique in the file; of others their class
    shape : shapely Polygon or MultiPolygon, (x, y) in level-0 pixels of the viewer, valid
    id : of the feature; its place in the file where it has none
    """

    name: str
    shape: Any
    id: str = ""


@dataclass
class Annotations:
    """What an annotation file holds.

    Attributes
    ----------
    regions, glands, ignored : outlines of class Region*, of the gland class, and Ignore*
    empty : names of the regions that are declared to hold no gland (class `Region*: empty`)
    counts : objects read and skipped, by kind
    messages : what was skipped or repaired, one sentence each
    viewer_px : (width, height) of the viewer the file was made for, where it says so
    names : of the regions
    """

    regions: list[Outline] = field(default_factory=list)
    glands: list[Outline] = field(default_factory=list)
    ignored: list[Outline] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    viewer_px: tuple[int, int] | None = None
    names: set[str] = field(default_factory=set)


def read_annotations(
    path: Path,
    *,
    gland_class: str = "Gland",
    objects: Literal["annotations", "all"] = "annotations",
) -> Annotations:
    """Read an annotation file: GeoJSON, also `.gz` and `.zip`, in any of the wrappings QuPath writes.

    Parameters
    ----------
    path : file; small enough for memory
    gland_class : class of a gland, and the part before the colon of a derived one
    objects : "all" also takes detections (for round trips; our own predictions must not come back as truth)

    Returns
    -------
    Annotations
        May hold no region or gland: what that means is the caller's question. An outline that crosses itself too far to be repaired is
        refused by its id; where a gland or `Ignore*` was meant, its hull is ignored: it must not be learnt as background.

    Raises
    ------
    AnnotationError
        Missing, cut, not GeoJSON, or a feature that cannot be understood: with file, feature and remedy.
    """
    content = load_json(path)
    found = Annotations(viewer_px=_viewer(content))
    seen: set[tuple[str, bytes]] = set()
    for feature in features_of(content, path):
        label = _class_of(feature.properties)
        if objects == "annotations" and feature.kind != "annotation":
            found.counts[f"{feature.kind}s"] += 1
            continue
        try:
            shape, notes = polygon_of(feature.geometry, f"{path}: feature {feature.id}")
        except AmbiguousOutline as refused:
            found.messages.append(str(refused))
            found.counts["outlines that cross themselves"] += 1
            if _base(label, gland_class) in (gland_class, IGNORE):
                found.ignored.append(Outline(label, refused.hull, feature.id))
            continue
        found.messages += notes
        if shape is None:
            found.counts[_skipped_as(feature.geometry)] += 1
            continue
        key = (label, shapely.to_wkb(shapely.normalize(shape)))
        if key in seen:
            found.counts["duplicates"] += 1
            continue
        seen.add(key)
        _sort_in(found, Outline(label, shape, feature.id), feature.properties, gland_class)
    found.messages = [
        *found.messages[:_MOST_MESSAGES],
        *_more(found.messages),
        *_summary(found, path, gland_class),
    ]
    return found


def _sort_in(
    found: Annotations, outline: Outline, properties: dict[str, Any], gland_class: str
) -> None:
    base = _base(outline.name, gland_class)
    if base == gland_class:
        found.glands.append(outline)
    elif base == REGION:
        name = _unique_name(properties.get("name"), found.names, len(found.regions) + 1)
        found.names.add(name)
        found.regions.append(outline._replace(name=name))
        if outline.name == _EMPTY:
            found.empty.add(name)
    elif base == IGNORE:
        found.ignored.append(outline)
    elif base == PROPOSED:
        found.counts["proposals"] += 1
        return
    else:
        found.counts[f"class {shown(outline.name)!r}" if outline.name else "without class"] += 1
        return
    found.counts["read"] += 1


def _base(label: str, gland_class: str) -> str:
    """What a class is derived from; the gland class may hold a colon itself.

    >>> _base("Gland: tumour", "Gland"), _base("Gland: tumour", "Gland: tumour"), _base("Region*: empty", "Gland")
    ('Gland', 'Gland: tumour', 'Region*')
    """
    if label == gland_class or label.startswith(f"{gland_class}:"):
        return gland_class
    return label.partition(":")[0].strip()


def _unique_name(given: Any, taken: set[str], number: int) -> str:  # noqa: ANN401  # JSON
    name = shown(given) if isinstance(given, str) else ""
    name = name or f"region {number}"
    unique = name
    while unique in taken:
        unique, number = f"{name} ({number})", number + 1
    return unique


def _class_of(properties: dict[str, Any]) -> str:
    """Class name as QuPath shows it ("Gland: tumour"), "" without one.

    >>> [_class_of({"classification": c}) for c in ("Gland", {"names": ["Gland", "tumour"]}, {"name": "a", "parentClass": {"name": "b"}})]
    ['Gland', 'Gland: tumour', 'b: a']
    """
    given = properties.get("classification", properties.get("pathClass"))
    names: list[str] = []
    while given is not None and len(names) < _MOST_PARENTS:
        if isinstance(given, str):
            names.append(given)
        elif isinstance(given, list):
            names += [str(name) for name in reversed(given) if isinstance(name, str | int | float)]
        elif isinstance(given, dict):
            listed = given.get("names")
            if isinstance(listed, list) and listed:
                given = listed
                continue
            name = given.get("name")
            names += [name] if isinstance(name, str) else []
            given = given.get("parentClass")
            continue
        break
    return ": ".join(name for name in map(str.strip, reversed(names)) if name)


def _skipped_as(geometry: Any) -> str:  # noqa: ANN401  # JSON
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind in ("Point", "MultiPoint"):
        return "points"
    return "lines" if kind in ("LineString", "MultiLineString") else "without area"


def _viewer(content: Any) -> tuple[int, int] | None:  # noqa: ANN401  # JSON
    given = content.get("viewer") if isinstance(content, dict) else None
    if not isinstance(given, dict):
        return None
    width, height = given.get("width"), given.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _more(messages: list[str]) -> list[str]:
    return (
        [f"... and {len(messages) - _MOST_MESSAGES} more of this kind"]
        if len(messages) > _MOST_MESSAGES
        else []
    )


def _summary(found: Annotations, path: Path, gland_class: str) -> list[str]:
    """One sentence for everything that was left out."""
    left_out = {name: count for name, count in found.counts.items() if name != "read"}
    if not left_out:
        return []
    text = f"{path}: left out: {_listed(left_out)}"
    if found.counts["without class"] or any(name.startswith("class ") for name in left_out):
        text += f" (classes that are read: {REGION}, {gland_class}, {IGNORE})"
    return [text]


def check_complete(
    found: Annotations, path: Path, *, annotated: Literal["regions", "whole"]
) -> None:
    """Refuse what does not say where everything is outlined.

    Raises
    ------
    AnnotationError
        No region (unless the whole slide is annotated), a region without an outline that is not declared empty, or no gland at all.
    """
    if annotated == "whole":
        if not found.glands and not found.empty:
            raise AnnotationError(
                f"{path}: no gland in it{_hint(found)}; export annotations, not detections, of the gland class, "
                f"or draw one area of class '{_EMPTY}' when the slide has no gland"
            )
        return
    if not found.regions:
        raise AnnotationError(
            f"{path}: no area of class {REGION} in it{_hint(found)}; draw one around each place where every gland is outlined, "
            "or set column 'annotated' to whole in the sheet"
        )
    if len(found.regions) > _MOST_REGIONS:
        raise AnnotationError(
            f"{path}: {len(found.regions)} areas of class {REGION}, at most {_MOST_REGIONS} can be numbered; join them"
        )
    tree = shapely.STRtree([gland.shape for gland in found.glands])
    for region in found.regions:
        hits = [found.glands[i].shape for i in tree.query(region.shape, predicate="intersects")]
        held = any(shapely.intersection(region.shape, shape).area > 0 for shape in hits)
        if not held and region.name not in found.empty:
            raise AnnotationError(
                f"{path}: {region.name} (feature {region.id}) has no outline of a gland in it{_hint(found)}; is it really empty? "
                f"then give it the class '{_EMPTY}', else outline its glands"
            )
        if held and region.name in found.empty:
            found.messages.append(
                f"{path}: {region.name} is declared empty but holds outlines; they are read"
            )


def _hint(found: Annotations) -> str:
    left_out = {name: count for name, count in found.counts.items() if name != "read"}
    return f" (left out: {_listed(left_out)})" if left_out else ""


def _listed(counts: dict[str, int]) -> str:
    """Counts by kind in one line, of many kinds the first ones."""
    kinds = sorted(counts.items())
    more = [f"{len(kinds) - _MOST_KINDS} more kinds"] if len(kinds) > _MOST_KINDS else []
    return ", ".join([*(f"{count} {name}" for name, count in kinds[:_MOST_KINDS]), *more])
