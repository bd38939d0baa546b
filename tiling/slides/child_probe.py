"""Probes slides in child processes: a fatal slide affects no other slide."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tiling.child_process import ChildEndedError, ChildProcess
from tiling.slide_errors import SlideError
from tiling.slides.dicom_series import is_dicom
from tiling.slides.metadata import check_is_file
from tiling.slides.plain_image import IMAGE_SIGNATURES
from tiling.slides.probe import ProbeRequest, SlideProbe
from tiling.slides.read_errors import FileReadError
from tiling.slides.slide_files import is_mirax
from tiling.slides.tiff_backend import GENERIC_TIFF_FORMATS
from tiling.slides.tiff_claims import check_tiff_claims
from tiling.slides.tiff_directories import is_tiff

# To start a child takes as long as to open some twenty slides.
_SLIDES_PER_CHILD = 25
_MAX_CHILDREN = 4
_LIMIT_S = 120.0


class UnansweredProbeError(OSError):
    """A probe ended without an answer, and the slide need not be the cause: try again."""


def probe_slides(
    requests: Sequence[ProbeRequest], *, budget_s: float = float("inf")
) -> list[SlideProbe | None]:
    """Probe each slide; None where the time was used up before.

    Parameters
    ----------
    requests : slides
    budget_s : most seconds for all slides together, about
    """
    if not requests:
        return []
    end_s = time.monotonic() + budget_s
    child_count = min(_MAX_CHILDREN, -(-len(requests) // _SLIDES_PER_CHILD))
    local = threading.local()
    children: list[ChildProcess] = []

    def probe(request: ProbeRequest) -> SlideProbe | None:
        if time.monotonic() > end_s:
            return None
        try:
            check_is_file(Path(request.path))
        except (SlideError, OSError) as error:  # no reason to start a process
            return SlideProbe(None, str(error), may_be_repeated=isinstance(error, OSError))
        if not hasattr(local, "child"):
            local.child = ChildProcess("tiling.slides.probe")
            children.append(local.child)
        return _probe_in_child(local.child, request)

    try:
        with ThreadPoolExecutor(child_count) as pool:
            return list(pool.map(probe, requests))
    finally:
        for child in children:
            child.close()


def check_not_fatal(path: Path) -> None:
    """Refuse a slide that ends the process that opens it.

    Raises
    ------
    SlideError
        The library that decodes it ended the child process, or `path` is no file.
    UnansweredProbeError
        The child process ran out of time, was killed, or could not start.
    """
    check_is_file(path)
    probe = fatal_probes([path]).get(path)
    if probe is not None:
        raise (UnansweredProbeError if probe.may_be_repeated else SlideError)(probe.problem)


def fatal_probes(paths: Sequence[Path], *, limit_s: float = _LIMIT_S) -> dict[Path, SlideProbe]:
    """Probes of the slides that end the process that opens them, or could not be probed.

    Images, and TIFFs without a vendor's format, are not probed: their readers are safe.

    Parameters
    ----------
    limit_s : most seconds for each slide
    """
    paths = [path for path in paths if _needs_probe(path)]
    probes = probe_slides([ProbeRequest(str(path), limit_s=limit_s) for path in paths])
    return {
        path: probe
        for path, probe in zip(paths, probes, strict=True)
        if probe is not None and probe.is_fatal
    }


def _needs_probe(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        if is_mirax(path) or is_dicom(path):
            return True
        with path.open("rb") as file:
            is_image = file.read(4).startswith(IMAGE_SIGNATURES)
    except PermissionError:
        return False  # no library can open it either
    return not is_image and not _is_generic_tiff(path)


def _is_generic_tiff(path: Path) -> bool:
    import openslide

    if not is_tiff(path):
        return False
    try:
        check_tiff_claims(path)
    except FileReadError:
        return True  # no library will open it
    return openslide.OpenSlide.detect_format(path) in GENERIC_TIFF_FORMATS


def _probe_in_child(child: ChildProcess, request: ProbeRequest) -> SlideProbe:
    """The answer of the process, or how it ended."""
    try:
        return SlideProbe.from_json(child.answer(asdict(request), request.limit_s))
    except ChildEndedError as end:
        reason = _crash_reason(end) if end.is_crash else _unanswered_reason(end, request.limit_s)
        return SlideProbe(
            None, f"{request.path}: {reason}", is_fatal=True, may_be_repeated=not end.is_crash
        )


def _crash_reason(end: ChildEndedError) -> str:
    return (
        f"the library that decodes it ends the process ({end.status_text}); copy it again, or"
        " convert it to a tiled pyramidal TIFF"
    )


def _unanswered_reason(end: ChildEndedError, limit_s: float) -> str:
    if not end.status_text:
        return (
            f"opening it does not end within the time limit ({limit_s:.0f} s); run again when the"
            " disk is faster; if this repeats, copy it again, or convert it to a tiled pyramidal"
            " TIFF"
        )
    ended = f"the process that opens it first ended ({end.status_text})"
    if end.is_killed:
        return (
            f"{ended}, usually because memory ran out; run again with fewer jobs at a time, or"
            " with more memory"
        )
    return (
        f"{ended} without a message; run again; if this repeats, check the installation"
        " (`make doctor`), and copy the slide again"
    )
