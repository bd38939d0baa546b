"""Arguments that several commands have."""

import argparse


def add_origin(parser: argparse.ArgumentParser) -> None:
    """Add `--origin`: what the coordinates of GeoJSON are relative to."""
    parser.add_argument(
        "--origin",
        choices=("bounds", "slide"),
        default="bounds",
        help="what GeoJSON counts from (default %(default)s, as QuPath)",
    )
