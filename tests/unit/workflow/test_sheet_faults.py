"""What people type into a sheet: it is read as meant, or refused with the row."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow.sheet import Sheet
from workflow.sheet_reader import read_sheet
from workflow.sheet_text import SheetTextError, read_lines

HEADER = "slide\tpath\tsplit\tannotation\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two slides and outlines."""
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).write_text(f"slide {name}")
    (tmp_path / "a.geojson").touch()
    return tmp_path


def written(folder: Path, text: str | bytes, **options: bool) -> Sheet:
    path = folder / "s.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sheet(path, **{"training": False, **options})


def only_problem(sheet: Sheet) -> str:
    (problem,) = sheet.problems
    return problem


@pytest.mark.parametrize("cell", ['"x', '"x" y', '"', '"x""', '""x', '"x\ty"z'], ids=repr)
def test_a_quote_takes_no_other_rows(folder: Path, cell: str) -> None:
    sheet = written(
        folder, f"slide\tpath\tsplit\tsite\nx\ta.svs\tpredict\t{cell}\ny\tb.svs\tpredict\tn\n"
    )
    assert sheet.ids() == ["y"]
    assert "s.tsv row 2: a cell begins with a quote" in only_problem(sheet)


def test_quoted_cells_are_read(folder: Path) -> None:
    (folder / 'q".svs').touch()
    sheet = written(folder, 'slide,path,split,site\nx,"q"".svs",predict,"North, 1"\n')
    assert sheet.problems == ()
    assert (Path(sheet["x"].path).name, sheet["x"].extra) == ('q".svs', {"site": "North, 1"})


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0", "\x1b"])
def test_separators_and_control_characters_are_named_and_move_no_rows(
    folder: Path, sign: str
) -> None:
    sheet = written(
        folder,
        f"slide\tpath\tsplit\tsite\nx\ta.svs\tpredict\tn{sign}m\ny\tb.svs\tpredict\t\n",
    )
    assert f"row 2, column site: the cell holds the control character U+{ord(sign):04X}" in (
        only_problem(sheet)
    )
    assert sheet["y"].path == str(folder / "b.svs")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_are_numbered_as_in_the_file(folder: Path, end: str) -> None:
    sheet = written(folder, end.join(["", "slide,path,split", "", "x,gone.svs,predict"]))
    assert "row 4, column path: gone.svs does not exist" in only_problem(sheet)


def test_the_separator_line_of_excel_is_read(folder: Path) -> None:
    assert written(folder, "sep=;\nslide;path;split\nx;a.svs;predict\n").ids() == ["x"]


@pytest.mark.parametrize(
    ("written_name", "meant"),
    [
        ("Patient", None), ("MPP", None), ("Annotation", None), ("ROI", None),
        ("annotations", "annotation"), ("anotation", "annotation"), ("patient_id", "patient"),
        ("Patient ID", "patient"), ("patients", "patient"), ("patiant", "patient"),
        ("tisue", "tissue"), ("tissue_mask", "tissue"), ("rio", "roi"), ("mmp", "mpp"),
        ("mpp_um", "mpp"), ("annotate", "annotated"), ("roi file", "roi"), ("mpp_x", "mpp"),
    ],
)  # fmt: skip
def test_optional_columns_are_never_taken_for_further_ones(
    folder: Path, written_name: str, meant: str | None
) -> None:
    sheet = written(folder, f"slide\tpath\tsplit\t{written_name}\nx\ta.svs\tpredict\t\n")
    if meant is None:
        assert sheet.problems == ()
        assert sheet["x"].extra == {}
    else:
        assert f"column {written_name} is not known: did you mean {meant}?" in only_problem(sheet)


@pytest.mark.parametrize("name", ["site", "patient_age", "tissue_type", "row", "stain", "batch"])
def test_further_columns_are_kept_and_named(folder: Path, name: str) -> None:
    sheet = written(folder, f"slide\tpath\tsplit\t{name}\nx\ta.svs\tpredict\t7\n")
    assert sheet.problems == ()
    assert sheet["x"].extra == {name: "7"}
    assert f"only copied to the result tables: {name}" in sheet.remarks[0]


def test_a_column_of_patients_in_capitals_finds_a_leak(folder: Path) -> None:
    text = "Slide\tPath\tSplit\tAnnotation\tPATIENT\n"
    text += "x\ta.svs\tlabelled\ta.geojson\tP1\ny\tb.svs\ttest\ta.geojson\tP1\n"
    assert "'P1' has labelled slides and" in only_problem(written(folder, text, training=True))
    without = text.replace("PATIENT", "site")
    remarks = written(folder, without, training=True).remarks
    assert any("without a column patient" in remark for remark in remarks)


@pytest.mark.parametrize("name", ["=1+1", "+x", "@a", "Region", "ERROR"])
def test_columns_that_would_spoil_the_tables_are_refused(folder: Path, name: str) -> None:
    sheet = written(folder, f"slide\tpath\tsplit\t{name}\nx\ta.svs\tpredict\t\n")
    assert f"column {name}" in only_problem(sheet)


@pytest.mark.parametrize(
    ("split", "meant"),
    [
        ("train", "labelled"), ("Labeled", "labelled"), ("labeled ", "labelled"),
        ("unlabeled", "unlabelled"), ("val", "validation"), ("validaton", "validation"),
        ("predicted", "predict"), ("tset", "test"), ("Testing", "test"), ("ignore", "skip"),
    ],
)  # fmt: skip
def test_other_words_for_splits_are_named(folder: Path, split: str, meant: str) -> None:
    problem = only_problem(written(folder, HEADER + f"x\ta.svs\t{split}\ta.geojson\n"))
    assert "is not one of labelled, unlabelled, validation, test, predict, skip" in problem
    assert problem.endswith(f"(did you mean {meant}?)")


def test_splits_may_be_written_in_capitals(folder: Path) -> None:
    assert written(folder, HEADER + "x\ta.svs\tPREDICT\t\n").ids("predict") == ["x"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{abc}.tif", "contains '{abc}', which Snakemake replaces"),
        ("a {slide}.tif", "contains '{slide}'"),
        ("{ x , [0-9]+}.tif", "which Snakemake replaces"),
        ("{{slide}}.tif", "contains '{slide}'"),
        ("<results>/a.tif", "contains '<results>', which Snakemake replaces"),
        ("~nobody-of-this-name/a.svs", "~nobody-of-this-name is not the home folder of a user"),
        ("x" * 256 + ".svs", "more than 255 bytes"),
        ("é" * 128 + ".svs", "more than 255 bytes"),
        ("y/" * 2100 + "a.svs", "at most 4096 are allowed"),
        ("scans\\a.svs", "write / between folders"),
        ("C:\\scans\\a.svs", "this is a path of Windows"),
        ("D:/scans/a.svs", "this is a path of Windows"),
        ("https://example.org/a.svs", "the address of a server"),
        ("s3://bucket/a.svs", "the address of a server"),
        ("a.svs/x.svs", "does not exist"),
        ("loop", "cannot be read"),
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("column", ["path", "annotation"])
def test_paths_that_cannot_be_files_are_named_with_row_and_column(
    folder: Path, column: str, path: str, message: str
) -> None:
    (folder / "loop").symlink_to("loop")
    for name in ("{abc}.tif", "a {slide}.tif", "a x.tif"):
        (folder / name).touch()
    cells = ["a.svs", "predict", ""] if column != "path" else [path, "predict", ""]
    if column == "annotation":
        cells[2] = path
    problems = written(folder, HEADER + "x\t" + "\t".join(cells) + "\n").problems
    assert f"s.tsv row 2, column {column}: " in problems[0]
    assert message in problems[0]


@pytest.mark.parametrize(
    "name", ["{3F2504E0-4F89-11D3}.svs", "a < b.svs", "100 %.svs", "a;b'c.svs", "{}.svs", "é.svs"]
)
def test_other_signs_in_paths_are_read(folder: Path, name: str) -> None:
    (folder / name).touch()
    sheet = written(folder, HEADER + f"x\t{name}\tpredict\t\n")
    assert sheet.problems == ()
    assert sheet["x"].path == str(folder / name)


def test_skipped_rows_may_have_any_path(folder: Path) -> None:
    sheet = written(folder, HEADER + "y\ta.svs\tpredict\t\nx\t{slide}.svs\tskip\t\n")
    assert sheet.problems == ()


def test_files_of_the_user_below_a_folder_with_the_name_of_the_demo_are_checked(
    folder: Path,
) -> None:
    sheet = written(folder, HEADER + "x\tdata/demo/mine.svs\tpredict\t\n")
    assert "data/demo/mine.svs does not exist" in only_problem(sheet)


@pytest.mark.parametrize("slide", ["x" * 181, "x" * 100_000, "x/y", "", "ü", "..", "-x"])
def test_ids_that_are_no_names_of_files_are_refused(folder: Path, slide: str) -> None:
    problems = written(folder, HEADER + f"{slide}\ta.svs\tpredict\t\n").problems
    assert "row 2, column slide: " in problems[0]
    assert len("".join(problems)) < 2000


@pytest.mark.parametrize("length", [5000, 131_073])
def test_a_very_long_cell_is_named_with_its_row(folder: Path, length: int) -> None:
    text = f"slide\tpath\tsplit\tsite\nx\ta.svs\tpredict\t{'n' * length}\ny\tb.svs\tpredict\t\n"
    sheet = written(folder, text)
    assert "s.tsv row 2" in only_problem(sheet)
    assert "characters" in only_problem(sheet)
    assert "y" in sheet.ids()


@pytest.mark.parametrize("mpp", ["0,25", "nan", "inf", "1_0", "0x1", "-1", "1e400", "0.25 um"])
def test_pixel_sizes_that_are_no_numbers_are_refused(folder: Path, mpp: str) -> None:
    sheet = written(folder, f"slide\tpath\tsplit\tmpp\nx\ta.svs\tpredict\t{mpp}\n")
    assert "row 2, column mpp: " in only_problem(sheet)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "an Excel or OpenDocument workbook"),
        (b"\xd0\xcf\x11\xe0rest", "an old Excel workbook"),
        ("slide\tpath".encode("utf-16"), "text in UTF-16"),
        (b"slide,path,split\nx,a.svs,predict\ny,\xe9.svs,predict\n", "byte 0xe9 in row 3"),
        (b"\n \n", "the file is empty"),
    ],
)
def test_files_that_are_no_text_are_named(folder: Path, content: bytes, message: str) -> None:
    assert message in only_problem(written(folder, content))


def test_a_folder_a_pipe_and_a_huge_file_are_no_sheets(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with (folder / "huge").open("wb") as file:
        file.truncate(65 << 20)
    messages = {".": "is a folder", "pipe": "a pipe or a device", "huge": "too large for a sheet"}
    for name, message in messages.items():
        with pytest.raises(SheetTextError, match=message):
            read_lines(folder / name)


@pytest.mark.parametrize("kind", ["copy", "link", "hard link"])
def test_a_copy_of_a_labelled_slide_is_no_test_slide(folder: Path, kind: str) -> None:
    if kind == "copy":
        (folder / "c.svs").write_bytes((folder / "a.svs").read_bytes())
    elif kind == "link":
        (folder / "c.svs").symlink_to("a.svs")
    else:
        (folder / "c.svs").hardlink_to(folder / "a.svs")
    text = HEADER + "x\ta.svs\tlabelled\ta.geojson\ny\tc.svs\ttest\ta.geojson\n"
    problem = only_problem(written(folder, text, training=True))
    assert "is both labelled and test" in problem or "are copies of one slide" in problem
    other = text.replace("c.svs", "b.svs")
    assert written(folder, other, training=True).problems == ()


def test_files_that_differ_between_their_samples_are_no_copies(folder: Path) -> None:
    content = bytearray(8 << 20)
    (folder / "a.svs").write_bytes(content)
    content[2 << 20] = 1
    (folder / "b.svs").write_bytes(content)
    text = HEADER + "x\ta.svs\tlabelled\ta.geojson\ny\tb.svs\ttest\ta.geojson\n"
    assert written(folder, text, training=True).problems == ()


def test_sixteen_thousand_rows_are_read_in_seconds(folder: Path) -> None:
    splits = ("labelled", "test", "unlabelled", "predict")
    names = {"labelled": "a.svs", "test": "b.svs"}
    rows = [
        f"s{number}\t{names.get(split, 'a.svs')}\t{split}\ta.geojson\n"
        for number, split in enumerate(splits * 4000)
    ]
    start = time.process_time()
    sheet = written(folder, HEADER + "".join(rows), training=True)
    assert len(sheet.evaluated()) == 8000
    assert sheet.problems == ()
    assert time.process_time() - start < 8  # about 1 s; a quadratic search took 21 s


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='"\t,;\n\r\0{}<>~\\/ax=\u2028\ufeff', max_size=120).map(
            lambda text: ("slide\tpath\tsplit\tannotation\tmpp\tsite\n" + text).encode()
        ),
    )
)
def test_any_bytes_give_a_sheet_or_problems(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.tsv"
    path.write_bytes(content)
    sheet = read_sheet(path)
    assert sheet.problems or sheet.rows
