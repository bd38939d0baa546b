"""JSON text that is read and decoded in parts."""

import codecs
import json
from collections.abc import Callable
from typing import Any

from tiling.slide_errors import AnnotationError

# A parsed value takes up to 35 bytes for each character of its text (a dictionary of one entry has
# seven characters and takes 240 bytes), and up to twice as many characters are in memory.
MAX_ELEMENT_CHARACTERS = 1 << 23
TOO_LARGE_REMEDY = "export only the annotations, not detections"
_NEAR_END_CHARACTERS = 16  # an error so near to the end of what was read may be one of missing text
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder()


class JsonText:
    """The part of a text from the current position on, as far as it was read.

    Parameters
    ----------
    read : gives the next bytes, none at the end
    source : the file, and its member of an archive, for messages

    Attributes
    ----------
    position : index of the next character in the part that is in memory
    """

    def __init__(self, read: Callable[[], bytes], source: str) -> None:
        self._read, self._source = read, source
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self.position = "", 0
        self._has_ended = False
        self._dropped_characters = self._dropped_lines = self._dropped_column = self._bytes = 0

    @property
    def characters_before(self) -> int:
        """Number of characters before the position."""
        return self._dropped_characters + self.position

    def next_character(self) -> str:
        """The next character that is no space, which becomes the position; "" at the end."""
        while True:
            while self.position < len(self._text) and self._text[self.position] in _SPACE:
                self.position += 1
            if self.position < len(self._text):
                return self._text[self.position]
            if self._has_ended:
                return ""
            self._extend()

    def first_characters(self, most: int) -> str:
        """The next characters that were read, without moving the position."""
        return self._text[self.position : self.position + most]

    def take(self, character: str, expected: str = "") -> None:
        """Move the position behind a character that must come next."""
        if self.next_character() != character:
            raise self.error_at(f"Expecting {expected or repr(character)}", self.position)
        self.position += 1

    def key(self) -> str:
        """The name of an entry."""
        if self.next_character() != '"':
            raise self.error_at("Expecting property name enclosed in double quotes", self.position)
        return str(self.value())

    def value(self) -> Any:  # noqa: ANN401  # JSON
        """The next value as a whole."""
        self.next_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                is_near_end = error.pos + _NEAR_END_CHARACTERS > len(self._text)
                is_unfinished = is_near_end or error.msg.startswith("Unterminated")
                if self._has_ended or not is_unfinished:
                    raise self.error_at(error.msg, error.pos) from error
            except (RecursionError, ValueError) as error:
                raise AnnotationError(
                    f"{self._source}: not GeoJSON ({type(error).__name__}: nested too deeply, "
                    "or a number with too many digits); export it again"
                ) from error
            else:
                # The digits of a number may go on behind what was read.
                if end < len(self._text) or self._has_ended:
                    self.position = end
                    return value
            self._extend()

    def _extend(self) -> None:
        """Read as many characters again as there are from the position on.

        So the time is proportional to the length of the text.
        """
        rest = self._text[self.position :]
        if len(rest) > MAX_ELEMENT_CHARACTERS:
            raise self.too_large()
        lines = self._text.count("\n", 0, self.position)
        self._dropped_lines += lines
        after_newline = self._text.rfind("\n", 0, self.position) + 1
        column_before = 0 if lines else self._dropped_column
        self._dropped_column = self.position - after_newline + column_before
        self._dropped_characters += self.position
        parts, length = [rest], 0
        while not self._has_ended and length <= len(rest):
            parts.append(self._decoded(self._read()))
            length += len(parts[-1])
        self._text, self.position = "".join(parts), 0

    def _decoded(self, chunk: bytes) -> str:
        self._has_ended = not chunk
        pending_bytes = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            byte = self._bytes - pending_bytes + error.start
            raise AnnotationError(
                f"{self._source}: byte {byte} is not UTF-8; export it as GeoJSON from QuPath"
            ) from error
        self._bytes += len(chunk)
        return text

    def too_large(self) -> AnnotationError:
        """The error of an element that is too large."""
        return AnnotationError(
            f"{self._source}: an object of more than {MAX_ELEMENT_CHARACTERS >> 20} MiB of text; "
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
            f"{self._source}: {what}; the whole file is refused: export or copy it again"
        )
