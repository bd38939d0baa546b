"""Annotation files -> their JSON elements, one at a time: the file is never in memory as a whole.

The input is not trusted: sizes are limited, and nothing is unpacked to disk.
"""

import errno
import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from tiling.outlines import json_text
from tiling.outlines.json_text import TOO_LARGE_REMEDY, JsonText
from tiling.outlines.printable_names import printable
from tiling.outlines.regular_file import open_regular_file
from tiling.slide_errors import AnnotationError

MAX_BYTES = 1 << 29
MAX_ELEMENTS = 250_000
_CHUNK_BYTES = 1 << 20
_MAX_SHOWN = 40  # letters
_MAX_DIRECTORY_BYTES = 1 << 22  # of a zip: about 40 000 files
_SUFFIXES = (".geojson", ".json")
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_ZIP_END, _ZIP64_END = b"PK\x05\x06", b"PK\x06\x07"
_ZIP_END_BYTES, _MAX_ZIP_COMMENT_BYTES = 22, 1 << 16


class JsonFile:
    """Elements of one annotation file: plain text, gzip or zip, whatever the suffix of its name is.

    An element is a member of the list at the top, a member of the list `features` of the object at
    the top, or else the object at the top.

    Parameters
    ----------
    path : the content decides what it is, not the suffix: files are often renamed
    column : of the sheet in which the path stands, for messages

    Attributes
    ----------
    header : entries of the object at the top beside `features`; complete after the last element
    """

    def __init__(self, path: Path, *, column: str = "annotation") -> None:
        self.path, self.header = path, dict[str, Any]()
        self._column = column
        self._remaining_bytes, self._remaining_elements = MAX_BYTES, MAX_ELEMENTS

    def elements(self) -> Iterator[Any]:
        """The elements in the order of the file; all files of a zip one after the other.

        Raises
        ------
        AnnotationError
            The file is missing, empty, too large, truncated (with the place), or not JSON.
        """
        with open_regular_file(self.path, column=self._column) as raw:
            start = raw.read(4)
            raw.seek(0)
            if start.startswith(_ZIP) or self.path.suffix.lower() == ".zip":
                yield from self._members(raw)
            elif start.startswith(_GZIP) or self.path.suffix.lower() == ".gz":
                with gzip.open(raw) as stream:
                    yield from self._parsed(stream, "")
            else:
                yield from self._parsed(raw, "")

    def _members(self, raw: BinaryIO) -> Iterator[Any]:
        """Elements of the GeoJSON files in an archive; the limits apply to their sum."""
        with self._archive_errors():
            self._check_directory(raw)
            archive = zipfile.ZipFile(raw)
            members = [
                member
                for member in archive.infolist()
                if member.filename.lower().endswith(_SUFFIXES)
                and not member.filename.startswith("__MACOSX")
            ]
        if not members:
            raise AnnotationError(
                f"{self.path}: no {' or '.join(_SUFFIXES)} file in it; "
                "export the annotations as GeoJSON"
            )
        for member in members:
            with self._archive_errors():
                stream = archive.open(member)
            yield from self._parsed(stream, f" ({printable(member.filename)})")

    def _check_directory(self, raw: BinaryIO) -> None:
        """Refuse an archive whose list of files would fill the memory."""
        size = raw.seek(0, 2)
        raw.seek(max(size - _ZIP_END_BYTES - _MAX_ZIP_COMMENT_BYTES, 0))
        tail = raw.read()
        raw.seek(0)
        place = tail.rfind(_ZIP_END)
        if place < 0 or len(tail) < place + _ZIP_END_BYTES:
            raise zipfile.BadZipFile("no list of files at its end")
        (directory_bytes,) = struct.unpack_from("<I", tail, place + 12)
        if directory_bytes > _MAX_DIRECTORY_BYTES or _ZIP64_END in tail:
            raise AnnotationError(
                f"{self.path}: too many files in it; put only the GeoJSON into it"
            )

    def _parsed(self, stream: IO[bytes] | gzip.GzipFile, member: str) -> Iterator[Any]:
        source = f"{self.path}{member}"
        text = JsonText(lambda: self._read(stream), source)
        first = text.next_character()
        if not first:
            raise AnnotationError(f"{source}: empty; export the annotations again")
        if first not in "{[<":
            begin = repr(text.first_characters(_MAX_SHOWN))
            raise AnnotationError(
                f"{source}: not GeoJSON (it begins with {begin}); export the annotations as "
                "GeoJSON from QuPath"
            )
        if first == "<":
            # XML is never parsed: its entities may fill the memory, or read files of this machine.
            raise AnnotationError(
                f"{source}: XML, not GeoJSON; open it in QuPath and export the annotations as "
                "GeoJSON"
            )
        if first == "[":
            yield from self._array(text)
        else:
            yield from self._object(text)
        if text.next_character():
            raise text.error_at("Extra data", text.position)

    def _array(self, text: JsonText) -> Iterator[Any]:
        text.take("[")
        if text.next_character() != "]":
            yield self._element(text)
            while text.next_character() == ",":
                text.take(",")
                yield self._element(text)
        text.take("]", "',' delimiter")

    def _element(self, text: JsonText) -> Any:  # noqa: ANN401  # JSON
        self._remaining_elements -= 1
        if self._remaining_elements < 0:
            raise AnnotationError(
                f"{self.path}: more than {MAX_ELEMENTS} objects; {TOO_LARGE_REMEDY}"
            )
        return text.value()

    def _object(self, text: JsonText) -> Iterator[Any]:
        text.take("{")
        entries: dict[str, Any] = {}
        has_features, header_characters = False, 0
        separator = "" if text.next_character() == "}" else ","
        while separator == ",":
            key = text.key()
            text.take(":", "':' delimiter")
            if key == "features" and text.next_character() == "[":
                has_features = True
                yield from self._array(text)
            else:
                start = text.characters_before
                entries[key] = text.value()
                header_characters += text.characters_before - start + len(key)
                if header_characters > json_text.MAX_ELEMENT_CHARACTERS:
                    raise text.too_large()
            separator = text.next_character()
            if separator == ",":
                text.take(",")
        text.take("}", "',' delimiter")
        if not has_features:
            yield entries
            return
        self.header = entries
        if entries.get("type") != "FeatureCollection":
            raise AnnotationError(
                f"{self.path}: a list of features that is no FeatureCollection; "
                "export annotations as GeoJSON from QuPath"
            )

    def _read(self, stream: IO[bytes] | gzip.GzipFile) -> bytes:
        # The size in a header may be wrong: count the bytes that are unpacked.
        with self._archive_errors():
            chunk = stream.read(_CHUNK_BYTES)
        self._remaining_bytes -= len(chunk)
        if self._remaining_bytes < 0:
            raise AnnotationError(
                f"{self.path}: more than {MAX_BYTES >> 20} MiB of text; {TOO_LARGE_REMEDY}"
            )
        return chunk

    @contextmanager
    def _archive_errors(self) -> Iterator[None]:
        """AnnotationError in place of what gzip and zipfile raise for damaged data."""
        try:
            yield
        except AnnotationError:
            raise
        except (
            EOFError,
            OSError,
            ValueError,
            RuntimeError,
            OverflowError,
            KeyError,
            IndexError,
            MemoryError,  # of a dictionary of LZMA
            struct.error,
            zlib.error,
            lzma.LZMAError,
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
        ) as error:
            # Errors of the disk have a number; those of damaged data have none, or that of a
            # place before the start of the file.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            raise AnnotationError(
                f"{self.path}: truncated or damaged archive ({error}); export it again"
            ) from error
