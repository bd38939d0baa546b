"""Problems of a slide that can be opened, found before it is tiled."""

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
    return problems


def correctable_problems(slide: Slide) -> list[str]:
    """What a person must check: the pixel size, which the sheet can set; a single colour."""
    problems = (pixel_size_problem(slide.metadata), small_level_problem(slide))
    return [problem for problem in problems if problem is not None]


def slide_problems(slide: Slide) -> list[str]:
    """All problems of an open slide, with the remedies."""
    return unusable_problems(slide) + correctable_problems(slide)
