"""Which DICOM files of a folder belong to one slide; they are recognised by content.

Files of an image archive have no ending, and a folder may hold several series. OpenSlide opens all
files of the folder and uses those of the series of the file that it is given.
"""

import struct
from pathlib import Path

_PREAMBLE = 128
_SIGNATURE = b"DICM"
# The identifiers are before the pixels; the whole header of a slide is a few kilobytes.
_HEADER_BYTES = 1 << 20
_TRANSFER_SYNTAX = (0x0002, 0x0010)
_SERIES_UID = (0x0020, 0x000E)
_IMPLICIT = b"1.2.840.10008.1.2"
# Types whose lengths have 32 bits.
_LONG_LENGTHS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
_ITEMS = 0xFFFE  # group of the delimiters of sequences and of their items, which have no type
_SEQUENCE_END = (_ITEMS, 0xE0DD)
_ITEM_START = (_ITEMS, 0xE000)
_UNDEFINED = 0xFFFFFFFF

_Tag = tuple[int, int]


def is_dicom(path: Path) -> bool:
    """Whether a regular file has the signature of DICOM, under any name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(_PREAMBLE)
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def series_uid(path: Path) -> str | None:
    """The identifier of the series of a DICOM file; None for other files and without one.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    if not path.is_file():
        return None
    start = _PREAMBLE + len(_SIGNATURE)
    with path.open("rb") as file:
        data = file.read(start)
        if not data.endswith(_SIGNATURE) or len(data) < start:
            return None
        data += file.read(_HEADER_BYTES - start)
    syntax = _value(data, start, _TRANSFER_SYNTAX, explicit=True)
    start = _end_of_group(data, start, _TRANSFER_SYNTAX[0])
    explicit = syntax is None or syntax != _IMPLICIT
    uid = _value(data, start, _SERIES_UID, explicit=explicit)
    return None if uid is None else uid.decode("ascii", "replace")


def series_files(path: Path) -> list[Path]:
    """All files of the series of a DICOM file, in its folder, sorted by name."""
    uid = series_uid(path)
    others = [file for file in path.parent.iterdir() if file != path]
    same = [file for file in others if uid is not None and series_uid(file) == uid]
    return sorted([path, *same])


def _value(data: bytes, position: int, wanted: _Tag, *, explicit: bool) -> bytes | None:
    """The value of an element outside of sequences; elements are sorted by their tags."""
    while position + 8 <= len(data):
        tag, length, value = _element(data, position, explicit=explicit)
        if tag > wanted:
            return None
        if tag == wanted:
            return data[value : value + length].rstrip(b"\0 ")
        if length == _UNDEFINED:
            position = _end_of_sequence(data, value, explicit=explicit)
        else:
            position = value + length
    return None


def _end_of_group(data: bytes, position: int, group: int) -> int:
    """The position after the elements of the first group, which always have types."""
    while position + 8 <= len(data):
        tag, length, value = _element(data, position, explicit=True)
        if tag[0] != group:
            break
        position = value + length
    return position


def _end_of_sequence(data: bytes, position: int, *, explicit: bool) -> int:
    """The position after a sequence of undefined length, with the sequences inside it."""
    open_sequences = 1
    while position + 8 <= len(data) and open_sequences:
        tag, length, position = _element(data, position, explicit=explicit)
        if tag == _SEQUENCE_END:
            open_sequences -= 1
        elif length != _UNDEFINED:
            position += length
        elif tag != _ITEM_START:
            open_sequences += 1
    return position


def _element(data: bytes, position: int, *, explicit: bool) -> tuple[_Tag, int, int]:
    """Tag, length and position of the value of an element."""
    group, number = struct.unpack_from("<HH", data, position)
    if not explicit or group == _ITEMS:
        (length,) = struct.unpack_from("<I", data, position + 4)
        return (group, number), length, position + 8
    if data[position + 4 : position + 6] not in _LONG_LENGTHS:
        (length,) = struct.unpack_from("<H", data, position + 6)
        return (group, number), length, position + 8
    if position + 12 > len(data):
        return (group, number), 0, len(data)
    (length,) = struct.unpack_from("<I", data, position + 8)
    return (group, number), length, position + 12
