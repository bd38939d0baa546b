"""The result tables, on files with answers computed by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tiling.pictures.slide_summary import SlideSummary, read_slide_summary
from tiling.raster.earlier_results import ResultError
from workflow.reporting.pooled_scores import pooled_scores
from workflow.sheet import RESERVED_COLUMNS, SHEET_COLUMNS
from workflow.stages.evaluate_slide import POOLED
from workflow.stages.summarise import MissingResults, SummaryInputs, summarise

METRICS = (
    "slide,split,method,region,annotated_mm2,glands,gland_area_mm2,"
    "gland_area_um2_q25,gland_area_um2_q50,gland_area_um2_q75,dice\n"
)


def inputs(folder: Path, slide: str, *, metrics: str = METRICS, glands: str = "") -> SummaryInputs:
    """Files of a slide with 5000 um2 of tissue."""
    for kind in ("metrics", "glands", "previews"):
        (folder / kind).mkdir()
    scores = folder / "metrics" / f"{slide}.csv"
    table = folder / "glands" / f"{slide}.csv"
    summary = folder / "previews" / f"{slide}.json"
    scores.write_text(metrics)
    table.write_text("id,area_um2\n" + glands)
    values = SlideSummary("s", None, tissue_mm2=0.005)._asdict()
    summary.write_text(json.dumps(values))
    return SummaryInputs([scores], [table], [summary])


def summarised(
    folder: Path, files: SummaryInputs, repeated: dict[str, dict[str, str]]
) -> list[dict[str, str]]:
    """Rows of the cohort table."""
    summarise(
        files,
        repeated,
        metrics_table=folder / "metrics.csv",
        cohort_table=folder / "cohort.csv",
        main_method="semimoe",
    )
    with (folder / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_cohort_has_a_row_per_slide_and_per_region_with_cells_of_the_sheet(
    tmp_path: Path,
) -> None:
    scores = METRICS + "s,test,semimoe,a,0.001,1,0.0004,400,400,400,1\n"
    scores += "s,test,supervised,a,0.001,9,0.0004,400,400,400,1\n"
    scores += "s,test,semimoe,pooled,0.001,1,0.0004,400,400,400,1\n"
    files = inputs(tmp_path, "s", metrics=scores, glands="a,400\nb,240\nc,80\n")
    rows = summarised(tmp_path, files, {"s": {"split": "test", "site": "North, 1"}})
    assert [row["region"] for row in rows] == ["", "a"]
    slide, region = rows
    assert (slide["glands"], region["glands"]) == ("3", "1")
    assert float(slide["gland_share"]) == pytest.approx(720 / 5000)
    assert float(slide["gland_area_um2_q50"]) == 240
    assert float(region["gland_share"]) == pytest.approx(0.4)
    assert {row["site"] for row in rows} == {"North, 1"}
    scored = pooled_scores(tmp_path / "metrics.csv")
    assert [row.method for row in scored] == ["semimoe"]


def test_counts_are_whole_numbers_also_beside_a_slide_without_results(tmp_path: Path) -> None:
    scores = METRICS + "s,test,semimoe,pooled,0.001,12,0.0004,400,400,400,11\n"
    summarise(
        inputs(tmp_path, "s", metrics=scores, glands="a,400\nb,240\n"),
        {"s": {"split": "test"}, "bad": {"split": "test"}},
        metrics_table=tmp_path / "metrics.csv",
        cohort_table=tmp_path / "cohort.csv",
        main_method="semimoe",
        missing=MissingResults(outlines={"bad": "truncated"}, scores={"bad": "truncated"}),
    )
    texts = {}
    for name in ("cohort", "metrics"):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            texts[name] = [row["glands"] for row in csv.DictReader(file)]
    assert texts == {"cohort": ["2", ""], "metrics": ["12", ""]}


def test_a_slide_called_na_and_a_region_called_pooled_keep_their_names(tmp_path: Path) -> None:
    scores = METRICS + "NA,test,semimoe,pooled (region),0.001,1,0.0004,400,400,400,1\n"
    scores += f"NA,test,semimoe,{POOLED},0.001,1,0.0004,400,400,400,1\n"
    rows = summarised(tmp_path, inputs(tmp_path, "NA", metrics=scores), {"NA": {}})
    assert [row["region"] for row in rows] == ["", f"{POOLED} (region)"]
    assert {row["slide"] for row in rows} == {"NA"}
    assert [row.slide for row in pooled_scores(tmp_path / "metrics.csv")] == ["NA"]


def test_the_result_tables_have_no_columns_but_reserved_ones(tmp_path: Path) -> None:
    """A sheet cannot have a further column with the name of a column of the result tables."""
    files = inputs(tmp_path, "x", glands="a,100\n")
    rows = summarised(tmp_path, files, {"x": {"split": "predict", "patient": ""}})
    assert set(rows[0]) <= {*RESERVED_COLUMNS, *SHEET_COLUMNS}


def test_formulas_from_the_sheet_and_from_region_names_are_texts(tmp_path: Path) -> None:
    """`'` stands before a cell that a spreadsheet program would run."""
    scores = METRICS + "s,test,semimoe,a,0.001,1,0.0004,400,400,400,1\n"
    cells = {
        "split": "test",
        "patient": "=cmd|'/c calc'!A0",
        "site": "@SUM(1)",
        "her2": "++",
        "score": "-1.5",
        "note": '-2+3+cmd|"x"',
    }
    rows = summarised(tmp_path, inputs(tmp_path, "s", metrics=scores), {"s": cells})
    for row in rows:
        assert row["patient"] == "'=cmd|'/c calc'!A0"
        assert row["site"] == "'@SUM(1)"
        assert row["note"] == '\'-2+3+cmd|"x"'
        assert (row["her2"], row["score"]) == ("++", "-1.5")


DAMAGED = (b"", b"\xff\xfe\x00", b"[]", b"{", b'"a\n', b"a,b\n1\n2,3,4\n", b"{}", b'{"picture": 3}')


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("kind", ["metrics", "gland_tables", "slide_summaries"])
def test_a_damaged_result_is_named_with_the_remedy(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    files = inputs(tmp_path, "a", glands="x,100\n")
    path = getattr(files, kind)[0]
    path.write_bytes(content)
    with pytest.raises(ResultError, match=rf"{path.name}: damaged .*; remove it and run again"):
        summarised(tmp_path, files, {"a": {"split": "test"}})


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_summary_of_the_preview_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"s\.json: damaged .*; remove it and run again"):
        read_slide_summary(tmp_path / "s.json")


def test_an_area_of_400_digits_in_a_summary_is_named(tmp_path: Path) -> None:
    values = dict.fromkeys(SlideSummary._fields) | {"tissue_mm2": 10**400}
    (tmp_path / "s.json").write_text(json.dumps(values))
    with pytest.raises(ResultError, match=r"s\.json: damaged \(OverflowError"):
        read_slide_summary(tmp_path / "s.json")


def test_random_bytes_are_no_other_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        (tmp_path / "s.json").write_bytes(rng.bytes(int(rng.integers(40))))
        with pytest.raises(ResultError):
            read_slide_summary(tmp_path / "s.json")
