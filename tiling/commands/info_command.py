"""`info`: metadata of a slide, and its problems."""

import argparse
import json
from pathlib import Path

NAME = "info"
SUMMARY = "metadata of a slide, and its problems"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("slide", type=Path, help="slide file or folder")
    parser.add_argument("--mpp", type=float, help="um per pixel, in place of what the file says")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print the metadata; a problem of the slide is not an error of the command."""
    from tiling.messages import for_command_line
    from tiling.slides.child_probe import check_not_fatal
    from tiling.slides.slide_problems import slide_problems
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.tiffslide_comparison import tiffslide_differences

    check_not_fatal(arguments.slide)
    with open_slide(arguments.slide, mpp=arguments.mpp) as slide:
        metadata = slide.metadata
        problems = [for_command_line(problem) for problem in slide_problems(slide)]
    differences = tiffslide_differences(metadata)
    if arguments.json:
        checks = {"problems": problems, "tiffslide_differences": differences}
        print(json.dumps({**metadata.to_json(), **checks}, indent=2))
        return
    size_mb = metadata.size_bytes / 1e6
    print(f"{metadata.path}: {metadata.vendor}, read by {metadata.reader}, {size_mb:.1f} MB")
    levels = zip(metadata.level_sizes_px, metadata.downsamples, strict=True)
    for level, ((width, height), (x, y)) in enumerate(levels):
        downsample = f"{x:g}" if x == y else f"{x:g} x {y:g}"
        print(f"  level {level}: {width} x {height} px, downsample {downsample}")
    size = "none"
    if metadata.mpp_x is not None:
        size = f"{metadata.mpp_x:.5g} x {metadata.mpp_y:.5g} um (from {metadata.mpp_origin})"
    print(f"  pixel size: {size}; looked at {'; '.join(metadata.mpp_looked_at)}")
    print(f"  bounds (x, y, width, height): {', '.join(map(str, metadata.bounds_level0))}")
    power = "unknown" if metadata.objective_power is None else f"{metadata.objective_power:g}x"
    print(f"  objective: {power}")
    print(f"  associated images: {', '.join(metadata.associated) or 'none'}")
    print(f"  colour profile: {metadata.colour_profile or 'none'}")
    print(f"  checksum: {metadata.checksum}")
    for remark in (*metadata.remarks, *differences):
        print(f"  remark: {remark}")
    for problem in problems:
        print(f"  problem: {problem}")
