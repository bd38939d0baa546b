"""`geojson-to-labels`: outlines to an int32 label image at full resolution."""

import argparse
import sys
from pathlib import Path

from tiling.commands.shared_arguments import check_output_file
from tiling.qupath.class_names import GLAND

NAME = "geojson-to-labels"
SUMMARY = "outlines to an int32 label image at full resolution"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("annotations", type=Path, help="GeoJSON to read")
    parser.add_argument("slide", type=Path, help="slide file or folder")
    parser.add_argument("out", type=Path, help="TIFF to write")
    parser.add_argument("--gland-class", default=GLAND, help="class of a gland")
    parser.add_argument(
        "--objects",
        choices=("annotations", "all"),
        default="annotations",
        help="annotations: detections are left out; all: they are read too",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the label image; what was skipped, clipped or repaired goes to stderr."""
    from tiling.qupath.level0_labels import geojson_to_labels

    check_output_file(arguments.out)
    messages = geojson_to_labels(
        arguments.annotations,
        arguments.slide,
        arguments.out,
        gland_class=arguments.gland_class,
        objects=arguments.objects,
    )
    for message in messages:
        print(message, file=sys.stderr)
