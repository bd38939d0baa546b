from pathlib import Path

import pytest

from workflow.sheet import load

HEADER = "slide\tpath\tsplit\tannotation\tmpp\tpatient\n"


def sheet(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    for name in ("a.svs", "b.svs", "a.geojson"):
        (folder / name).touch()
    path = folder / "slides.tsv"
    path.write_text(header + "".join(row + "\n" for row in rows), encoding=encoding)
    return path


def test_six_faults_are_listed_at_once_with_row_and_column(tmp_path: Path) -> None:
    path = sheet(
        tmp_path,
        "good\ta.svs\tlabelled\ta.geojson\t\t",
        "gone\tmissing.svs\tpredict\t\t\t",
        "odd\tb.svs\tholdout\t\t\t",
        "GOOD\tb.svs\tpredict\t\t\t",
        "../up\tb.svs\tpredict\t\t\t",
        "scale\tb.svs\tpredict\t\t352.8\t",
        "bare\tb.svs\ttest\t\t\t",
    )
    problems = "\n".join(load(path).problems)
    assert "row 3, column path: missing.svs does not exist" in problems
    assert "row 4, column split: 'holdout'" in problems
    assert "'good' stands more than once" in problems
    assert "row 6, column slide: '../up' is not an id" in problems
    assert "row 7, column mpp: 352.8" in problems
    assert "row 8, column annotation: empty, but a test slide needs outlines" in problems
    assert len(load(path).problems) == 6


def test_cells_stay_text_and_paths_are_relative_to_the_sheet(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = sheet(tmp_path / "sub", "001\ta.svs\tlabelled\ta.geojson\t\tNA", encoding="utf-8-sig")
    row = load(path)["001"]
    assert row.patient == "NA"
    assert row.path == str(tmp_path / "sub" / "a.svs")
    assert row.mpp is None
    assert load(path).problems == ()


def test_commas_serve_as_well_as_tabs_and_other_columns_are_kept(tmp_path: Path) -> None:
    path = sheet(
        tmp_path, "x,a.svs,labelled,a.geojson,site 3", header="slide,path,split,annotation,site\n"
    )
    assert load(path)["x"].extra == {"site": "site 3"}


def test_mask_image_implies_whole(tmp_path: Path) -> None:
    (tmp_path / "m.png").touch()
    assert load(sheet(tmp_path, "x\ta.svs\tlabelled\tm.png\t\t"))["x"].annotated == "whole"


def test_demo_files_need_not_exist_yet(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\tdata/demo/x.tiff\tlabelled\tdata/demo/x.geojson\t\t")
    assert load(path).problems == ()
    assert load(path)["x"].path == "data/demo/x.tiff"


def test_patient_on_both_sides_is_refused_unless_named(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\tP1", "y\tb.svs\ttest\ta.geojson\t\tP1")
    assert "'P1' is both labelled and held out" in load(path).problems[0]
    assert load(path, allow_patients=("P1",)).problems == ()


def test_skipped_rows_are_left_out_and_may_lack_files(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\t", "y\tgone.svs\tskip\t\t\t")
    assert load(path).ids() == ["x"]
    assert load(path).problems == ()


def test_a_sheet_without_labelled_slides_serves_prediction_only(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tpredict\t\t\t")
    assert "no labelled slide" in load(path).problems[0]
    assert load(path, training=False).problems == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("slide\tpath\n", "column split is missing"),
        ("slide\tpath\tsplit\tsplit\n", "column split stands twice"),
        (HEADER, "no slide to work on"),
    ],
)
def test_unusable_sheets_say_why(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "slides.tsv"
    path.write_text(text)
    assert told in load(path).problems[0]


def test_a_binary_file_is_no_sheet(tmp_path: Path) -> None:
    path = tmp_path / "slides.tsv"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in load(path).problems[0]


def test_one_file_on_two_sides_is_refused(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\t", "y\t./a.svs\ttest\ta.geojson\t\t")
    assert "is both labelled and test" in load(path).problems[0]


def test_names_of_the_result_tables_are_refused_as_columns(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tpredict\tcolon", header="slide\tpath\tsplit\tregion\n")
    assert "column region is a name of the result tables" in load(path).problems[0]


@pytest.mark.parametrize("name", ["gland_area_um2_q50", "error", "glands"])
def test_a_column_of_the_result_tables_is_not_overwritten_in_silence(
    tmp_path: Path, name: str
) -> None:
    path = sheet(tmp_path, "x\ta.svs\tpredict\t1", header=f"slide\tpath\tsplit\t{name}\n")
    assert f"column {name} is a name of the result tables" in load(path, training=False).problems[0]


def test_the_result_tables_have_no_other_columns_than_the_reserved(tmp_path: Path) -> None:
    """Whatever summarise writes beside the sheet's own columns is refused as a column of a sheet."""
    from workflow.sheet import COLUMNS, RESERVED
    from workflow.stages.scores import summarise

    (tmp_path / "x.json").write_text('{"tissue_mm2": 1.0}')
    (tmp_path / "x.csv").write_text("id,area_um2\na,100\n")
    passed = load(sheet(tmp_path, "x\ta.svs\tpredict\t\t\t"), training=False).passed_through()
    summarise(
        [],
        [str(tmp_path / "x.csv")],
        [str(tmp_path / "x.json")],
        passed,
        tmp_path / "metrics.csv",
        tmp_path / "cohort.csv",
    )
    written = (tmp_path / "cohort.csv").read_text().splitlines()[0].split(",")
    assert set(written) <= {*RESERVED, *COLUMNS}


def test_empty_columns_at_the_end_are_a_spreadsheets_and_others_need_a_name(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x,a.svs,predict,,,,", header="slide,path,split,,\n")
    loaded = load(path, training=False)
    assert (loaded.problems, loaded["x"].extra) == ((), {})
    path = sheet(tmp_path, "x,a.svs,,predict", header="slide,path,,split\n")
    assert load(path, training=False).problems == (f"{path}: column 3 has no name",)


def test_a_job_elsewhere_does_not_look_for_the_other_slides(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\tgone.svs\tpredict\t\t\t")
    assert len(load(path, training=False).problems) == 1
    assert load(path, training=False, look_for_files=False).problems == ()


def test_slides_without_outlines_yet_can_be_looked_at(tmp_path):
    path = sheet(tmp_path, "x\ta.svs\tlabelled\t\t\t")
    assert "needs outlines" in load(path).problems[0]
    assert load(path, training=False).problems == ()


def test_a_missing_sheet_and_semicolons(tmp_path):
    assert "no such file" in load(tmp_path / "gone.tsv").problems[0]
    (tmp_path / "a.svs").write_bytes(b"x")
    (tmp_path / "s.csv").write_text("slide;path;split\nx;a.svs;predict\n")
    assert [row.slide for row in load(tmp_path / "s.csv", training=False).rows] == ["x"]
