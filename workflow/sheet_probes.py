"""Probes the slides of a sheet when a run is planned."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tiling.messages import counted, listed
from workflow.check_cache import CheckCache
from workflow.file_state import FileState, file_state
from workflow.sheet import SheetRow, is_demo_file

if TYPE_CHECKING:
    from tiling.slides.probe import SlideProbe

# Snakemake keeps its own records there.
CACHE = Path(".snakemake") / "slide_probes.json"
_CACHE_VERSION = 2
_MAX_LINES = 40


def probe_rows(
    rows: Iterable[SheetRow],
    mpp_um: float,
    *,
    budget_s: float = float("inf"),
    cache: Path = CACHE,
) -> "dict[str, SlideProbe]":
    """Probes of the slides of some rows, by slide.

    Slides that do not exist (those of the demo before it makes them), and those for which the time
    is too short, are left out.

    Parameters
    ----------
    mpp_um : working resolution, um per pixel
    budget_s : most seconds for all slides together
    cache : results for slides of one file that has not changed
    """
    # The process of each job reads the Snakefile, and opens no slide.
    from tiling.slides.child_probe import probe_slides
    from tiling.slides.probe import ProbeRequest, SlideProbe

    results = CheckCache(cache, _CACHE_VERSION, SlideProbe.from_json)
    probes: dict[str, SlideProbe] = {}
    waiting: list[tuple[SheetRow, str, FileState | None]] = []
    for row in rows:
        key = json.dumps([str(Path(row.path).absolute()), row.mpp, mpp_um])
        state = file_state(Path(row.path))
        probe = results.get(key, state)
        if probe is not None:
            probes[row.slide] = probe
        elif Path(row.path).exists():
            waiting.append((row, key, state))
    requests = [ProbeRequest(row.path, row.mpp, mpp_um) for row, *_ in waiting]
    answers = probe_slides(requests, budget_s=budget_s)
    for (row, key, state), answer in zip(waiting, answers, strict=True):
        if answer is not None:
            probes[row.slide] = answer
            if not answer.is_fatal and not answer.may_be_repeated and _has_one_file(row):
                results.put(key, state, answer.to_json())
    results.save()
    return probes


def _has_one_file(row: SheetRow) -> bool:
    """Whether the state of the named file shows every change of the slide."""
    from tiling.slides.slide_files import has_one_file

    try:
        return has_one_file(Path(row.path))
    except OSError:
        return False


class ProbeReport(NamedTuple):
    """What the user should know of the slides of a sheet.

    Attributes
    ----------
    lines : a line for each slide that cannot be used, and how many were not probed
    explained : slides whose reason does not need to be said again before the jobs
    """

    lines: list[str]
    explained: frozenset[str] = frozenset()


def probe_report(
    rows: Iterable[SheetRow], probes: "Mapping[str, SlideProbe]", *, reasons_follow: bool = False
) -> ProbeReport:
    """A line for each slide that cannot be used, and how many were not probed.

    Parameters
    ----------
    reasons_follow : the run ends with a list of the reasons: the slides are named only
    """
    rows = [row for row in rows if not is_demo_file(row.path)]
    with_problem = [row.slide for row in rows if row.slide in probes and probes[row.slide].problem]
    explained = with_problem if reasons_follow else with_problem[:_MAX_LINES]
    if with_problem and reasons_follow:
        # If the next try of a slide succeeds, no list names the reason: it is printed now.
        repeated = [slide for slide in with_problem if probes[slide].may_be_repeated]
        unusable = [slide for slide in with_problem if not probes[slide].may_be_repeated]
        lines = [_line(slide, probes[slide]) for slide in repeated]
        if unusable:
            lines.append(
                f"WARNING {counted(len(unusable), 'slide')} cannot be used"
                f" ({listed(unusable, _MAX_LINES)});"
                " the preview lists the reasons at its end"
            )
    else:
        lines = [_line(slide, probes[slide]) for slide in explained]
    if len(with_problem) > len(explained):
        more = len(with_problem) - len(explained)
        lines.append(f"... and {more} more slides that cannot be used or opened")
    left = sum(row.slide not in probes for row in rows)
    if left:
        lines.append(f"not opened yet: {counted(left, 'slide')}; the run does it when it starts")
    return ProbeReport(lines, frozenset(explained))


def _line(slide: str, probe: "SlideProbe") -> str:
    return f"WARNING slide {slide} {_consequence(probe)}: {probe.problem}"


def _consequence(probe: "SlideProbe") -> str:
    if probe.may_be_repeated:
        return "could not be opened, its job tries again"
    return "cannot be used, the run leaves it out"
