"""`info`: facts of a slide, and what is wrong with it."""

import argparse
import json
from pathlib import Path

NAME = "info"
SUMMARY = "facts of a slide, and what is wrong with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float, help="um per pixel, in place of what the file says")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts; a problem of the slide is not an error of the command."""
    from tiling.slides.metadata import mpp_problem
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.truncation import cut_problem

    with open_slide(arguments.slide, mpp=arguments.mpp) as slide:
        facts = slide.facts
    candidates = (cut_problem(arguments.slide), mpp_problem(facts))
    problems = [problem for problem in candidates if problem is not None]
    if arguments.json:
        print(json.dumps({**facts.to_dict(), "problems": problems}, indent=2))
        return
    print(f"{facts.path}: {facts.vendor}, read by {facts.reader}, {facts.bytes / 1e6:.1f} MB")
    levels = zip(facts.level_sizes_px, facts.downsamples, strict=True)
    for level, ((width, height), (x, y)) in enumerate(levels):
        downsample = f"{x:g}" if x == y else f"{x:g} x {y:g}"
        print(f"  level {level}: {width} x {height} px, downsample {downsample}")
    size = "none"
    if facts.mpp_x is not None:
        size = f"{facts.mpp_x:.5g} x {facts.mpp_y:.5g} um (from {facts.mpp_origin})"
    print(f"  pixel size: {size}; looked at {'; '.join(facts.mpp_looked_at)}")
    print(f"  bounds (x, y, width, height): {', '.join(map(str, facts.bounds_level0))}")
    power = "unknown" if facts.objective_power is None else f"{facts.objective_power:g}x"
    print(f"  objective: {power}")
    print(f"  associated images: {', '.join(facts.associated) or 'none'}")
    print(f"  colour profile: {facts.colour_profile or 'none'}")
    print(f"  fingerprint: {facts.fingerprint}")
    for problem in problems:
        print(f"  problem: {problem}")
