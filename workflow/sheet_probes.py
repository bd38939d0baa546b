"""Probes the slides of a sheet when a run is planned."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiling.slides.child_probe import probe_slides
from tiling.slides.probe import ProbeRequest, SlideProbe
from workflow.check_cache import CheckCache
from workflow.file_state import FileState, file_state
from workflow.sheet import SheetRow, is_demo_file

# Snakemake keeps its own records there.
CACHE = Path(".snakemake") / "slide_probes.json"
_CACHE_VERSION = 1
_MAX_LINES = 40


def probe_rows(
    rows: Iterable[SheetRow],
    mpp_um: float,
    *,
    budget_s: float = float("inf"),
    cache: Path = CACHE,
) -> dict[str, SlideProbe]:
    """Probes of the slides of some rows, by slide.

    Slides that do not exist (those of the demo before it makes them), and those for which the time
    is too short, are left out.

    Parameters
    ----------
    mpp_um : working resolution, um per pixel
    budget_s : most seconds for all slides together
    cache : results for files that have not changed
    """
    results = CheckCache(cache, _CACHE_VERSION)
    probes: dict[str, SlideProbe] = {}
    waiting: list[tuple[SheetRow, str, FileState | None]] = []
    for row in rows:
        key = json.dumps([str(Path(row.path).absolute()), row.mpp, mpp_um])
        state = file_state(Path(row.path))
        probe = _cached_probe(results.get(key, state))
        if probe is not None:
            probes[row.slide] = probe
        elif Path(row.path).exists():
            waiting.append((row, key, state))
    requests = [ProbeRequest(row.path, row.mpp, mpp_um) for row, *_ in waiting]
    answers = probe_slides(requests, budget_s=budget_s)
    for (row, key, state), answer in zip(waiting, answers, strict=True):
        if answer is not None:
            probes[row.slide] = answer
            if not answer.is_fatal:  # a slow disk may be faster next time
                results.put(key, state, answer.to_json())
    results.save()
    return probes


def _cached_probe(result: Mapping[str, Any] | None) -> SlideProbe | None:
    try:
        return None if result is None else SlideProbe.from_json(result)
    except (TypeError, KeyError):
        return None  # of another version of this program


def probe_lines(rows: Iterable[SheetRow], probes: Mapping[str, SlideProbe]) -> list[str]:
    """A line for each slide that cannot be used, and how many were not probed."""
    rows = [row for row in rows if not is_demo_file(row.path)]
    unusable = [row.slide for row in rows if row.slide in probes and probes[row.slide].problem]
    lines = [
        f"WARNING slide {slide} cannot be used, the run leaves it out: {probes[slide].problem}"
        for slide in unusable[:_MAX_LINES]
    ]
    if len(unusable) > _MAX_LINES:
        lines.append(f"... and {len(unusable) - _MAX_LINES} more slides that cannot be used")
    left = sum(row.slide not in probes for row in rows)
    if left:
        lines.append(f"{left} slide(s) were not opened yet; the run does it when it starts")
    return lines
