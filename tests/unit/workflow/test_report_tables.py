"""The tables of the report show the values of the csv files in fewer columns."""

import pytest

from workflow.reporting.report_tables import cohort_report, metrics_report, short_number

METRICS = {
    "slide": "a",
    "split": "test",
    "method": "unet",
    "region": "pooled",
    "annotated_mm2": "12.345678",
    "glands": "61",
    "tp": "40",
    "fp": "3",
    "fn": "2",
    "splits": "1",
    "merges": "0",
    "dice": "0.9",
    "jaccard": "0.81818",
    "object_f1": "0.94118",
    "object_dice": "",
    "object_hausdorff_um": "123.4",
    "error": "",
}
COHORT = {
    "slide": "a",
    "region": "",
    "split": "predict",
    "patient": "",
    "site": "x",
    "glands": "3",
    "gland_area_mm2": "0.5",
    "area_mm2": "2",
}
QUARTILES = {
    "gland_area_um2_q25": "1234.5",
    "gland_area_um2_q50": "5678.9",
    "gland_area_um2_q75": "12345.6",
}


def cells_of(table, row=0):
    return {
        (column.group, column.title): cell
        for column, cell in zip(table.columns, table.rows[row].cells, strict=True)
    }


def test_scores_are_grouped_and_have_few_digits():
    table = metrics_report([METRICS])
    cells = cells_of(table)
    assert cells["", "method"] == "U-Net"
    assert cells["glands", "right / false / missed"] == "40 / 3 / 2"
    assert cells["pixels", "Dice"] == "0.900"
    assert cells["objects", "Dice"] == ""
    assert cells["objects", "Hausdorff"] == "123"
    assert cells["", "annotated"] == "12.3"
    assert sum(span for _, span in table.groups) == len(table.columns)
    assert table.text_columns == 4


def test_a_slide_without_scores_has_a_row_with_the_reason():
    row = {"slide": "b", "split": "", "method": "semimoe", "region": "", "error": "truncated"}
    assert metrics_report([row]).rows[0].error == "truncated"


def test_columns_of_the_sheet_are_shown_unless_they_are_empty():
    table = cohort_report(
        [{**COHORT, **QUARTILES, "gland_share": "0.25", "glands_per_mm2": "1.5", "error": ""}]
    )
    cells = cells_of(table)
    assert cells["", "site"] == "x"
    assert ("", "patient") not in cells
    assert cells["gland area", "quartiles"] == "1234 \u2013 12,346"
    assert cells["glands", "share of area"] == "0.250"
    assert cohort_report([]).rows == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00001234", "0.0000123"),
        ("99.96", "100"),
        ("-0.5", "-0.500"),
        ("1.2.3", "1.2.3"),
        ("", ""),
        ("7", "7"),
        ("1e5.", "1e5."),
        ("0.1000", "0.100"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert short_number(value) == text
