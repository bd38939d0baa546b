"""Annotation files -> JSON features, whatever they are wrapped in. Untrusted input: sizes are limited, nothing is unpacked to disk."""

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

MOST_BYTES = 1 << 29
# Each value costs up to 64 bytes once parsed: half a GB of "[],[]," would take the machine's memory. Twenty million points still fit.
MOST_VALUES = 1 << 26
_ENDINGS = (".geojson", ".json")
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
# QuPath before 0.3 named the kind of object in its id.
_OLD_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
}
_KINDS = {"detection", "cell", "tile", "tma_core", "root"}


class Feature(NamedTuple):
    """One feature as it stands in the file.

    Attributes
    ----------
    id : of the feature, or "#n" (n-th of the file, from 1)
    kind : annotation, detection, cell, tile, ...; what is unknown is an annotation, as QuPath takes it
    geometry : GeoJSON geometry, not checked
    properties : not checked
    """

    id: str
    kind: str
    geometry: Any
    properties: dict[str, Any]


def load_json(path: Path) -> Any:  # noqa: ANN401  # JSON
    """Content of a GeoJSON file, plain, gzip or zip (of one or more such files, then a list), whatever its name ends in.

    Raises
    ------
    AnnotationError
        Missing, empty, too large, cut (with the place), or not JSON.
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
            f"{path}: cut or damaged archive ({error}); export it again"
        ) from error
    contents = [_parsed(text, path, name) for name, text in texts]
    if not contents:
        raise AnnotationError(
            f"{path}: no {' or '.join(_ENDINGS)} file in it; export the annotations as GeoJSON"
        )
    return contents[0] if len(contents) == 1 else contents


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        # What a file is, not what it is called: QuPath reads a wrong ending as nothing at all.
        if start.startswith(_ZIP) or path.suffix.lower() == ".zip":
            yield from _members(raw, path)
        elif start.startswith(_GZIP) or path.suffix.lower() == ".gz":
            with gzip.open(raw) as stream:
                yield "", _limited(stream, path, MOST_BYTES)
        else:
            yield "", _limited(raw, path, MOST_BYTES)


def _members(raw: IO[bytes], path: Path) -> Iterator[tuple[str, bytes]]:
    """Texts of the GeoJSON files in an archive; all together are as large as one may be."""
    left = MOST_BYTES
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            if not member.filename.lower().endswith(_ENDINGS) or member.filename.startswith(
                "__MACOSX"
            ):
                continue
            try:
                with archive.open(member) as stream:
                    text = _limited(stream, path, left)
            except OSError as error:
                # bzip2 says so of damaged data; an error of the disk has a number.
                if error.errno is not None:
                    raise
                raise zipfile.BadZipFile(str(error)) from error
            left -= len(text)
            yield f" ({shown(member.filename)})", text


def _limited(stream: IO[bytes] | gzip.GzipFile | io.BufferedReader, path: Path, most: int) -> bytes:
    # What a header says of the size may be a lie: count what comes out.
    text = stream.read(most + 1)
    if len(text) > most:
        raise AnnotationError(
            f"{path}: more than {MOST_BYTES >> 20} MiB of text; export only the annotations, not detections"
        )
    return text


def _parsed(text: bytes, path: Path, member: str) -> Any:  # noqa: ANN401  # JSON
    where = f"{path}{member}"
    if not text.strip():
        raise AnnotationError(f"{where}: empty; export the annotations again")
    if text.lstrip().startswith(b"<"):
        # Never parsed: XML may name entities that fill the memory, or files of this machine.
        raise AnnotationError(
            f"{where}: XML, not GeoJSON; open it in QuPath and export the annotations as GeoJSON"
        )
    if sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise AnnotationError(
            f"{where}: more than {MOST_VALUES >> 20} million values; export only the annotations, not detections"
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
        what = (
            f"ends too early, at {place}"
            if error.pos >= end or error.msg.startswith("Unterminated")
            else f"{error.msg} at {place}"
        )
        raise AnnotationError(
            f"{where}: {what}; nothing of it is read: export or copy it again"
        ) from error
    except (RecursionError, ValueError) as error:
        raise AnnotationError(
            f"{where}: not GeoJSON ({type(error).__name__}: nested too deep, or an absurd number); export it again"
        ) from error


def features_of(content: Any, path: Path) -> Iterator[Feature]:  # noqa: ANN401  # JSON
    """Features of a FeatureCollection, a Feature, an array of them, or a bare geometry.

    Raises
    ------
    AnnotationError
        Something else.
    """
    number = 0
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += reversed(item)
            continue
        number += 1
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "FeatureCollection" and isinstance(item.get("features"), list):
            waiting += reversed(item["features"])
            number -= 1
        elif kind == "Feature":
            yield _feature(item, number)
        elif kind in _GEOMETRIES:
            yield Feature(f"#{number}", "annotation", item, {})
        else:
            shown = f"of type {str(kind)[:40]!r}" if isinstance(item, dict) else type(item).__name__
            raise AnnotationError(
                f"{path}: feature #{number} is no GeoJSON feature ({shown}); export annotations as GeoJSON from QuPath"
            )


def _feature(item: dict[str, Any], number: int) -> Feature:
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    given = item.get("id", properties.get("id"))
    old = _OLD_IDS.get(given) if isinstance(given, str) else None
    # Hostile or overlong ids go into messages only, and shown as text.
    name = repr(given)[:80] if isinstance(given, str | int | float) and old is None else ""
    said = (properties.get("objectType"), properties.get("object_type"), old)
    kind = next((word for word in said if isinstance(word, str)), "annotation")
    kind = _OLD_IDS.get(kind, kind.lower())
    return Feature(
        f"#{number} {name}".strip(),
        kind if kind in _KINDS else "annotation",
        item.get("geometry"),
        properties,
    )


def shown(text: str) -> str:
    r"""A name from outside as it may stand in one line of a message, a table or a picture.

    >>> shown("a\n\ud800b")
    'a ?b'
    """
    one_line = " ".join(
        "".join(
            letter if letter.isprintable() or "\ud800" <= letter <= "\udfff" else " "
            for letter in text[:200]
        ).split()
    )
    return one_line.encode("utf-8", "replace").decode()[:100]
