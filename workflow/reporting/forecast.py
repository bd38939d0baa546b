"""The size of a run before it starts: slides, pixels and disk space."""

import shutil
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from tiling.messages import counted
from workflow.reporting.outcome import PlannedJob
from workflow.sheet import Sheet
from workflow.sheet_probes import CACHE, probe_rows
from workflow.user_paths import existing_path

_TILE_RULE = "tile_slide"
_PREDICT_RULES = ("predict_slide", "predict_slide_compared")
# Bytes on disk per stored pixel without compression: three colours and their pyramid, or four
# maps. Compressed they take 1.2 to 3.2 bytes on the H&E slides of docs/benchmarks.md.
_BYTES_PER_PX = 4.0
_TISSUE_SHARE = 0.4  # assumed of every slide: the tissue is not known before tiling


@dataclass(frozen=True)
class RunForecast:
    """What is still to do.

    Attributes
    ----------
    slides : slides to tile or to predict that can be used
    pixels : their pixels at the working resolution
    expected_bytes : disk space, if 40 % of each slide is tissue; where tiles are removed before
        the next slide is tiled, only those of the largest slide count
    max_bytes : disk space, if all of each slide is tissue
    not_made : slides of the demo that this run makes first
    unusable : slides that cannot be used
    tried_again : slides that could not be opened; their jobs try again
    problems : why slides that are to be tiled cannot be used, where the user was not told before
    tiles_slides : whether slides are to be tiled; otherwise the preview shows the time already
    """

    slides: int
    pixels: float
    expected_bytes: float
    max_bytes: float
    not_made: int
    unusable: int = 0
    tried_again: int = 0
    problems: tuple[str, ...] = ()
    tiles_slides: bool = False


def forecast(
    sheet: Sheet,
    mpp_um: float,
    jobs: Iterable[PlannedJob],
    *,
    explained: Container[str] = (),
    removed: Container[str] = (),
    cache: Path = CACHE,
) -> RunForecast:
    """The forecast of a run, from the headers of the slides that its jobs tile or predict.

    Parameters
    ----------
    mpp_um : working resolution, um per pixel
    explained : slides whose problem the user was told when the run was planned
    removed : slides whose tiles the run removes before it tiles the next one
    cache : see `workflow.sheet_probes`
    """
    stores = [job for job in jobs if job.rule in (_TILE_RULE, *_PREDICT_RULES)]
    tiled = {job.subject for job in stores if job.rule == _TILE_RULE}
    subjects = {job.subject for job in stores}
    rows = [row for row in sheet.rows if row.slide in subjects]
    probes = probe_rows(rows, mpp_um, cache=cache)
    pixels = {
        slide: float(probe.geometry.width_px) * probe.geometry.height_px
        for slide, probe in probes.items()
        if probe.geometry is not None and not probe.problem
    }
    max_bytes = _BYTES_PER_PX * sum(pixels.get(job.subject, 0.0) for job in stores)
    removed_px = [pixels.get(slide, 0.0) for slide in tiled if slide in removed]
    removed_later = _BYTES_PER_PX * (sum(removed_px) - max(removed_px, default=0.0))
    with_problem = [probe for probe in probes.values() if probe.problem]
    tried_again = sum(probe.may_be_repeated for probe in with_problem)
    return RunForecast(
        slides=len(pixels),
        pixels=sum(pixels.values()),
        expected_bytes=_TISSUE_SHARE * (max_bytes - removed_later),
        max_bytes=max_bytes,
        not_made=len(rows) - len(probes),
        unusable=len(with_problem) - tried_again,
        tried_again=tried_again,
        problems=tuple(
            probes[slide].problem
            for slide in probes
            if slide in tiled and probes[slide].problem and slide not in explained
        ),
        tiles_slides=bool(tiled),
    )


def forecast_text(expected: RunForecast, free_bytes: float) -> str:
    """One line for the user, and a warning for each slide that will fail."""
    others = [
        f"{number} more {what}"
        for number, what in (
            (expected.not_made, "that this run makes first"),
            (expected.unusable, "cannot be used"),
            (expected.tried_again, "could not be opened and will be tried again"),
        )
        if number
    ]
    not_counted = f" ({', '.join(others)})" if others else ""
    summary = (
        f"To do: {counted(expected.slides, 'slide')}{not_counted}, "
        f"{_billions(expected.pixels)} Gpx at the working resolution; "
        f"disk about {_gigabytes(expected.expected_bytes)} "
        f"(at most {_gigabytes(expected.max_bytes)}), free {_gigabytes(free_bytes)}."
    )
    if expected.tiles_slides:
        summary += " preview.html will show the expected time once the slides are tiled."
    return "\n".join([summary, *(f"WARNING {message}" for message in expected.problems)])


def refusal(
    expected: RunForecast,
    free_bytes: float,
    max_disk_gb: float | None,
    *,
    resolution_is_free: bool = True,
) -> str | None:
    """Why a run must not start: its results do not fit on the disk; None if they do.

    Parameters
    ----------
    max_disk_gb : limit that the user sets; None: free space is the only limit
    resolution_is_free : whether the user can choose the working resolution: with a given model,
        it is that of the model
    """
    limit_bytes = free_bytes if max_disk_gb is None else min(free_bytes, max_disk_gb * 1e9)
    if expected.expected_bytes <= limit_bytes:
        return None
    limit = _gigabytes(limit_bytes) + ("" if max_disk_gb is None else " (max_disk_gb)")
    disk_is_limit = limit_bytes == free_bytes
    remedies = ["choose `results` on a larger disk" if disk_is_limit else "set a larger limit"]
    remedies += ["a coarser tiles.mpp_um"] if resolution_is_free else []
    remedies += ["fewer slides at a time"] if expected.slides > 1 else []
    return (
        f"{forecast_text(expected, free_bytes)}\n"
        f"The run does not fit in {limit}: {', or '.join(remedies)}"
    )


def free_space(results: Path) -> int:
    """Free bytes on the disk of the folder of results; quotas are not considered."""
    return shutil.disk_usage(existing_path(results)).free


def _gigabytes(size: float) -> str:
    return f"{_billions(size)} GB"


def _billions(number: float) -> str:
    return f"{number / 1e9:.0f}" if number >= 1e10 else f"{number / 1e9:.2g}"
