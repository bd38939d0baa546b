"""What a run will take is told before it starts, and a run that cannot fit is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from workflow.config.configuration import with_defaults
from workflow.reporting.forecast import Forecast, forecast, forecast_text, free_space, refusal
from workflow.reporting.outcome import Job
from workflow.sheet import Sheet, Slide

SIDE_PX = 512


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """512 x 512 px at 0.5 um: 256 x 256 at the working resolution of 1 um."""
    path = tmp_path / "a.tiff"
    pixels = np.full((SIDE_PX, SIDE_PX, 3), 200, np.uint8)
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        compression="jpeg",
        photometric="rgb",
        resolution=(20000, 20000),
        resolutionunit=3,
    )
    return path


def config(results: Path, **more: object) -> dict[str, Any]:
    return with_defaults({"results": str(results), **more})


def sheet(path: Path, *rows: tuple[str, str]) -> Sheet:
    return Sheet(
        tuple(
            Slide(name, str(path), split, "x.geojson", "regions", None, None, None, None)
            for name, split in rows
        ),
        (),
    )


def jobs(*steps: tuple[str, str]) -> list[Job]:
    return [Job(step, slide, Path("none")) for step, slide in steps]


def test_pixels_and_bytes_are_those_of_the_working_resolution(slide: Path, tmp_path: Path) -> None:
    found = forecast(
        sheet(slide, ("a", "predict")),
        config(tmp_path / "r"),
        jobs(("tile_slide", "a"), ("predict_slide", "a")),
    )
    assert (found.slides, found.pixels, found.unread) == (1, 256**2, 0)
    assert found.most_bytes == 256**2 * (4 + 4)
    assert found.expected_bytes == pytest.approx(0.4 * found.most_bytes)


def test_a_slide_scored_by_two_methods_has_results_twice(slide: Path, tmp_path: Path) -> None:
    steps = jobs(("predict_slide", "a"), ("predict_slide_compared", "a"), ("stitch_slide", "a"))
    assert forecast(
        sheet(slide, ("a", "test")), config(tmp_path / "r"), steps
    ).most_bytes == 256**2 * (4 + 4)


def test_only_what_is_planned_counts(slide: Path, tmp_path: Path) -> None:
    found = forecast(
        sheet(slide, ("a", "predict"), ("b", "predict")),
        config(tmp_path),
        jobs(("tile_slide", "b"), ("report", "all")),
    )
    assert (found.slides, found.most_bytes) == (1, 256**2 * 4)


def test_a_slide_that_cannot_be_opened_does_not_stop_the_forecast(
    slide: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.tiff"
    torn.write_text("no slide")
    both = Sheet((*sheet(slide, ("a", "predict")).rows, *sheet(torn, ("b", "predict")).rows), ())
    found = forecast(both, config(tmp_path / "r"), jobs(("tile_slide", "a"), ("tile_slide", "b")))
    assert (found.slides, found.unread) == (1, 1)
    assert "1 more not readable yet" in forecast_text(found, 1e12)


def test_a_run_that_cannot_fit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    found = Forecast(slides=300, pixels=300e10, expected_bytes=9e12, most_bytes=2e13, unread=0)
    told = refusal(found, 1e12, config(tmp_path))
    assert told is not None
    assert "1e+03 GB" not in told
    assert "larger disk" in told
    assert refusal(found, 1e13, config(tmp_path)) is None
    assert "max_disk_gb" in str(refusal(found, 1e13, config(tmp_path, max_disk_gb=500)))


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "yet") > 0


def test_a_slide_that_was_cut_is_told_before_the_run_where_it_is_to_be_tiled(
    slide: Path, tmp_path: Path
) -> None:
    slide.write_bytes(slide.read_bytes()[:-1])
    given = sheet(slide, ("a", "predict")), config(tmp_path / "r")
    text = forecast_text(forecast(*given, jobs(("tile_slide_for_once", "a"))), 1e12)
    assert f"WARNING {slide}: the file was cut: 1 of its 4 tiles" in text
    assert "copy it again" in text
    assert forecast(*given, jobs(("predict_slide", "a"))).cut == ()
