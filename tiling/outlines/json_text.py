"""JSON text that is read and decoded part by part."""

import codecs
import json
from collections.abc import Callable
from typing import Any

from tiling.slide_errors import AnnotationError

# A parsed value takes up to 35 bytes for each letter of its text (a dictionary of one entry has
# seven letters and takes 240 bytes), and up to twice as many letters are in memory.
MAX_ELEMENT_LETTERS = 1 << 23
TOO_LARGE_REMEDY = "export only the annotations, not detections"
_NEAR_END_LETTERS = 16  # an error so near to the end of what was read may be one of missing text
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder()


class JsonText:
    """The part of a text from the current place on, as far as it was read.

    Parameters
    ----------
    read : gives the next bytes, none at the end
    where : the file, for messages

    Attributes
    ----------
    place : index of the next letter in the part that is in memory
    """

    def __init__(self, read: Callable[[], bytes], where: str) -> None:
        self._read, self._where = read, where
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self.place = "", 0
        self._has_ended = False
        self._dropped_letters = self._dropped_lines = self._dropped_column = self._bytes = 0

    @property
    def letters_before(self) -> int:
        """Number of letters before the place."""
        return self._dropped_letters + self.place

    def next_letter(self) -> str:
        """The next letter that is no space, which becomes the place; "" at the end."""
        while True:
            while self.place < len(self._text) and self._text[self.place] in _SPACE:
                self.place += 1
            if self.place < len(self._text):
                return self._text[self.place]
            if self._has_ended:
                return ""
            self._extend()

    def first_letters(self, most: int) -> str:
        """The next letters that were read, without moving the place."""
        return self._text[self.place : self.place + most]

    def take(self, letter: str, expected: str = "") -> None:
        """Go behind a letter that must come next."""
        if self.next_letter() != letter:
            raise self.error_at(f"Expecting {expected or repr(letter)}", self.place)
        self.place += 1

    def key(self) -> str:
        """The name of an entry."""
        if self.next_letter() != '"':
            raise self.error_at("Expecting property name enclosed in double quotes", self.place)
        return str(self.value())

    def value(self) -> Any:  # noqa: ANN401  # JSON
        """The next value as a whole."""
        self.next_letter()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self.place)
            except json.JSONDecodeError as error:
                is_near_end = error.pos + _NEAR_END_LETTERS > len(self._text)
                is_unfinished = is_near_end or error.msg.startswith("Unterminated")
                if self._has_ended or not is_unfinished:
                    raise self.error_at(error.msg, error.pos) from error
            except (RecursionError, ValueError) as error:
                raise AnnotationError(
                    f"{self._where}: not GeoJSON ({type(error).__name__}: nested too deeply, "
                    "or a number with too many digits); export it again"
                ) from error
            else:
                # The digits of a number may go on behind what was read.
                if end < len(self._text) or self._has_ended:
                    self.place = end
                    return value
            self._extend()

    def _extend(self) -> None:
        """Read on: as much again as there is from the place on, so that the time stays linear."""
        rest = self._text[self.place :]
        if len(rest) > MAX_ELEMENT_LETTERS:
            raise self.too_large()
        lines = self._text.count("\n", 0, self.place)
        self._dropped_lines += lines
        after_newline = self._text.rfind("\n", 0, self.place) + 1
        self._dropped_column = self.place - after_newline + (0 if lines else self._dropped_column)
        self._dropped_letters += self.place
        parts, length = [rest], 0
        while not self._has_ended and length <= len(rest):
            parts.append(self._decoded(self._read()))
            length += len(parts[-1])
        self._text, self.place = "".join(parts), 0

    def _decoded(self, chunk: bytes) -> str:
        self._has_ended = not chunk
        pending_bytes = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            place = self._bytes - pending_bytes + error.start
            raise AnnotationError(
                f"{self._where}: byte {place} is not UTF-8; export it as GeoJSON from QuPath"
            ) from error
        self._bytes += len(chunk)
        return text

    def too_large(self) -> AnnotationError:
        """The error of an element that is too large."""
        return AnnotationError(
            f"{self._where}: an object of more than {MAX_ELEMENT_LETTERS >> 20} MiB of text; "
            f"{TOO_LARGE_REMEDY}"
        )

    def error_at(self, problem: str, index: int) -> AnnotationError:
        """The error of a text that is no JSON, with its line and column."""
        line = self._dropped_lines + self._text.count("\n", 0, index) + 1
        column = index - self._text.rfind("\n", 0, index)
        if line == self._dropped_lines + 1:
            column += self._dropped_column
        place = f"line {line}, column {column}"
        has_no_rest = self._has_ended and not self._text[index:].strip()
        if has_no_rest or problem.startswith("Unterminated"):
            what = f"ends too early, at {place}"
        else:
            what = f"{problem} at {place}"
        return AnnotationError(
            f"{self._where}: {what}; the whole file is refused: export or copy it again"
        )
