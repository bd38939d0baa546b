"""`tissue`: the tissue of a tile store as GeoJSON, to be corrected in QuPath."""

import argparse
import sys
from pathlib import Path

from tiling.commands.shared_arguments import add_origin, check_output_file
from tiling.messages import counted

NAME = "tissue"
SUMMARY = "the tissue found in a tile store, to be corrected in QuPath"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("store", type=Path, help="results/tiles/SLIDE.zarr")
    parser.add_argument("out", type=Path, help="GeoJSON to write")
    add_origin(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the areas; what to do with them goes to stderr."""
    from tiling.qupath.tissue_outlines import tissue_to_geojson

    check_output_file(arguments.out)
    count = tissue_to_geojson(arguments.store, arguments.out, origin=arguments.origin)
    print(
        f"{counted(count, 'area')} of tissue; correct the outlines in QuPath, export, "
        "and give the file as tissue (in a sheet: column 'tissue'; `tile`: option --tissue)",
        file=sys.stderr,
    )
