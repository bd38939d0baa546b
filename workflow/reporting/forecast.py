"""What a run will take, told before it starts; a run that cannot fit on the disk is refused."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.slide_errors import StoreError
from workflow.reporting.outcome import Job
from workflow.sheet import Sheet, Slide

# Bytes on disk per stored pixel, at most: three colours with their pyramid, and four maps, as if nothing could be compressed
# (compressed they are 1.2 to 3.2 on the H&E of docs/benchmarks.md).
_BYTES = {
    "tile_slide": 4.0,
    "tile_slide_for_once": 4.0,
    "predict_slide": 4.0,
    "predict_slide_compared": 4.0,
}
_TILING = ("tile_slide", "tile_slide_for_once")
_TISSUE_SHARE = 0.4  # of a slide, until its tissue is known
_READERS = 8


@dataclass(frozen=True)
class Forecast:
    """What is still to do.

    Attributes
    ----------
    slides, pixels : slides to tile or to predict that could be opened, and their size, pixels at the working resolution
    expected_bytes, most_bytes : disk, when two fifths of each slide are tissue, and when all is
    unread : slides that could not be opened yet (their job will say why)
    cut : what is wrong with slides to be tiled whose file ends before their tiles do
    """

    slides: int
    pixels: float
    expected_bytes: float
    most_bytes: float
    unread: int
    cut: tuple[str, ...] = ()


def forecast(sheet: Sheet, config: dict[str, Any], jobs: Iterable[Job]) -> Forecast:
    """Look at the headers of the slides that the planned jobs tile or predict."""
    bytes_per_px: dict[str, float] = {}
    tiled: set[str] = set()
    for job in jobs:
        if job.step in _BYTES:
            bytes_per_px[job.subject] = bytes_per_px.get(job.subject, 0.0) + _BYTES[job.step]
        if job.step in _TILING:
            tiled.add(job.subject)
    waiting = [row for row in sheet.rows if row.slide in bytes_per_px]
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = list(pool.map(lambda row: _pixels(row, config["tiles"]["mpp_um"]), waiting))
        cut = pool.map(_cut, [row for row in waiting if row.slide in tiled])
    known = {
        row.slide: pixels for row, pixels in zip(waiting, sizes, strict=True) if pixels is not None
    }
    most = sum(pixels * bytes_per_px[slide] for slide, pixels in known.items())
    told = tuple(problem for problem in cut if problem is not None)
    return Forecast(
        len(known), sum(known.values()), _TISSUE_SHARE * most, most, len(waiting) - len(known), told
    )


def forecast_text(found: Forecast, free_bytes: float) -> str:
    """One line for the user, and one for each slide that will fail."""
    told = (
        f"To do: {found.slides} slide(s), {found.pixels / 1e9:.2f} Gpx at the working resolution"
        + (f" ({found.unread} more not readable yet)" if found.unread else "")
        + f"; disk about {_gb(found.expected_bytes)} (at most {_gb(found.most_bytes)}), free {_gb(free_bytes)}."
        " The time is in preview.html once the slides are tiled."
    )
    return "\n".join([told, *(f"WARNING {problem}" for problem in found.cut)])


def refusal(found: Forecast, free_bytes: float, config: dict[str, Any]) -> str | None:
    """Why the run cannot fit; None when it can."""
    allowed = config["max_disk_gb"]
    room = free_bytes if allowed is None else min(free_bytes, allowed * 1e9)
    if found.expected_bytes <= room:
        return None
    limit = _gb(room) + ("" if allowed is None else " (max_disk_gb)")
    return (
        f"{forecast_text(found, free_bytes)}\n"
        f"This does not fit in {limit}: choose `results` on a larger disk, a coarser tiles.mpp_um, or fewer slides at a time"
    )


def free_space(results: Path) -> int:
    """Free space of the disk that will hold the results, quotas not counted."""
    there = next(
        folder for folder in (results.resolve(), *results.resolve().parents) if folder.is_dir()
    )
    return shutil.disk_usage(there).free


def _pixels(row: Slide, mpp_um: float) -> float | None:
    """Pixels of the whole slide at the working resolution; None when it cannot be told yet: its job will say why."""
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.working_resolution import plan_scale

    try:
        with open_slide(Path(row.path), mpp=row.mpp) as slide:
            geometry = plan_scale(slide.facts, mpp_um).geometry
    except (ValueError, StoreError, OSError):
        return None
    return float(geometry.width_px) * geometry.height_px


def _cut(row: Slide) -> str | None:
    """What of a slide lies beyond its file's end; None also where its job will say what is wrong."""
    from tiling.slides.truncation import cut_problem

    try:
        return cut_problem(Path(row.path))
    except OSError:
        return None


def _gb(size: float) -> str:
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"
