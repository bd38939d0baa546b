"""`thumbnail`: a small picture of a slide."""

import argparse
from pathlib import Path

from tiling.commands.shared_arguments import number_between

NAME = "thumbnail"
SUMMARY = "a small picture of a slide"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("slide", type=Path, help="slide file or folder")
    parser.add_argument("out", type=Path, help="picture to write, *.png or *.jpg")
    parser.add_argument(
        "--max-px",
        type=number_between(int, 1, 32768),
        default=1024,
        help="longest side, px",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the picture."""
    import PIL.Image

    from tiling.slides.child_probe import check_not_fatal
    from tiling.slides.scaled_reading import read_thumbnail
    from tiling.slides.slide_reader import open_slide

    check_not_fatal(arguments.slide)
    with open_slide(arguments.slide) as slide:
        picture = PIL.Image.fromarray(read_thumbnail(slide, arguments.max_px))
    picture.save(arguments.out)
