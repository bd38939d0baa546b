"""The size of a run before it starts: slides, pixels and disk space."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tiling.raster.geometry import Geometry
from tiling.slide_errors import StoreError
from workflow.reporting.outcome import PlannedJob
from workflow.sheet import Sheet, SheetRow

_TILE_RULES = ("tile_slide", "tile_slide_for_once")
_PREDICT_RULES = ("predict_slide", "predict_slide_compared")
# Bytes on disk per stored pixel without compression: three colours and their pyramid, or four
# maps. Compressed they take 1.2 to 3.2 bytes on the H&E slides of docs/benchmarks.md.
_BYTES_PER_PX = 4.0
_TISSUE_SHARE = 0.4  # assumed of every slide: the tissue is not known before tiling
_THREADS = 8


@dataclass(frozen=True)
class RunForecast:
    """What is still to do.

    Attributes
    ----------
    slides : slides to tile or to predict that can be opened
    pixels : their pixels at the working resolution
    expected_bytes : disk space, if 40 % of each slide is tissue
    max_bytes : disk space, if all of each slide is tissue
    unreadable : slides that cannot be opened yet; their jobs will report why
    truncated : messages about slides to tile whose files are truncated
    """

    slides: int
    pixels: float
    expected_bytes: float
    max_bytes: float
    unreadable: int
    truncated: tuple[str, ...] = ()


def forecast(sheet: Sheet, mpp_um: float, jobs: Iterable[PlannedJob]) -> RunForecast:
    """The forecast of a run, from the headers of the slides that its jobs tile or predict.

    Parameters
    ----------
    mpp_um : working resolution, um per pixel
    """
    bytes_per_px: dict[str, float] = {}
    tiled = set()
    for job in jobs:
        if job.rule in (*_TILE_RULES, *_PREDICT_RULES):
            bytes_per_px[job.subject] = bytes_per_px.get(job.subject, 0.0) + _BYTES_PER_PX
        if job.rule in _TILE_RULES:
            tiled.add(job.subject)
    rows = [row for row in sheet.rows if row.slide in bytes_per_px]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(lambda row: _pixels(row, mpp_um), rows))
        messages = list(pool.map(_truncated, [row for row in rows if row.slide in tiled]))
    pixels = {row.slide: size for row, size in zip(rows, sizes, strict=True) if size is not None}
    max_bytes = sum(size * bytes_per_px[slide] for slide, size in pixels.items())
    return RunForecast(
        slides=len(pixels),
        pixels=sum(pixels.values()),
        expected_bytes=_TISSUE_SHARE * max_bytes,
        max_bytes=max_bytes,
        unreadable=len(rows) - len(pixels),
        truncated=tuple(message for message in messages if message is not None),
    )


def forecast_text(expected: RunForecast, free_bytes: float) -> str:
    """One line for the user, and a warning for each slide that will fail."""
    unreadable = f" ({expected.unreadable} more cannot be read yet)" if expected.unreadable else ""
    summary = (
        f"To do: {expected.slides} slide(s){unreadable}, "
        f"{expected.pixels / 1e9:.2f} Gpx at the working resolution; "
        f"disk about {_gigabytes(expected.expected_bytes)} "
        f"(at most {_gigabytes(expected.max_bytes)}), free {_gigabytes(free_bytes)}. "
        "preview.html will show the expected time once the slides are tiled."
    )
    return "\n".join([summary, *(f"WARNING {message}" for message in expected.truncated)])


def refusal(expected: RunForecast, free_bytes: float, max_disk_gb: float | None) -> str | None:
    """Why a run must not start: its results do not fit on the disk; None if they do.

    Parameters
    ----------
    max_disk_gb : limit that the user sets; None: free space is the only limit
    """
    limit_bytes = free_bytes if max_disk_gb is None else min(free_bytes, max_disk_gb * 1e9)
    if expected.expected_bytes <= limit_bytes:
        return None
    limit = _gigabytes(limit_bytes) + ("" if max_disk_gb is None else " (max_disk_gb)")
    return (
        f"{forecast_text(expected, free_bytes)}\n"
        f"The run does not fit in {limit}: choose `results` on a larger disk, "
        "a coarser tiles.mpp_um, or fewer slides at a time"
    )


def free_space(results: Path) -> int:
    """Free bytes on the disk of the folder of results; quotas are not considered."""
    folders = (results.resolve(), *results.resolve().parents)
    return shutil.disk_usage(next(folder for folder in folders if folder.is_dir())).free


def planned_geometry(row: SheetRow, mpp_um: float) -> Geometry | None:
    """Geometry of the tiles of a slide, from its header; None if it cannot be read yet.

    Parameters
    ----------
    mpp_um : working resolution, um per pixel
    """
    from tiling.slides.slide_reader import open_slide
    from tiling.slides.working_resolution import plan_scale

    try:
        with open_slide(Path(row.path), mpp=row.mpp) as slide:
            return plan_scale(slide.metadata, mpp_um).geometry
    except (ValueError, StoreError, OSError):
        return None


def _pixels(row: SheetRow, mpp_um: float) -> float | None:
    """Pixels of a slide at the working resolution; None if the slide cannot be read yet."""
    geometry = planned_geometry(row, mpp_um)
    return None if geometry is None else float(geometry.width_px) * geometry.height_px


def _truncated(row: SheetRow) -> str | None:
    """A message if the file of a slide is truncated; None also if the file cannot be opened."""
    from tiling.slides.truncation import truncation_problem

    try:
        return truncation_problem(Path(row.path))
    except OSError:
        return None


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"
