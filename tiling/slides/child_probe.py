"""Probes slides in child processes: a fatal slide affects no other slide."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

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
# The child ends itself at its limit. A process that waits for a lost mount cannot even be ended.
_MARGIN_S = 5.0


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
    children: list[_Child] = []

    def probe(request: ProbeRequest) -> SlideProbe | None:
        if time.monotonic() > end_s:
            return None
        try:
            check_is_file(Path(request.path))
        except (SlideError, OSError) as error:  # no reason to start a process
            return SlideProbe(None, str(error))
        if not hasattr(local, "child"):
            local.child = _Child()
            children.append(local.child)
        return local.child.probe(request)  # type: ignore[no-any-return]

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
        The child process ended or ran out of time, or `path` is no file.
    """
    check_is_file(path)
    problem = fatal_problems([path]).get(path)
    if problem is not None:
        raise SlideError(problem)


def fatal_problems(paths: Sequence[Path], *, limit_s: float = 120.0) -> dict[Path, str]:
    """Why some slides would end the process that opens them.

    Images, and TIFFs without a vendor's format, are not probed: their readers are safe.

    Parameters
    ----------
    limit_s : most seconds for each slide
    """
    paths = [path for path in paths if _needs_probe(path)]
    probes = probe_slides([ProbeRequest(str(path), limit_s=limit_s) for path in paths])
    return {
        path: probe.problem
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


class _Child:
    """A process that probes one slide after the other; started again when it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def probe(self, request: ProbeRequest) -> SlideProbe:
        """The answer of the process, or how it ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            process.stdin.flush()
            readable, _, _ = select.select([process.stdout], [], [], request.limit_s + _MARGIN_S)
            line = process.stdout.readline() if readable else b""
        except BrokenPipeError:
            line = b""
        if line.endswith(b"\n"):
            return SlideProbe.from_json(json.loads(line))
        return SlideProbe(None, f"{request.path}: {self._how_it_ended()}", is_fatal=True)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            root = str(Path(__file__).parents[2])
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tiling.slides.probe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            )
        return self._process

    def _how_it_ended(self) -> str:
        """How the process ended, for a message; a process that still runs is ended."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            status = process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            status = -signal.SIGALRM
        _close_pipes(process)
        remedy = "copy it again, or convert it to a tiled pyramidal TIFF"
        if status == -signal.SIGALRM:
            return f"opening it does not end within the time limit; {remedy}"
        return f"the library that decodes it ends the process ({_status_text(status)}); {remedy}"

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        _close_pipes(self._process)  # the process ends when its stdin ends
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it holds a request that the process did not read any more


def _status_text(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status}, {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
