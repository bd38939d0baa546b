"""`labels-to-geojson`: a label image to outlines that QuPath opens."""

import argparse
import sys
from pathlib import Path

from tiling.commands.shared_arguments import check_output_file
from tiling.messages import counted

NAME = "labels-to-geojson"
SUMMARY = "a label image to outlines that QuPath opens"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("labels", type=Path, help="label image to read")
    parser.add_argument("out", type=Path, help="GeoJSON to write")


def run(arguments: argparse.Namespace) -> None:
    """Write the GeoJSON; the number of glands goes to stderr."""
    from tiling.qupath.level0_labels import labels_to_geojson

    check_output_file(arguments.out)
    count = labels_to_geojson(arguments.labels, arguments.out)
    print(counted(count, "gland"), file=sys.stderr)
