"""`thumbnail`: a small picture of a slide."""

import argparse
from pathlib import Path

from tiling.commands.shared_arguments import check_output_file, number_between

NAME = "thumbnail"
SUMMARY = "a small picture of a slide"
_PICTURE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("slide", type=Path, help="slide file or folder")
    parser.add_argument("out", type=_picture_file, help="picture to write, *.png or *.jpg")
    parser.add_argument(
        "--max-px",
        type=number_between(int, 1, 32768),
        default=1024,
        help="longest side, px",
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the picture."""
    import PIL.Image

    from tiling.raster.atomic_files import partial_file
    from tiling.slides.child_probe import check_not_fatal
    from tiling.slides.scaled_reading import read_thumbnail
    from tiling.slides.slide_reader import open_slide

    check_output_file(arguments.out)
    check_not_fatal(arguments.slide)
    with open_slide(arguments.slide) as slide:
        picture = PIL.Image.fromarray(read_thumbnail(slide, arguments.max_px))
    with partial_file(arguments.out) as partial:
        picture.save(partial, _PICTURE_FORMATS[arguments.out.suffix.lower()])


def _picture_file(text: str) -> Path:
    """Type of an argument: a file whose name says the format of a picture."""
    path = Path(text)
    if path.suffix.lower() not in _PICTURE_FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(_PICTURE_FORMATS)}")
    return path
