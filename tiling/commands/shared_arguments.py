"""Arguments that several commands have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Number = TypeVar("_Number", int, float)


def number_between(
    kind: type[_Number], lowest: _Number, highest: _Number
) -> Callable[[str], _Number]:
    """Type of an argument: a number within bounds, which therefore is finite."""

    def converted(text: str) -> _Number:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number from {lowest:g} to {highest:g}"
            )
        return number

    return converted


def add_origin(parser: argparse.ArgumentParser) -> None:
    """Add `--origin`: what the coordinates of GeoJSON are relative to."""
    parser.add_argument(
        "--origin",
        choices=("bounds", "slide"),
        default="bounds",
        help="what GeoJSON counts from; bounds: as QuPath",
    )


def check_output_file(out: Path) -> None:
    """Refuse to replace a file, which may be a slide, or outlines that a person has corrected.

    An empty file is replaced.

    Raises
    ------
    ValueError
        `out` is a folder, a device, or a file with content.
    """
    if out.exists() and not out.is_file():
        raise ValueError(f"{out}: is no file; name another one")
    if out.is_file() and out.stat().st_size:
        raise ValueError(f"{out}: exists already; name another file, or delete it")
