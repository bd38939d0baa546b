"""`python -m tiling`: look at a slide, tile it, list a folder, convert outlines.

The exit status is 0 when the command succeeded, 2 for wrong input (with one line on stderr), and 1
when the disk or a store failed. `tiling.commands` has one module for each command; it imports its
libraries when it runs, so that `--help` is fast.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Protocol

from tiling.commands import (
    geojson_to_labels_command,
    info_command,
    labels_to_geojson_command,
    sheet_command,
    thumbnail_command,
    tile_command,
    tissue_command,
)
from tiling.messages import for_command_line
from tiling.raster.file_lock import LockError
from tiling.raster.option_help import OneLineParser, add_command
from tiling.slide_errors import StoreError


class _Command(Protocol):
    """What a module of `tiling.commands` contains."""

    NAME: str
    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, arguments: argparse.Namespace, /) -> None: ...


# In the order of `--help`.
_COMMANDS: tuple[_Command, ...] = (
    info_command,
    tile_command,
    sheet_command,
    thumbnail_command,
    geojson_to_labels_command,
    tissue_command,
    labels_to_geojson_command,
)


def main(command_line: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(command_line)
    logging.basicConfig(level=logging.INFO, handlers=[_log_handler()])
    try:
        arguments.run(arguments)
    except BrokenPipeError:
        return 1
    except LockError as error:  # no wrong input, although it is a ValueError
        return _report(error, 1)
    except (ValueError, FileNotFoundError) as error:
        return _report(error, 2)
    except (OSError, StoreError) as error:
        return _report(error, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = OneLineParser(
        prog="python -m tiling", description="Slides to arrays and back."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        subparser = add_command(subparsers, command.NAME, command.SUMMARY)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


class _MessageFormatter(logging.Formatter):
    """Lines of the log with the remedies of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return for_command_line(super().format(record))


def _log_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MessageFormatter("%(levelname)s %(message)s"))
    return handler


def _report(error: Exception, status: int) -> int:
    """Print an error on one line of stderr; returns the exit status."""
    text = str(error)
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        text = f"{error.filename}: no such file, or no such folder to write into; correct the path"
    elif isinstance(error, PermissionError) and error.filename is not None:
        text = f"{error.filename}: permission denied; check the rights on the file and its folder"
    print(for_command_line(" ".join(text.split())), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
