"""GeoJSON files -> features, from all the forms of file that QuPath writes.

The one reader of GeoJSON: annotations, tissue and regions of interest come from here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tiling.outlines.json_elements import JsonFile
from tiling.outlines.printable_names import printable, quoted
from tiling.slide_errors import AnnotationError

_GEOMETRIES = {
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
}
_GEOMETRY_KEYS = {"geometry", "nucleusGeometry", "coordinates", "geometries"}
_CHILD_KEYS = ("childObjects", "children")
# Before version 0.3, QuPath wrote the type of an object as its id.
_OLD_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
    "PathRootObject": "root",
}
_OBJECT_TYPES = {
    "detection": "detection",
    "cell": "cell",
    "tile": "tile",
    "tma_core": "TMA core",
    "root": "root object",
}
_MAX_PARENT_CLASSES = 8
_MAX_DEPTH = 64  # of objects in objects
_MAX_CLASS_CHARACTERS = 200


class AnnotationFeature(NamedTuple):
    """One feature of an annotation file.

    Attributes
    ----------
    id : place in the file and id, for messages: "#1 'f1'"; without an id "#1" (counted from 1)
    object_type : annotation, detection, cell, tile, TMA core, root object; an unknown type is an
        annotation, as in QuPath
    class_name : as QuPath shows it, "Gland: tumour"; "" without a class
    name : given by a person; "" without a name
    geometry : GeoJSON geometry, not checked
    """

    id: str
    object_type: str
    class_name: str
    name: str
    geometry: Any

    @property
    def is_annotation(self) -> bool:
        """Whether a person drew it, as far as the file says."""
        return self.object_type == "annotation"


class GeoJsonFile:
    """A GeoJSON file: its features, one at a time.

    Parameters
    ----------
    path : plain text, gzip or zip
    column : of the sheet in which the path stands, for messages
    """

    def __init__(self, path: Path, *, column: str = "annotation") -> None:
        self.path = path
        self._json = JsonFile(path, column=column)

    def features(self) -> Iterator[AnnotationFeature]:
        """Features of a FeatureCollection, a Feature, an array of them, or a bare geometry.

        A feature comes before the features that it contains (QuPath's hierarchy: `childObjects`
        and other lists of features in a feature).

        Raises
        ------
        AnnotationError
            The file cannot be read (see `JsonFile.elements`), or contains something else.
        """
        number = 0
        for element in self._json.elements():
            pending = [(element, 0)]
            while pending:
                item, depth = pending.pop()
                if depth > _MAX_DEPTH:
                    raise AnnotationError(
                        f"{self.path}: feature #{number + 1}: nested too deeply; export it again"
                    )
                if (parts := _parts_of_list(item)) is not None:
                    pending += [(part, depth + 1) for part in reversed(parts)]
                    continue
                number += 1
                yield self._feature(item, number)
                pending += [(child, depth + 1) for child in reversed(_children(item))]

    @property
    def viewer_px(self) -> tuple[int, int] | None:
        """(width, height) of the viewer that the file was written for; None if unknown.

        It is known after the last feature was read.
        """
        viewer = self._json.header.get("viewer")
        if not isinstance(viewer, dict):
            return None
        width, height = viewer.get("width"), viewer.get("height")
        return (width, height) if isinstance(width, int) and isinstance(height, int) else None

    def _feature(self, item: Any, number: int) -> AnnotationFeature:  # noqa: ANN401  # JSON
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "Feature":
            return _feature(item, number)
        if isinstance(kind, str) and kind in _GEOMETRIES:
            return AnnotationFeature(f"#{number}", "annotation", "", "", item)
        what = f"of type {quoted(kind)}" if isinstance(item, dict) else type(item).__name__
        raise AnnotationError(
            f"{self.path}: feature #{number} is no GeoJSON feature ({what}); "
            "export annotations as GeoJSON from QuPath"
        )


def _parts_of_list(item: Any) -> list[Any] | None:  # noqa: ANN401  # JSON
    """Members of a list or of a FeatureCollection; None for anything else."""
    if isinstance(item, list):
        return item
    if isinstance(item, dict) and item.get("type") == "FeatureCollection":
        features = item.get("features")
        return features if isinstance(features, list) else None
    return None


def _children(item: dict[str, Any]) -> list[Any]:
    """Features in a feature, under whatever name, in the feature itself or in its properties."""
    if item.get("type") != "Feature":
        return []
    properties = item.get("properties")
    children: list[Any] = []
    for owner in (item, properties if isinstance(properties, dict) else {}):
        for key, value in owner.items():
            if key not in _GEOMETRY_KEYS and value is not properties:
                is_hierarchy = key in _CHILD_KEYS and isinstance(value, list)
                children += value if is_hierarchy else _features_in(value)
    return children


def _features_in(value: Any) -> list[Any]:  # noqa: ANN401  # JSON
    members = _parts_of_list(value)
    if members is None:
        members = [value]
    types = ("Feature", "FeatureCollection")
    return [
        member for member in members if isinstance(member, dict) and member.get("type") in types
    ]


def _feature(item: dict[str, Any], number: int) -> AnnotationFeature:
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    raw_id = item.get("id", properties.get("id"))
    old_type = _OLD_IDS.get(raw_id) if isinstance(raw_id, str) else None
    # Hostile or very long ids are used in messages only, as quoted text.
    is_id = isinstance(raw_id, str | int | float) and old_type is None
    candidates = (properties.get("objectType"), properties.get("object_type"), old_type)
    object_type = next((text for text in candidates if isinstance(text, str)), "annotation")
    object_type = _OLD_IDS.get(object_type, object_type.lower())
    name = properties.get("name")
    return AnnotationFeature(
        f"#{number} {quoted(raw_id)}" if is_id else f"#{number}",
        _OBJECT_TYPES.get(object_type, "annotation"),
        _class_name(properties),
        printable(name) if isinstance(name, str) else "",
        item.get("geometry"),
    )


def _class_name(properties: dict[str, Any]) -> str:
    """Name of the class as QuPath shows it, "" without one.

    >>> _class_name({"classification": "Gland"})
    'Gland'
    >>> _class_name({"classification": {"names": ["Gland", "tumour"]}})
    'Gland: tumour'
    >>> _class_name({"classification": {"name": "a", "parentClass": {"name": "b"}}})
    'b: a'
    """
    value = properties.get("classification", properties.get("pathClass"))
    names: list[str] = []  # from the class itself to its base class
    while value is not None and len(names) < _MAX_PARENT_CLASSES:
        if isinstance(value, str):
            names.append(value)
        elif isinstance(value, list):
            parts = value[:_MAX_PARENT_CLASSES]
            names += [str(name) for name in reversed(parts) if isinstance(name, str | int | float)]
        elif isinstance(value, dict):
            all_names = value.get("names")
            if isinstance(all_names, list) and all_names:
                value = all_names
                continue
            name = value.get("name")
            names += [name] if isinstance(name, str) else []
            value = value.get("parentClass")
            continue
        break
    name = ": ".join(name for name in map(str.strip, reversed(names)) if name)
    return name[:_MAX_CLASS_CHARACTERS]
