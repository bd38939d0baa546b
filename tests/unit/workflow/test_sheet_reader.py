from pathlib import Path

import pytest

from workflow.sheet_reader import read_sheet

HEADER = "slide\tpath\tsplit\tannotation\tmpp\tpatient\n"


def sheet(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    for name in ("a.svs", "b.svs", "a.geojson"):
        (folder / name).touch()
    path = folder / "slides.tsv"
    path.write_text(header + "".join(row + "\n" for row in rows), encoding=encoding)
    return path


def test_six_problems_are_listed_at_once_with_row_and_column(tmp_path: Path) -> None:
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
    problems = "\n".join(read_sheet(path).problems)
    assert "row 3, column path: missing.svs does not exist" in problems
    assert "row 4, column split: 'holdout'" in problems
    assert "'good' occurs more than once" in problems
    assert "row 6, column slide: '../up' is not a valid id" in problems
    assert "row 7, column mpp: 352.8" in problems
    assert "row 8, column annotation: empty, but a test slide needs outlines" in problems
    assert len(read_sheet(path).problems) == 6


def test_cells_stay_text_and_paths_are_relative_to_the_sheet(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = sheet(tmp_path / "sub", "001\ta.svs\tlabelled\ta.geojson\t\tNA", encoding="utf-8-sig")
    row = read_sheet(path)["001"]
    assert row.patient == "NA"
    assert row.path == str(tmp_path / "sub" / "a.svs")
    assert row.mpp is None
    assert read_sheet(path).problems == ()


def test_commas_may_separate_and_further_columns_are_kept(tmp_path: Path) -> None:
    path = sheet(
        tmp_path, "x,a.svs,labelled,a.geojson,site 3", header="slide,path,split,annotation,site\n"
    )
    assert read_sheet(path)["x"].extra == {"site": "site 3"}


def test_demo_files_need_not_exist_yet(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\tdata/demo/demo-a-1.tiff\tlabelled\tdata/demo/demo-a-1.geojson\t\t")
    assert read_sheet(path).problems == ()
    assert read_sheet(path)["x"].path == "data/demo/demo-a-1.tiff"


def test_patient_of_labelled_and_test_slides_is_refused_unless_allowed(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\tP1", "y\tb.svs\ttest\ta.geojson\t\tP1")
    assert "'P1' has labelled slides and validation or test slides" in read_sheet(path).problems[0]
    assert read_sheet(path, allow_patients=("P1",)).problems == ()


def test_skipped_rows_are_left_out_and_may_lack_files(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\t", "y\tgone.svs\tskip\t\t\t")
    assert read_sheet(path).ids() == ["x"]
    assert read_sheet(path).problems == ()


def test_a_sheet_without_labelled_slides_is_valid_for_prediction_only(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tpredict\t\t\t")
    assert "no labelled slide" in read_sheet(path).problems[0]
    assert read_sheet(path, training=False).problems == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("slide\tpath\n", "column split is missing"),
        ("slide\tpath\tsplit\tsplit\n", "column split occurs twice"),
        (HEADER, "no slide to process"),
    ],
)
def test_unusable_sheets_have_a_problem_with_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "slides.tsv"
    path.write_text(text)
    assert message in read_sheet(path).problems[0]


def test_a_binary_file_is_no_sheet(tmp_path: Path) -> None:
    path = tmp_path / "slides.tsv"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in read_sheet(path).problems[0]


def test_one_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\ta.svs\tlabelled\ta.geojson\t\t", "y\t./a.svs\ttest\ta.geojson\t\t")
    assert "is both labelled and test" in read_sheet(path).problems[0]


@pytest.mark.parametrize("name", ["region", "gland_area_um2_q50", "error", "glands"])
def test_columns_of_the_result_tables_are_refused_as_further_columns(
    tmp_path: Path, name: str
) -> None:
    path = sheet(tmp_path, "x\ta.svs\tpredict\t1", header=f"slide\tpath\tsplit\t{name}\n")
    problem = f"column {name} is also a column of the result tables"
    assert problem in read_sheet(path, training=False).problems[0]


def test_empty_columns_at_the_end_are_ignored_and_others_need_a_name(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x,a.svs,predict,,,,", header="slide,path,split,,\n")
    loaded = read_sheet(path, training=False)
    assert (loaded.problems, loaded["x"].extra) == ((), {})
    path = sheet(tmp_path, "x,a.svs,,predict", header="slide,path,,split\n")
    assert read_sheet(path, training=False).problems == (
        f"{path}: column 3 has no name; enter one, or remove the column",
    )


def test_a_job_on_another_machine_does_not_check_the_files_of_other_slides(tmp_path: Path) -> None:
    path = sheet(tmp_path, "x\tgone.svs\tpredict\t\t\t")
    assert len(read_sheet(path, training=False).problems) == 1
    assert read_sheet(path, training=False, check_files=False).problems == ()


def test_slides_without_outlines_are_valid_without_training(tmp_path):
    path = sheet(tmp_path, "x\ta.svs\tlabelled\t\t\t")
    assert "needs outlines" in read_sheet(path).problems[0]
    assert read_sheet(path, training=False).problems == ()


def test_a_missing_sheet_is_named(tmp_path):
    assert "no such file" in read_sheet(tmp_path / "gone.tsv").problems[0]


def test_semicolons_may_separate(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"x")
    (tmp_path / "s.csv").write_text("slide;path;split\nx;a.svs;predict\n")
    assert read_sheet(tmp_path / "s.csv", training=False).ids() == ["x"]


@pytest.mark.parametrize("column", ["path", "annotation", "tissue", "roi"])
@pytest.mark.parametrize("place", ["relative", "absolute", "link into", "link out of"])
def test_a_file_that_the_run_would_write_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = Path("results/proposals/x.geojson"), Path("corrected.geojson")
    inside.parent.mkdir(parents=True)
    written, link = (outside, inside) if place == "link out of" else (inside, outside)
    written.write_text("{}")
    if place.startswith("link"):
        link.symlink_to(tmp_path / written)
    named = {"relative": inside, "absolute": inside.absolute(), "link into": outside}
    cells = {"path": "a.svs", column: str(named.get(place, inside))}
    cells = {"slide": "x", "split": "predict"} | cells
    Path("a.svs").touch()
    Path("s.tsv").write_text("\t".join(cells) + "\n" + "\t".join(cells.values()) + "\n")
    (problem,) = read_sheet(Path("s.tsv"), training=False, results=Path("results")).problems
    assert f"row 2, column {column}: {cells[column]} is in results/proposals" in problem
    assert "this run writes files there; copy it to another folder, or choose" in problem
    assert not read_sheet(Path("s.tsv"), training=False, results=Path("result")).problems


def test_files_beside_what_a_run_writes_may_be_in_the_folder_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    slide = tmp_path / "study" / "scans" / "a.svs"
    slide.parent.mkdir(parents=True)
    slide.touch()
    Path("s.tsv").write_text("slide\tpath\tsplit\na\tstudy/scans/a.svs\tpredict\n")
    for results in ("study", "."):
        assert not read_sheet(Path("s.tsv"), training=False, results=Path(results)).problems
