"""A run prints its size before it starts, and a run that does not fit on the disk is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from workflow.reporting.forecast import RunForecast, forecast, forecast_text, free_space, refusal
from workflow.reporting.outcome import PlannedJob
from workflow.sheet import Sheet, SheetRow

SIDE_PX = 512
MPP_UM = 1.0


@pytest.fixture
def slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """512 x 512 px at 0.5 um: 256 x 256 at the working resolution of 1 um."""
    monkeypatch.chdir(tmp_path)  # results of the probes are kept in the working directory
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


def sheet(path: Path, *rows: tuple[str, str]) -> Sheet:
    return Sheet(tuple(SheetRow(slide, str(path), split, "x.geojson") for slide, split in rows))


def jobs(*pairs: tuple[str, str]) -> list[PlannedJob]:
    return [PlannedJob(rule, slide, Path("none")) for rule, slide in pairs]


def test_pixels_and_bytes_are_those_of_the_working_resolution(slide: Path) -> None:
    expected = forecast(
        sheet(slide, ("a", "predict")), MPP_UM, jobs(("tile_slide", "a"), ("predict_slide", "a"))
    )
    assert (expected.slides, expected.pixels, expected.not_made) == (1, 256**2, 0)
    assert expected.max_bytes == 256**2 * (4 + 4)
    assert expected.expected_bytes == pytest.approx(0.4 * expected.max_bytes)


def test_a_slide_scored_by_two_methods_has_maps_twice(slide: Path) -> None:
    planned = jobs(("predict_slide", "a"), ("predict_slide_compared", "a"), ("stitch_slide", "a"))
    expected = forecast(sheet(slide, ("a", "test")), MPP_UM, planned)
    assert expected.max_bytes == 256**2 * (4 + 4)


def test_of_tiles_that_are_removed_only_the_largest_slide_counts(slide: Path) -> None:
    rows = sheet(slide, ("a", "predict"), ("b", "predict"), ("c", "test"))
    names = ("a", "b", "c")
    planned = jobs(*((rule, name) for rule in ("tile_slide", "predict_slide") for name in names))
    expected = forecast(rows, MPP_UM, planned, removed={"a", "b"})
    assert expected.max_bytes == 256**2 * 6 * 4
    assert expected.expected_bytes == pytest.approx(0.4 * 256**2 * 5 * 4)
    ahead = forecast(rows, MPP_UM, planned)  # tiles are removed, but others are made before
    assert ahead.expected_bytes == pytest.approx(0.4 * 256**2 * 6 * 4)


def test_only_planned_jobs_count(slide: Path) -> None:
    expected = forecast(
        sheet(slide, ("a", "predict"), ("b", "predict")),
        MPP_UM,
        jobs(("tile_slide", "b"), ("report", "all")),
    )
    assert (expected.slides, expected.max_bytes) == (1, 256**2 * 4)


def test_a_slide_that_cannot_be_opened_does_not_stop_the_forecast(
    slide: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tiff"
    broken.write_text("no slide")
    both = Sheet((*sheet(slide, ("a", "predict")).rows, *sheet(broken, ("b", "predict")).rows))
    expected = forecast(both, MPP_UM, jobs(("tile_slide", "a"), ("tile_slide", "b")))
    assert (expected.slides, expected.not_made, expected.unusable) == (1, 0, 1)
    assert "1 more cannot be used" in forecast_text(expected, 1e12)


def test_a_run_that_does_not_fit_is_refused_with_advice() -> None:
    expected = RunForecast(
        slides=300, pixels=300e10, expected_bytes=9e12, max_bytes=2e13, not_made=0
    )
    message = refusal(expected, 1e12, max_disk_gb=None)
    assert message is not None
    assert "1e+03 GB" not in message
    assert "larger disk" in message
    assert refusal(expected, 1e13, max_disk_gb=None) is None
    assert "max_disk_gb" in str(refusal(expected, 1e13, max_disk_gb=500))


def test_the_advice_can_be_followed() -> None:
    """With a given model the resolution is that of the model; a single slide is one at a time."""
    expected = RunForecast(1, 1e10, expected_bytes=9e12, max_bytes=2e13, not_made=0)
    message = refusal(expected, 1e12, max_disk_gb=None, resolution_is_free=False)
    assert str(message).endswith("does not fit in 1000 GB: choose `results` on a larger disk")
    message = refusal(expected, 1e12, max_disk_gb=500, resolution_is_free=False)
    assert str(message).endswith("does not fit in 500 GB (max_disk_gb): set a larger limit")


def test_the_time_is_promised_only_if_slides_are_to_be_tiled(slide: Path) -> None:
    rows = sheet(slide, ("a", "predict"))
    for rule, is_promised in (("tile_slide", True), ("predict_slide", False)):
        text = forecast_text(forecast(rows, MPP_UM, jobs((rule, "a"))), 1e12)
        assert ("preview.html will show the expected time" in text) == is_promised


def test_free_space_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert free_space(tmp_path / "not" / "yet") > 0


def test_a_truncated_slide_is_reported_before_the_run_if_it_is_to_be_tiled(slide: Path) -> None:
    slide.write_bytes(slide.read_bytes()[:-1])
    rows = sheet(slide, ("a", "predict"))
    text = forecast_text(forecast(rows, MPP_UM, jobs(("tile_slide", "a"))), 1e12)
    assert f"WARNING {slide}: the file is truncated: 1 of its 4 tiles" in text
    assert "copy it again" in text
    assert forecast(rows, MPP_UM, jobs(("predict_slide", "a"))).problems == ()
