"""The directories of a TIFF file, read with limits that hold for every file.

The libraries that decode TIFF follow what a file says about itself: a chain of directories in a
loop, or a table of a billion entries. Here the directories are read before, a few bytes of each,
and at most a fixed number of them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import tifffile

from tiling.slides.lzw_codes import install_lzw_decoder
from tiling.slides.read_errors import FileReadError

# Every TIFF is opened by modules that import this one.
install_lzw_decoder()

IMAGE_WIDTH, IMAGE_LENGTH, COMPRESSION = 256, 257, 259
STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 273, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325
SUB_DIRECTORIES = 330
_TABLES = (STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS)
# Present in the first directory of an NDPI file, whose offsets have 64 bits.
_NDPI_FORMAT = 65420

# A first directory of NDPI beyond it is none: the bytes after a 32-bit offset are something else.
_MAX_FILE_BYTES = 1 << 42
# A slide has about 12 directories. A stack of thousands of planes is no slide either.
MAX_DIRECTORIES = 4096
_MAX_ENTRIES = 4096
_SIGNATURES = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}
_CODES = {
    1: "B",
    2: "B",
    3: "H",
    4: "I",
    6: "b",
    7: "B",
    8: "h",
    9: "i",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}


class TagValues(NamedTuple):
    """Where the values of a tag are in the file.

    Attributes
    ----------
    code : of one value, as in `struct`
    number : of values that the tag claims
    offset : byte at which the values start
    """

    code: str
    number: int
    offset: int


Directory = dict[int, TagValues]


TIFF_SIGNATURES = tuple(_SIGNATURES)


def is_tiff(path: Path) -> bool:
    """Whether the first bytes are those of a TIFF or BigTIFF."""
    with path.open("rb") as file:
        return file.read(4) in _SIGNATURES


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF with tifffile, after a check of the chain of its directories.

    NDPI is recognised by content: tifffile goes by the ending of the name.

    Raises
    ------
    FileReadError
        The directories form a loop, or are too many.
    Exception
        Errors of tifffile, see `file_read_errors`.
    """
    with path.open("rb") as file:
        reader = DirectoryReader(file)
        for _ in reader.directories():
            pass
    return tifffile.TiffFile(path, is_ndpi=reader.is_ndpi)


class DirectoryReader:
    """Reads the directories of an open TIFF file.

    Attributes
    ----------
    is_ndpi : whether the file has the 64-bit offsets of NDPI
    size : of the file, bytes
    index_end : byte after the last directory, or table of tiles, that was read or looked for; it is
        beyond the size if the file is truncated

    Parameters
    ----------
    file : open for reading; its first bytes are those of a TIFF
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._order, self._is_big = _SIGNATURES[self.bytes_at(0, 4)]
        header_bytes = 16 if self._is_big else 8
        self.index_end = header_bytes
        self.is_ndpi = False
        self._first = self._number("Q", 8) if self._is_big else self._number("I", 4)
        if self._order == "<" and not self._is_big:
            first = self._number("Q", 4)
            self.is_ndpi = _NDPI_FORMAT in self._directory(first)[0]
            is_lost = self.size <= first < _MAX_FILE_BYTES and not self._is_image(self._first)
            self._first = first if self.is_ndpi or is_lost else self._first
        self.index_end = header_bytes  # of the chain only

    def directories(self) -> Iterator[Directory]:
        """All directories of the chain, each followed by its sub-directories.

        A directory beyond the end of the file ends the chain: `tiling.slides.truncation` reports
        it.

        Raises
        ------
        FileReadError
            The directories form a loop, or are too many.
        """
        chain: set[int] = set()
        sub_directories = 0
        offset = self._first
        while offset:
            if offset >= self.size:
                self.index_end = max(self.index_end, offset + 1)
                return
            if offset in chain:
                raise FileReadError("the directories of the TIFF form a loop")
            chain.add(offset)
            _check_number(len(chain) + sub_directories)
            directory, offset = self._directory(offset)
            yield directory
            if SUB_DIRECTORIES in directory:
                for sub_offset in self.values(directory[SUB_DIRECTORIES], MAX_DIRECTORIES + 1):
                    sub_directories += 1
                    _check_number(len(chain) + sub_directories)
                    yield self._directory(sub_offset)[0]

    def values(self, tag: TagValues, limit: int) -> tuple[int, ...]:
        """The values of a tag, or the first `limit` of them; fewer if the file ends before."""
        length = struct.calcsize(tag.code)
        data = self.bytes_at(tag.offset, length * min(tag.number, limit))
        count = len(data) // length
        return struct.unpack(f"{self._order}{count}{tag.code}", data[: count * length])

    def value(self, directory: Directory, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        values = self.values(directory[tag], 1) if tag in directory else ()
        return values[0] if values else default

    def value_at(self, tag: TagValues, index: int) -> int:
        """One value of a table; 0 beyond the end of the file."""
        return self._number(tag.code, tag.offset + index * struct.calcsize(tag.code))

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer at its end, none outside of it."""
        if not 0 <= offset < self.size:
            return b""
        self._file.seek(offset)
        return self._file.read(length)

    def _is_image(self, offset: int) -> bool:
        try:
            return IMAGE_WIDTH in self._directory(offset)[0]
        except FileReadError:
            return False

    def _directory(self, offset: int) -> tuple[Directory, int]:
        """The tags of one directory, and the offset of the next one (0: none)."""
        if self._is_big:
            count, start, entry, layout = self._number("Q", offset), offset + 8, 20, "HHQ"
        else:
            count, start, entry, layout = self._number("H", offset), offset + 2, 12, "HHI"
        if count > _MAX_ENTRIES:
            raise FileReadError(f"the directory at byte {offset} claims {count} entries")
        data = self.bytes_at(start, count * entry)
        head = struct.calcsize("=" + layout)
        inline = entry - head
        directory: Directory = {}
        for position in range(0, len(data) // entry * entry, entry):
            tag, kind, number = struct.unpack_from(self._order + layout, data, position)
            code = _CODES.get(kind)
            if code is None:
                continue
            place = start + position + head
            if number * struct.calcsize(code) > inline:
                place = self._number("Q" if self._is_big else "I", place)
            directory[tag] = TagValues(code, number, place)
            if tag in _TABLES:
                table_end = place + number * struct.calcsize(code)
                self.index_end = max(self.index_end, table_end)
        code_of_offset = "Q" if self._is_big or self.is_ndpi else "I"
        end = start + count * entry
        self.index_end = max(self.index_end, end + struct.calcsize(code_of_offset))
        return directory, self._number(code_of_offset, end)

    def _number(self, code: str, offset: int) -> int:
        data = self.bytes_at(offset, struct.calcsize(code))
        if len(data) < struct.calcsize(code):
            return 0
        return int(struct.unpack(self._order + code, data)[0])


def _check_number(directories: int) -> None:
    if directories > MAX_DIRECTORIES:
        raise FileReadError(
            f"the TIFF has more than {MAX_DIRECTORIES} directories; a slide has about 12"
        )
