"""Probes slides, as a process of its own: `python -m tiling.slides.probe`.

A library that decodes slides can end the process, wait for ever or take all memory. The process
that plans a run, and the jobs that tile slides, let this process open a slide first.
`tiling.slides.child_probe` starts it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiling.child_process import answer_requests
from tiling.raster.geometry import Geometry, Window
from tiling.slide_errors import SlideError
from tiling.slides.slide_reader import Slide, open_slide
from tiling.slides.truncation import truncation_problem
from tiling.slides.working_resolution import plan_scale

_WINDOW_PX = 16


@dataclass(frozen=True)
class ProbeRequest:
    """The slide to probe.

    Attributes
    ----------
    path : slide file
    mpp : um per level-0 pixel, where the sheet overrides the file
    mpp_um : working resolution, um per stored pixel; None: no pixel size is needed
    limit_s : most seconds
    """

    path: str
    mpp: float | None = None
    mpp_um: float | None = None
    limit_s: float = 20.0


@dataclass(frozen=True)
class SlideProbe:
    """What opening a slide showed.

    Attributes
    ----------
    geometry : of the tiles; None if the slide cannot be used, and without a working resolution
    problem : why the slide cannot be used, "" if it can
    is_fatal : whether the process that probed the slide ended, or ran out of time
    may_be_repeated : whether the problem may be one of the disk or of the machine (time limit,
        memory), so that another try may succeed
    """

    geometry: Geometry | None = None
    problem: str = ""
    is_fatal: bool = False
    may_be_repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "SlideProbe":
        """The result of `to_json`; raises TypeError if it is that of another version."""
        geometry = values["geometry"]
        return SlideProbe(
            **{**values, "geometry": None if geometry is None else Geometry(**geometry)}
        )


def probe_slide(request: ProbeRequest) -> SlideProbe:
    """Open a slide and read a few pixels of each level, in this process."""
    path = Path(request.path)
    try:
        with open_slide(path, mpp=request.mpp) as slide:
            if slide.metadata.reader.startswith("openslide"):
                _read_centres(slide)
            geometry = None
            if request.mpp_um is not None:
                geometry = plan_scale(slide.metadata, request.mpp_um).geometry
        return SlideProbe(geometry, truncation_problem(path) or "")
    except (ValueError, OSError) as error:
        return SlideProbe(None, str(error), may_be_repeated=isinstance(error, OSError))


def _read_centres(slide: Slide) -> None:
    """Let the library decode one tile of each level: it asks for the memory of a tile only then."""
    for level, (width, height) in enumerate(slide.metadata.level_sizes_px):
        window = Window(
            height // 2, width // 2, min(_WINDOW_PX, height - height // 2),
            min(_WINDOW_PX, width - width // 2),
        )  # fmt: skip
        try:
            slide.read(level, window)
        except SlideError:
            continue  # the settings say how much of a slide may be unreadable


if __name__ == "__main__":
    answer_requests(lambda values: probe_slide(ProbeRequest(**values)).to_json())
