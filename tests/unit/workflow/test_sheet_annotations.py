"""Annotation files are checked when a run is planned, once for each content."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling.child_process import ChildProcess
from tiling.qupath.file_check import check_file
from tiling.qupath.mask_check import LargeMaskChecks
from workflow.config.checks import read_configuration
from workflow.run_inputs import read_run_inputs
from workflow.sheet import Sheet, SheetRow
from workflow.sheet_annotations import CheckedAnnotations, check_annotations
from workflow.sheet_reader import read_sheet


def square(side: float, kind: str | None, **properties: Any) -> dict[str, Any]:
    ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
    named = {} if kind is None else {"classification": {"name": kind}}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", **named, **properties},
    }


REGION, GLAND = square(90, "Region*"), square(20, "Gland")


def write(folder: Path, *features: Any, name: str = "a.geojson") -> Path:
    path = folder / name
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def row(annotation: Path, slide: str = "a", split: str = "labelled", **more: Any) -> SheetRow:
    return SheetRow(slide, f"{slide}.svs", split, str(annotation), **more)


def checked(*rows: SheetRow, preview: bool = False, **values: Any) -> CheckedAnnotations:
    cache = Path(rows[0].annotation or "").parent / "cache" / "checks.json"
    configuration = read_configuration(values)
    return check_annotations(Sheet(rows), configuration, preview=preview, cache=cache)


def test_the_content_of_an_annotation_decides_what_it_is_not_its_suffix(tmp_path: Path) -> None:
    write(tmp_path, REGION, GLAND, name="outlines.png")
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "mask.geojson", format="png")
    sheet = tmp_path / "s.csv"
    rows = "o,o.svs,labelled,outlines.png\nm,m.svs,labelled,mask.geojson\n"
    sheet.write_text(f"slide,path,split,annotation\n{rows}")
    checks = checked(*read_sheet(sheet, check_files=False).rows).checks
    assert checks["o"].text == "1 region, 1 gland"
    assert checks["m"].text == "mask image of the whole slide"


@pytest.mark.parametrize(
    ("features", "messages"),
    [
        ([REGION, square(20, "gland")], ["no annotation of class 'Gland'", "mean 'Gland'?"]),
        ([REGION, square(20, "Glands")], ["no annotation of class 'Gland'", "mean 'Gland'?"]),
        ([REGION, square(20, "Tumor")], ["if 'Tumor' is the class of the glands", "gland_class"]),
        ([REGION, square(20, None)], ["1 annotation without class"]),
        ([square(90, "Region"), GLAND], ["no area of class 'Region*'", "mean 'Region*'?"]),
        ([square(90, "region *"), GLAND], ["no area of class 'Region*'", "mean 'Region*'?"]),
        ([GLAND], ["no area of class 'Region*'", "column 'annotated' to whole"]),
        ([], ["no area of class 'Region*'"]),
        (
            [REGION, square(20, "Gland", objectType="detection")],
            ["1 detection of class 'Gland' (only annotations are read)"],
        ),
        ([square(90, "Region*: empty"), REGION], ["no outline of a gland in (#2)"]),
    ],
)
def test_files_without_usable_outlines_stop_the_run(
    tmp_path: Path, features: list[Any], messages: list[str]
) -> None:
    path = write(tmp_path, *features)
    (problem,) = checked(row(path)).problems
    assert problem.startswith(f"slide a, column annotation: {path}: ")
    assert "set `annotations.unusable` to leave_out" in problem
    for message in messages:
        assert message in problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.geojson", b"<xml/>", "XML, not GeoJSON"),
        ("a.geojson", b"slide;x;y", ""),
        ("a.geojson", b"", "empty"),
        ("a.svs", b"II*\x00" + bytes(100), ""),
        ("a.png", b"no image", "cannot be read as a mask image"),
    ],
)
def test_files_of_another_type_stop_the_run(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (problem,) = checked(row(tmp_path / name)).problems
    assert message in problem


STAR = [[10, 50], [80, 50], [20, 90], [45, 10], [70, 90], [10, 50]]
CROSSED = {**GLAND, "id": "b0", "geometry": {"type": "Polygon", "coordinates": [STAR]}}
HUGE = {**GLAND, "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1e12, 0], [1, 9]]]}}


@pytest.mark.parametrize(
    ("features", "annotated", "message"),
    [
        (
            [REGION, CROSSED],
            "regions",
            "left out: 1 outlines of unclear area: feature #2 'b0' crosses itself",
        ),
        ([CROSSED], "whole", "feature #1 'b0' crosses itself"),
        (
            [{**CROSSED, "properties": REGION["properties"]}, GLAND],
            "regions",
            "feature #1 'b0' crosses itself",
        ),
        ([REGION, GLAND, HUGE], "regions", "feature #3: coordinate (1000000000000.0, 0)"),
    ],
)
def test_outlines_that_the_job_would_refuse_stop_the_run(
    tmp_path: Path, features: list[Any], annotated: Any, message: str
) -> None:
    path = write(tmp_path, *features)
    (problem,) = checked(row(path, annotated=annotated)).problems
    assert message in problem


def test_outlines_that_the_job_would_leave_out_are_warnings(tmp_path: Path) -> None:
    result = checked(row(write(tmp_path, REGION, CROSSED, GLAND, square(21, "Gland"))))
    assert not result.problems
    star, overlap = result.warnings
    assert "feature #2 'b0': crosses itself" in star
    assert "1 pairs of glands overlap, by up to 400 px" in overlap
    many = [square(30 + i, "Gland") for i in range(3)]
    stars = [{**CROSSED, "id": str(i)} for i in range(4)]
    last = checked(row(write(tmp_path, REGION, *many, *stars))).warnings[-1]
    assert last.endswith("... and 2 more messages")


def glands_mask(side: int) -> np.ndarray:
    """25 glands with numbers of their own."""
    pixels = np.zeros((side, side), np.uint8)
    step = side // 5
    for number in range(25):
        y, x = number // 5 * step, number % 5 * step
        pixels[y + 5 : y + step - 5, x + 5 : x + step - 5] = number + 1
    return pixels


def masks(side: int) -> dict[str, tuple[np.ndarray, str]]:
    glands = glands_mask(side)
    binary = Image.fromarray((glands > 0).astype(np.uint8) * 255)
    buffer = io.BytesIO()
    Image.fromarray(glands * 10).save(buffer, "JPEG", quality=70)
    return {
        "right": (glands, ""),
        "right, of one number": (np.asarray(binary), ""),
        "classes": (np.where(glands, glands % 3 + 1, 0).astype(np.uint8), "a mask of classes"),
        "resampled": (np.asarray(binary.resize((side + 61,) * 2)), "resized or saved with losses"),
        "JPEG": (np.asarray(Image.open(buffer)), "resized or saved with losses"),
    }


def write_mask(path: Path, pixels: np.ndarray) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, tile=(128, 128), compression="zlib")
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(("ending", "side"), [("png", 250), ("tif", 250), ("png", 1100)])
def test_masks_that_are_none_of_glands_stop_the_run(tmp_path: Path, ending: str, side: int) -> None:
    """Large masks are checked in one child process."""
    examples = masks(side)
    rows = [
        row(write_mask(tmp_path / f"{number}.{ending}", pixels), str(number), annotated="whole")
        for number, (pixels, _) in enumerate(examples.values())
    ]
    problems = checked(*rows).problems
    wrong = [(number, each[1]) for number, each in enumerate(examples.values()) if each[1]]
    assert len(problems) == len(wrong) == 3
    for problem, (number, message) in zip(problems, wrong, strict=True):
        assert problem.startswith(f"slide {number},")
        assert problem.count(f"{number}.{ending}: ") == 1
        assert message in problem


def test_classes_in_a_large_tiff_mask_stop_the_run_and_a_damaged_one_too(tmp_path: Path) -> None:
    """Some windows show neither: classes have no pieces there, and the damage is between them."""
    examples = masks(1100)
    classes, message = examples["classes"]
    rows = [row(write_mask(tmp_path / "a.tif", classes), "a", annotated="whole")]
    path = write_mask(tmp_path / "b.tif", examples["right"][0])
    rows.append(row(path, "b", annotated="whole"))
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        start, size = page.dataoffsets[21], page.databytecounts[21]  # rows 256 to 383
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    problem_of_classes, damage = checked(*rows).problems
    assert message in problem_of_classes
    assert "b.tif: damaged near row" in damage


def test_a_mask_for_which_the_time_does_not_suffice_is_left_to_the_job(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "a.png", masks(1100)["classes"][0])
    for limit_s, budget_s, may_be_repeated in ((1e-6, 30.0, False), (15.0, 0.0, True)):
        with LargeMaskChecks(limit_s, budget_s) as large_masks:
            check = check_file(path, annotated="whole", large_masks=large_masks)
        assert check.problem is None
        assert "all its pixels are checked when its labels are made" in check.text
        assert check.may_be_repeated == may_be_repeated
    assert "when its labels are made" in check_file(path, annotated="whole").text


@pytest.mark.parametrize(("end", "is_wrong"), [("SIGKILL", False), ("SIGSEGV", True)])
def test_a_mask_whose_check_is_killed_from_outside_is_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, is_wrong: bool
) -> None:
    path = write_mask(tmp_path / "a.png", masks(1100)["right"][0])
    (tmp_path / "ending.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{end})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LargeMaskChecks() as large_masks:
        monkeypatch.setattr(large_masks, "_child", ChildProcess("ending"))
        check = check_file(path, annotated="whole", large_masks=large_masks)
    assert check.may_be_repeated == (not is_wrong)
    assert ("ends the process" in (check.problem or "")) == is_wrong


def test_a_picture_is_no_mask(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (200, 100, 0)).save(tmp_path / "a.png")
    (problem,) = checked(row(tmp_path / "a.png")).problems
    assert "different channels is not an instance mask" in problem
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(tmp_path / "b.png")
    assert not checked(row(tmp_path / "b.png")).problems


def test_every_slide_has_a_line_with_what_is_used_and_left_out(tmp_path: Path) -> None:
    first = write(tmp_path, REGION, GLAND, square(10, "gland"), square(5, "Ignore*"))
    second = write(tmp_path, GLAND, square(10, "Gland: a"), name="b.geojson")
    result = checked(row(first), row(second, "b-2", "unlabelled", annotated="whole"))
    assert result.lines() == [
        "Annotations:",
        "  a    1 region, 1 gland, 1 Ignore*; left out: 1 annotation of class 'gland' "
        "(did you mean 'Gland'?)",
        "  b-2  whole slide, 2 glands",
        f"WARNING slide b-2, column annotation: {second}: 1 pairs of glands overlap, by up to "
        "100 px; the shared pixels belong to the smaller one",
    ]
    assert not result.problems


def test_the_line_of_a_slide_says_how_many_of_its_glands_are_left_out(tmp_path: Path) -> None:
    result = checked(row(write(tmp_path, REGION, GLAND, CROSSED)))
    assert result.lines()[1] == "  a  1 region, 2 glands (1 left out)"


@pytest.mark.parametrize("split", ["labelled", "validation", "test"])
@pytest.mark.parametrize("how", ["leave_out", "preview"])
def test_the_configuration_and_the_preview_go_on_with_a_warning(
    tmp_path: Path, split: str, how: str
) -> None:
    rows = [row(write(tmp_path, GLAND), split=split)]
    assert len(checked(*rows).problems) == 1
    unusable = "leave_out" if how == "leave_out" else "stop"
    result = checked(*rows, preview=how == "preview", annotations={"unusable": unusable})
    assert not result.problems
    assert result.lines()[-1].startswith("WARNING slide a, column annotation")


@pytest.mark.parametrize("split", ["unlabelled", "predict"])
def test_outlines_that_nothing_is_trained_on_never_stop_a_run(tmp_path: Path, split: str) -> None:
    result = checked(row(write(tmp_path, GLAND), split=split))
    assert (len(result.problems), len(result.warnings)) == (0, 1)


def test_outlines_of_another_slide_are_named(tmp_path: Path) -> None:
    a, b = write(tmp_path, REGION, GLAND), write(tmp_path, REGION, GLAND, name="b.geojson")
    same, name = checked(row(b, "a"), row(a, "c"), row(a, "b")).warnings[:2]
    assert same.startswith("slides a, c, b have the same outlines")
    assert name.endswith("b.geojson has the name of slide b")


def test_an_unchanged_file_is_not_read_again_and_an_older_one_is(tmp_path: Path) -> None:
    path, cache = write(tmp_path, REGION, GLAND), tmp_path / "cache" / "checks.json"
    checked(row(path))
    marked = cache.read_text().replace("1 region, 1 gland", "text of the cache")
    cache.write_text(marked)
    assert "text of the cache" in checked(row(path)).lines()[1]

    stat, older = path.stat(), write(tmp_path, REGION, square(21, "Gland"), name="other.geojson")
    assert older.stat().st_size == stat.st_size
    os.utime(older, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    older.replace(path)
    assert "text of the cache" not in checked(row(path)).lines()[1]


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "entries": {"a": 1}}'])
def test_a_damaged_cache_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "checks.json").write_text(content)
    assert len(checked(row(write(tmp_path, REGION, GLAND))).lines()) == 2


def test_the_processes_of_jobs_check_no_annotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GLAND)
    (tmp_path / "a.svs").touch()
    Path("s.tsv").write_text("slide\tpath\tsplit\tannotation\na\ta.svs\tlabelled\ta.geojson\n")
    planning, job = (
        read_run_inputs({"slides": "s.tsv"}, ["-n"], is_main_process=is_main)
        for is_main in (True, False)
    )
    assert len(planning.problems) == 1
    assert "Annotations:" in planning.remarks
    assert (job.problems, job.remarks) == ((), ())
