"""Slides are probed when a run is planned: those that cannot be used are named, and no more."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from workflow.reporting.forecast import forecast, forecast_text
from workflow.reporting.outcome import PlannedJob
from workflow.run_inputs import read_run_inputs
from workflow.sheet import SheetRow
from workflow.sheet_probes import CACHE, probe_report, probe_rows

LOOP = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 256, 4, 1, 100, 8)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SheetRow]:
    """A usable slide, one whose directories form a loop, and one that is missing."""
    monkeypatch.chdir(tmp_path)
    pixels = np.full((64, 64, 3), 200, np.uint8)
    options = {"resolution": (20000, 20000), "resolutionunit": 3}
    tifffile.imwrite("a.tiff", pixels, tile=(64, 64), photometric="rgb", **options)
    Path("b.tiff").write_bytes(LOOP)
    return [SheetRow(name, f"{name}.tiff", "predict") for name in "abc"]


def test_unusable_slides_are_named_and_missing_ones_left_to_the_sheet(rows: list[SheetRow]) -> None:
    probes = probe_rows(rows, 1.0)
    assert sorted(probes) == ["a", "b"]
    assert probes["a"].geometry is not None
    assert probes["a"].geometry.width_px == 32
    report = probe_report(rows[:2], probes)
    (line,) = report.lines
    assert report.explained == {"b"}
    assert line.startswith("WARNING slide b cannot be used, the run leaves it out: b.tiff: ")
    assert "form a loop" in line


def test_what_is_known_is_not_looked_at_again_until_the_file_changes(rows: list[SheetRow]) -> None:
    first = probe_rows(rows, 1.0)
    assert probe_rows(rows, 1.0, budget_s=-1.0) == first
    assert probe_rows(rows, 2.0, budget_s=-1.0) == {}  # another resolution
    Path("b.tiff").write_bytes(Path("a.tiff").read_bytes())
    assert probe_rows(rows, 1.0)["b"].geometry == first["a"].geometry


def test_a_slide_of_several_files_is_looked_at_again(rows: list[SheetRow]) -> None:
    """The state of the named file does not show that the other files were completed."""
    Path("d.mrxs").write_bytes(b"\xff\xd8 index without its folder")
    several = [SheetRow("d", "d.mrxs", "predict")]
    assert probe_rows(several, 1.0)["d"].problem
    assert probe_rows([*several, rows[1]], 1.0, budget_s=-1.0) == {}
    probe_rows(rows[1:2], 1.0)
    assert sorted(probe_rows([*several, rows[1]], 1.0, budget_s=-1.0)) == ["b"]


def test_an_error_of_the_disk_is_named_and_looked_at_again(
    rows: list[SheetRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("tiling.slides.child_probe.check_is_file", failing)
        (line,) = probe_report(rows[:1], probe_rows(rows[:1], 1.0)).lines
    assert line.startswith("WARNING slide a could not be opened, its job tries again: [Errno 5]")
    assert not probe_rows(rows[:1], 1.0)["a"].problem


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "entries": {"x": 1}}'])
def test_a_damaged_record_is_ignored(rows: list[SheetRow], content: str) -> None:
    CACHE.parent.mkdir()
    CACHE.write_text(content)
    assert sorted(probe_rows(rows[:1], 1.0)) == ["a"]


def test_records_of_another_version_are_ignored(rows: list[SheetRow]) -> None:
    probe_rows(rows[:1], 1.0)
    record = json.loads(CACHE.read_text())
    for entry in record["entries"].values():
        entry["check"]["added"] = 1
    CACHE.write_text(json.dumps(record))
    assert probe_rows(rows[:1], 1.0)["a"].geometry is not None


def test_slides_for_which_the_time_is_too_short_are_counted(rows: list[SheetRow]) -> None:
    report = probe_report(rows[:2], probe_rows(rows, 1.0, budget_s=-1.0))
    assert report.lines == ["not opened yet: 2 slides; the run does it when it starts"]


def test_a_dry_run_names_a_hostile_slide_and_goes_on(rows: list[SheetRow]) -> None:
    Path("s.tsv").write_text(
        "slide\tpath\tsplit\n" + "".join(f"{r.slide}\t{r.path}\tpredict\n" for r in rows[:2])
    )
    model = str(Path(__file__).parents[3] / "models" / "glas")
    values = {"slides": "s.tsv", "model": model}
    inputs = read_run_inputs(values, ("-n", "--", "preview"), is_main_process=True)
    assert inputs.problems == ()
    (warning,) = (line for line in inputs.remarks if "cannot be used" in line)
    assert "slide b" in warning
    assert "form a loop" in warning


def test_a_preview_names_an_unusable_slide_at_its_start_and_the_reason_once_at_its_end(
    rows: list[SheetRow],
) -> None:
    Path("s.tsv").write_text("slide\tpath\tsplit\nb\tb.tiff\tpredict\n")
    values = {"slides": "s.tsv", "model": str(Path(__file__).parents[3] / "models" / "glas")}
    inputs = read_run_inputs(values, ("--cores", "2", "preview"), is_main_process=True)
    assert [line for line in inputs.remarks if "WARNING" in line] == [
        "WARNING 1 slide cannot be used (b); the preview lists the reasons at its end"
    ]
    jobs = [PlannedJob("tile_slide", "b", Path("b.log"))]
    assert len(forecast(inputs.sheet, 1.0, jobs).problems) == 1
    expected = forecast(inputs.sheet, 1.0, jobs, explained=inputs.explained)
    text = forecast_text(expected, 1e12)
    assert "0 slides (1 more cannot be used)" in text
    assert "loop" not in text
