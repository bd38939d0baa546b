"""Annotation files -> GeoJSON features, from all the forms of file that QuPath writes.

The input is not trusted: sizes are limited, and nothing is unpacked to disk.
"""

import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from tiling.slide_errors import AnnotationError

MAX_BYTES = 1 << 29
# A parsed value takes up to 64 bytes: half a GB of "[],[]," would fill the memory. With this limit
# a file may still hold twenty million points.
MAX_VALUES = 1 << 26
_SUFFIXES = (".geojson", ".json")
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_GEOMETRIES = {
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
}
# Before version 0.3, QuPath wrote the type of an object as its id.
_OLD_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
}
_OBJECT_TYPES = {"detection", "cell", "tile", "tma_core", "root"}
_MAX_PARENT_CLASSES = 8
_SURROGATES = ("\ud800", "\udfff")


class AnnotationFeature(NamedTuple):
    """One feature of an annotation file.

    Attributes
    ----------
    id : place in the file and id, for messages: "#1 'f1'"; without an id "#1" (counted from 1)
    object_type : annotation, detection, cell, tile, ...; an unknown type is an annotation, as in
        QuPath
    class_name : as QuPath shows it, "Gland: tumour"; "" without a class
    name : given by a person; "" without a name
    geometry : GeoJSON geometry, not checked
    """

    id: str
    object_type: str
    class_name: str
    name: str
    geometry: Any


def load_json(path: Path) -> Any:  # noqa: ANN401  # JSON
    """Content of a GeoJSON file: plain text, gzip or zip, whatever the suffix of its name is.

    A zip of several files gives a list of their contents.

    Raises
    ------
    AnnotationError
        The file is missing, empty, too large, truncated (with the place), or not JSON.
    """
    try:
        texts = list(_texts(path))
    except FileNotFoundError:
        raise AnnotationError(
            f"{path}: no such file; correct column 'annotation' of the sheet"
        ) from None
    except IsADirectoryError:
        raise AnnotationError(f"{path}: a folder; give the GeoJSON file in it") from None
    except (
        EOFError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise AnnotationError(
            f"{path}: truncated or damaged archive ({error}); export it again"
        ) from error
    contents = [_parsed(text, path, name) for name, text in texts]
    if not contents:
        raise AnnotationError(
            f"{path}: no {' or '.join(_SUFFIXES)} file in it; export the annotations as GeoJSON"
        )
    return contents[0] if len(contents) == 1 else contents


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        # The content decides, not the suffix: files are often renamed.
        if start.startswith(_ZIP) or path.suffix.lower() == ".zip":
            yield from _members(raw, path)
        elif start.startswith(_GZIP) or path.suffix.lower() == ".gz":
            with gzip.open(raw) as stream:
                yield "", _read_limited(stream, path, MAX_BYTES)
        else:
            yield "", _read_limited(raw, path, MAX_BYTES)


def _members(raw: IO[bytes], path: Path) -> Iterator[tuple[str, bytes]]:
    """Texts of the GeoJSON files in an archive; the size limit applies to their sum."""
    remaining_bytes = MAX_BYTES
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            name = member.filename
            if not name.lower().endswith(_SUFFIXES) or name.startswith("__MACOSX"):
                continue
            try:
                with archive.open(member) as stream:
                    text = _read_limited(stream, path, remaining_bytes)
            except OSError as error:
                # bzip2 raises an OSError without a number for damaged data; disk errors have one.
                if error.errno is not None:
                    raise
                raise zipfile.BadZipFile(str(error)) from error
            remaining_bytes -= len(text)
            yield f" ({printable(name)})", text


def _read_limited(
    stream: IO[bytes] | gzip.GzipFile | io.BufferedReader, path: Path, max_bytes: int
) -> bytes:
    # The size in a header may be wrong: count the bytes that are unpacked.
    text = stream.read(max_bytes + 1)
    if len(text) > max_bytes:
        raise AnnotationError(
            f"{path}: more than {MAX_BYTES >> 20} MiB of text; "
            "export only the annotations, not detections"
        )
    return text


def _parsed(text: bytes, path: Path, member: str) -> Any:  # noqa: ANN401  # JSON
    where = f"{path}{member}"
    if not text.strip():
        raise AnnotationError(f"{where}: empty; export the annotations again")
    if text.lstrip().startswith(b"<"):
        # XML is never parsed: its entities may fill the memory, or read files of this machine.
        raise AnnotationError(
            f"{where}: XML, not GeoJSON; open it in QuPath and export the annotations as GeoJSON"
        )
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise AnnotationError(
            f"{where}: more than {MAX_VALUES >> 20} million values; "
            "export only the annotations, not detections"
        )
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{where}: byte {error.start} is not UTF-8; export it as GeoJSON from QuPath"
        ) from error
    except json.JSONDecodeError as error:
        end = len(text.decode("utf-8-sig").rstrip())
        place = f"line {error.lineno}, column {error.colno}"
        truncated = error.pos >= end or error.msg.startswith("Unterminated")
        problem = f"ends too early, at {place}" if truncated else f"{error.msg} at {place}"
        raise AnnotationError(
            f"{where}: {problem}; the whole file is refused: export or copy it again"
        ) from error
    except (RecursionError, ValueError) as error:
        raise AnnotationError(
            f"{where}: not GeoJSON ({type(error).__name__}: nested too deeply, "
            "or a number with too many digits); export it again"
        ) from error


def features_of(content: Any, path: Path) -> Iterator[AnnotationFeature]:  # noqa: ANN401  # JSON
    """Features of a FeatureCollection, a Feature, an array of them, or a bare geometry.

    Raises
    ------
    AnnotationError
        The content is something else.
    """
    number = 0
    pending = [content]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += reversed(item)
            continue
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "FeatureCollection" and isinstance(item.get("features"), list):
            pending += reversed(item["features"])
            continue
        number += 1
        if kind == "Feature":
            yield _feature(item, number)
        elif kind in _GEOMETRIES:
            yield AnnotationFeature(f"#{number}", "annotation", "", "", item)
        else:
            kind_text = repr(str(kind)[:40])
            what = f"of type {kind_text}" if isinstance(item, dict) else type(item).__name__
            raise AnnotationError(
                f"{path}: feature #{number} is no GeoJSON feature ({what}); "
                "export annotations as GeoJSON from QuPath"
            )


def _feature(item: dict[str, Any], number: int) -> AnnotationFeature:
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    raw_id = item.get("id", properties.get("id"))
    old_type = _OLD_IDS.get(raw_id) if isinstance(raw_id, str) else None
    # Hostile or very long ids are used in messages only, as quoted text.
    is_id = isinstance(raw_id, str | int | float) and old_type is None
    quoted_id = repr(raw_id)[:80] if is_id else ""
    candidates = (properties.get("objectType"), properties.get("object_type"), old_type)
    object_type = next((text for text in candidates if isinstance(text, str)), "annotation")
    object_type = _OLD_IDS.get(object_type, object_type.lower())
    name = properties.get("name")
    return AnnotationFeature(
        f"#{number} {quoted_id}".strip(),
        object_type if object_type in _OBJECT_TYPES else "annotation",
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
            names += [str(name) for name in reversed(value) if isinstance(name, str | int | float)]
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
    return ": ".join(name for name in map(str.strip, reversed(names)) if name)


def printable(text: str) -> str:
    r"""A name from outside, on one line and short, for a message, a table or a picture.

    >>> printable("a\n\ud800b")
    'a ?b'
    """
    first, last = _SURROGATES
    letters = (
        letter if letter.isprintable() or first <= letter <= last else " " for letter in text[:200]
    )
    one_line = " ".join("".join(letters).split())
    return one_line.encode("utf-8", "replace").decode()[:100]
