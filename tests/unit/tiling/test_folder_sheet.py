import csv
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tiling.slide_errors import SlideError
from tiling.slides.folder_sheet import FolderRow, sheet_from_folder, sheet_text, unique_ids
from workflow.sheet import ID_PATTERN
from workflow.sheet_reader import read_sheet


def write_slide(path, mpp=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    resolution = (
        {}
        if mpp is None
        else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    )
    image = np.full((64, 64, 3), 200, np.uint8)
    image[:32] = 100
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", **resolution)


def test_nested_slides_get_safe_unique_ids_and_keep_their_names(tmp_path):
    for name in ("a/case 1.tiff", "b/Case 1.tiff", "b/µ-slide.tif", "c.ome.tif"):
        write_slide(tmp_path / name)
    rows = {row.name: row for row in sheet_from_folder(tmp_path).rows}
    assert {name: row.slide for name, row in rows.items()} == {
        "a/case 1.tiff": "a_case_1",
        "b/Case 1.tiff": "b_Case_1",
        "b/µ-slide.tif": "slide",
        "c.ome.tif": "c",
    }
    assert all((row.split, row.mpp, row.check) == ("predict", "", "") for row in rows.values())


def test_doubtful_slides_are_marked_and_unreadable_ones_skipped(tmp_path):
    write_slide(tmp_path / "no_size.tiff", mpp=None)
    write_slide(tmp_path / "absurd.tiff", mpp=352.0)
    (tmp_path / "broken.svs").write_bytes(b"nothing")
    (tmp_path / "masks").mkdir()
    PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
        tmp_path / "masks" / "x_mask.png", dpi=(50800, 50800)
    )
    rows = {row.slide: row for row in sheet_from_folder(tmp_path).rows}
    assert "no pixel size" in rows["no_size"].check
    assert "outside 0.06..20" in rows["absurd"].check
    assert (rows["broken"].split, rows["no_size"].split) == ("skip", "predict")
    assert "cannot be read" in rows["broken"].check
    assert "looks like a mask" in rows["x_mask"].check


def test_companion_files_and_stores_are_not_slides(tmp_path):
    for name in (
        "m.mrxs",
        "m/Data0001.tif",
        "v/s.vms",
        "v/s.jpg",
        "t.zarr/x.png",
        ".hidden/x.png",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [row.name for row in sheet_from_folder(tmp_path).rows] == [
        "m.mrxs",
        "v/s.vms",
    ]


def test_a_truncated_file_is_skipped_and_its_row_states_why(tmp_path):
    write_slide(tmp_path / "truncated.tiff")
    data = (tmp_path / "truncated.tiff").read_bytes()
    (tmp_path / "truncated.tiff").write_bytes(data[:-1])
    (row,) = sheet_from_folder(tmp_path).rows
    assert row.split == "skip"
    assert row.check.startswith("the file is truncated: 1 of its 1 tiles")


@pytest.mark.parametrize("run_file", ["logs/tile_slide/s.log", "qupath/import_all.groovy"])
def test_results_of_an_earlier_run_are_not_slides(tmp_path, run_file):
    write_slide(tmp_path / "s.tiff")
    for name in (run_file, "glands/s.ome.tiff", "overviews/s.png", "overviews/t.png"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(b"x")
    rows, left_out = sheet_from_folder(tmp_path)
    assert [row.name for row in rows] == ["s.tiff"]
    assert left_out == [f"{tmp_path / 'out'}: results of an earlier run"]
    with pytest.raises(SlideError, match="results of an earlier run"):
        sheet_from_folder(tmp_path / "out")


def test_small_images_are_thumbnails_beside_slides_and_slides_elsewhere(tmp_path):
    write_slide(tmp_path / "a" / "s.tiff")
    for name, size in (
        ("a/s.png", (2048, 100)),
        ("a/t.jpg", (90, 80)),
        ("a/large.png", (2049, 100)),
        ("b/s.png", (90, 80)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "a" / "unreadable.png").write_bytes(b"x")
    rows, left_out = sheet_from_folder(tmp_path)
    assert [row.name for row in rows] == ["a/large.png", "a/s.tiff", "a/unreadable.png", "b/s.png"]
    assert left_out == [
        f"{tmp_path / 'a'}: 2 images of at most 2048 px beside slides, "
        "taken for thumbnails (s.png, t.jpg)"
    ]


def test_the_pipeline_accepts_the_sheet(tmp_path):
    write_slide(tmp_path / "slides" / "one.tiff")
    write_slide(tmp_path / "slides" / "no size here.tiff", mpp=None)
    (tmp_path / "runs").mkdir()
    sheet = tmp_path / "runs" / "slides.tsv"
    sheet.write_text(sheet_text(sheet_from_folder(tmp_path / "slides").rows, sheet.parent))
    loaded = read_sheet(sheet, training=False)
    assert loaded.problems == ()
    assert sorted(loaded.ids("predict")) == ["no_size_here", "one"]
    assert Path(loaded["one"].path).resolve() == (tmp_path / "slides" / "one.tiff").resolve()
    table = list(csv.DictReader(io.StringIO(sheet.read_text()), delimiter="\t"))
    assert {row["name"] for row in table} == {"one.tiff", "no size here.tiff"}
    (tmp_path / "slides" / "one.tiff").rename(tmp_path / "slides" / "a\tb.tiff")
    rows, left_out = sheet_from_folder(tmp_path / "slides")
    assert [row.slide for row in rows] == ["no_size_here"]
    assert "control character" in left_out[0]


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(SlideError, match="no such folder"):
        sheet_from_folder(tmp_path / "nowhere")
    with pytest.raises(SlideError, match="no slide in it"):
        sheet_from_folder(tmp_path)


names = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b b", "Ä"]),
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
            min_size=1,
            max_size=12,
        ),
    )
)


@given(names)
def test_ids_are_safe_and_unique_ignoring_case(parts):
    import re

    ids = unique_ids([Path(folder, f"{name}.svs") for folder, name in parts])
    assert len(ids) == len(parts)
    assert len({slide.lower() for slide in ids}) == len(ids)
    assert all(re.fullmatch(ID_PATTERN, slide) for slide in ids)


def test_names_that_begin_like_formulas_are_paths(tmp_path: Path) -> None:
    row = FolderRow("x", tmp_path / "=cmd.svs", "predict", "", "=cmd.svs", "")
    cells = sheet_text([row], tmp_path).splitlines()[1].split("\t")
    assert [cell for cell in cells if "cmd" in cell] == ["./=cmd.svs", "./=cmd.svs"]


def test_a_file_that_must_not_be_read_does_not_end_the_command(tmp_path, monkeypatch):
    write_slide(tmp_path / "a.tiff")
    (tmp_path / "notes.txt").write_text("private")

    def refuse(path):  # tests may run as root, which may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tiling.slides.folder_sheet.series_uid", refuse)
    assert [row.name for row in sheet_from_folder(tmp_path).rows] == ["a.tiff"]
