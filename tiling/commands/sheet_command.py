"""`sheet`: a sheet of the slides in a folder."""

import argparse
import sys
from pathlib import Path

from tiling.messages import counted

NAME = "sheet"
SUMMARY = "a sheet of the slides in a folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", type=Path, help="folder of slides; its folders are searched too")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write (default: stdout, paths relative to the current folder)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the sheet to a new file or to stdout; what to check goes to stderr."""
    from tiling.raster.atomic_files import write_atomic
    from tiling.slides.folder_sheet import sheet_from_folder, sheet_text

    out: Path | None = arguments.out
    if out is not None and out.exists():
        raise ValueError(
            f"{out}: exists already, and its entries would be lost; "
            "give --out another name, or remove it"
        )
    rows, left_out = sheet_from_folder(arguments.folder)
    if out is None:
        sys.stdout.write(sheet_text(rows, Path.cwd()))
    else:
        write_atomic(out, sheet_text(rows, out.parent))
    doubtful = sum(bool(row.check) for row in rows)
    print(f"{counted(len(rows), 'slide')}, {doubtful} to check (column `check`)", file=sys.stderr)
    for remark in left_out:
        print(f"left out: {remark}", file=sys.stderr)
