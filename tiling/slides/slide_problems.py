"""What is wrong with a slide that can be opened: said before it is tiled."""

from pathlib import Path

from tiling.slide_errors import SlideError
from tiling.slides.brightfield import check_brightfield
from tiling.slides.metadata import pixel_size_problem
from tiling.slides.scaled_reading import small_level_problem
from tiling.slides.slide_reader import Slide
from tiling.slides.truncation import truncation_problem


def unusable_problems(slide: Slide) -> list[str]:
    """Why an open slide cannot be used, whatever the sheet says; empty for a usable slide.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    truncated = truncation_problem(Path(slide.metadata.path))
    problems = [] if truncated is None else [truncated]
    try:
        check_brightfield(slide)
    except SlideError as error:
        problems.append(str(error))
    uniform = small_level_problem(slide)
    return problems if uniform is None else [*problems, uniform]


def slide_problems(slide: Slide) -> list[str]:
    """All problems of an open slide, with the remedies; a pixel size can be set in the sheet."""
    pixel_size = pixel_size_problem(slide.metadata)
    return unusable_problems(slide) + ([] if pixel_size is None else [pixel_size])
