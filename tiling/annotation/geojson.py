"""Outlines as pathologists draw them in QuPath -> regions, glands and ignored places.

Read: FeatureCollection, Feature, array of features or bare geometry; plain, .gz or .zip; classes in every form QuPath has written.
Only annotations count: our own predictions come back as detections and must not become truth.
"""

import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import shapely

from tiling.errors import AnnotationError

_MOST_BYTES = 2 * 2**30
_REPAIR_LIMIT = 0.01
_AREAL = ("Polygon", "MultiPolygon")
_SKIPPED_SHAPES = ("Point", "MultiPoint", "LineString", "MultiLineString")
_NOT_ANNOTATIONS = ("detection", "cell", "tile", "tma")
_EMPTY = "Region*: empty"


class Outline(NamedTuple):
    """One drawn object: its name, and a shapely area in level-0 pixels of the viewer."""

    name: str
    shape: Any


@dataclass
class Annotations:
    """What a file of outlines says.

    Attributes
    ----------
    regions : everything inside is outlined; `empty` names those that really have no gland
    glands, ignored : one gland each; places where nothing is learnt or scored
    messages : what was skipped or repaired, for the user
    """

    regions: list[Outline] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    glands: list[Outline] = field(default_factory=list)
    ignored: list[Outline] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def read_annotations(path: Path, *, gland_class: str = "Gland", objects: Literal["annotations", "all"] = "annotations") -> Annotations:
    """Read a file of outlines.

    Parameters
    ----------
    gland_class : class of glands; derived classes ("Gland: benign") count too
    objects : "annotations", or "all" to read detections as well (for round trips)

    Raises
    ------
    AnnotationError
        The file is cut, not GeoJSON, or holds an outline that cannot be repaired; with file, object and remedy.
    """
    found = Annotations()
    skipped: Counter[str] = Counter()
    for number, feature in enumerate(_features(path), start=1):
        geometry = feature.get("geometry")
        reason = _skip(feature, geometry, objects)
        if reason is None:
            reason = _sort_in(found, feature, gland_class, f"{path}: object {feature.get('id') or number}")
        if reason is not None:
            skipped[reason] += 1
    found.messages += [f"{path.name}: skipped {count} {what}" for what, count in sorted(skipped.items())]
    return found


def _skip(feature: dict[str, Any], geometry: dict[str, Any] | None, objects: str) -> str | None:
    """Why an object is not looked at, or None."""
    properties = _dict(feature.get("properties"))
    # Before QuPath 0.4 the type stood under another name, before 0.2 in the id.
    kind = str(properties.get("objectType") or properties.get("object_type") or feature.get("id") or "").lower()
    if objects == "annotations" and any(word in kind for word in _NOT_ANNOTATIONS):
        return "detection(s): only annotations are truth"
    if geometry is None:
        return "object(s) without a shape"
    if geometry.get("type") in _SKIPPED_SHAPES:
        return "point(s) or line(s)"
    return None


def _sort_in(found: Annotations, feature: dict[str, Any], gland_class: str, where: str) -> str | None:
    """Put an object where it belongs; why not, or None."""
    properties = _dict(feature.get("properties"))
    name, label = _class_name(properties.get("classification")), str(properties.get("name") or "")
    if name is None:
        return "object(s) without a class"
    base = name.split(":")[0]

    def area() -> Any:  # noqa: ANN401  # shapely has no types
        return _area(feature["geometry"], where, found.messages)

    if base == "Region*":
        label = label or f"region {len(found.regions) + 1}"
        if label in {region.name for region in found.regions}:
            label = f"{label} ({len(found.regions) + 1})"
        found.regions.append(Outline(label, area()))
        found.empty |= {label} if name == _EMPTY else set()
    elif base == "Ignore*":
        found.ignored.append(Outline(label or base, area()))
    elif name == gland_class or name.startswith(f"{gland_class}:"):
        found.glands.append(Outline(label or name, area()))
    elif base == "Proposed*":
        return "proposed region(s): give them the class Region* when they are corrected"
    else:
        return f"object(s) of class {name!r}"
    return None


def _features(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not whole GeoJSON ({error}); export it again from QuPath") from error
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        features = document.get("features")
    elif isinstance(document, dict) and document.get("type") == "Feature":
        features = [document]
    elif isinstance(document, dict) and document.get("type") in _AREAL:
        features = [{"geometry": document, "properties": {}}]
    else:
        features = document
    if not isinstance(features, list) or not all(isinstance(f, dict) and isinstance(f.get("geometry") or {}, dict) for f in features):
        raise AnnotationError(f"{path}: no GeoJSON features in it; export objects as GeoJSON from QuPath")
    return features


def _bytes(path: Path) -> bytes:
    read: dict[str, Callable[[], bytes]] = {".zip": lambda: _unzipped(path), ".gz": lambda: _limited(gzip.open(path))}
    try:
        data = read.get(path.suffix.lower(), lambda: _limited(path.open("rb")))()
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise AnnotationError(f"{path}: cannot be read ({error}); export it again from QuPath") from error
    if len(data) > _MOST_BYTES:
        raise AnnotationError(f"{path}: more than {_MOST_BYTES} bytes; split it by slide")
    return data


def _limited(handle: Any) -> bytes:  # noqa: ANN401  # a binary file
    with handle:
        data: bytes = handle.read(_MOST_BYTES + 1)
    return data


def _unzipped(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        inside = [info for info in archive.infolist() if info.filename.lower().endswith((".geojson", ".json"))]
        if len(inside) != 1:
            raise AnnotationError(f"{path}: holds {len(inside)} GeoJSON files; give one")
        return _limited(archive.open(inside[0]))


def _dict(value: Any) -> dict[str, Any]:  # noqa: ANN401  # whatever the file says
    return value if isinstance(value, dict) else {}


def _class_name(classification: Any) -> str | None:  # noqa: ANN401  # whatever the file says
    """Name of a class in every form QuPath has written; None when there is none.

    >>> _class_name({"names": ["Gland", "benign"]}), _class_name("Gland"), _class_name({"name": "x", "parentClass": {"name": "Gland"}})
    ('Gland: benign', 'Gland', 'Gland: x')
    """
    if isinstance(classification, str):
        return classification or None
    if not isinstance(classification, dict):
        return None
    names = classification.get("names")
    if isinstance(names, list) and names:
        return ": ".join(str(name) for name in names)
    name, parent = classification.get("name"), _class_name(classification.get("parentClass"))
    return f"{parent}: {name}" if parent and name else str(name) if name else parent


def _area(geometry: dict[str, Any], where: str, messages: list[str]) -> Any:  # noqa: ANN401  # shapely has no types
    """The shape of an object; small faults of drawing are repaired and said, others refused.

    Raises
    ------
    AnnotationError
        Not an area, or a repair would change it by 1 % or more.
    """
    if geometry.get("type") not in _AREAL:
        raise AnnotationError(f"{where}: a {geometry.get('type')} is not an area; redraw it as a polygon")
    try:
        shape = shapely.force_2d(shapely.geometry.shape(geometry))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise AnnotationError(f"{where}: its coordinates cannot be read ({error}); redraw it") from error
    if shape.is_empty or not all(abs(bound) < 2**31 for bound in shape.bounds):
        raise AnnotationError(f"{where}: it has no area, or coordinates that are no numbers; redraw it")
    if shape.is_valid:
        return shape
    why = shapely.is_valid_reason(shape)
    mended = shapely.make_valid(shape)  # keeps both lobes of a crossing, and what collapsed to lines beside
    areas = [part for part in getattr(mended, "geoms", [mended]) if part.geom_type in _AREAL]
    whole = shapely.union_all(areas)
    drawn = shapely.area(shapely.MultiPolygon() if not areas else whole)
    if not areas or abs(drawn - abs(shape.area)) >= _REPAIR_LIMIT * drawn:
        raise AnnotationError(f"{where}: its outline crosses itself ({why}) and cannot be repaired without changing its area; redraw it")
    messages.append(f"{where}: outline repaired ({why})")
    return whole
