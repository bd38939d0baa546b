"""The report's tables say what the csv files say, in few columns."""

import pytest

from workflow.reporting.report_tables import cohort_table, score_table, short

SCORES = {
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


def shown(table, row=0):
    return {
        (column.group, column.title): cell
        for column, cell in zip(table.columns, table.rows[row][0], strict=True)
    }


def test_scores_stand_under_their_groups_with_few_digits():
    table = score_table([SCORES])
    found = shown(table)
    assert found["", "method"] == "U-Net"
    assert found["glands", "right / false / missed"] == "40 / 3 / 2"
    assert found["pixels", "Dice"] == "0.900"
    assert found["objects", "Dice"] == ""
    assert found["objects", "Hausdorff"] == "123"
    assert found["", "annotated"] == "12.3"
    assert sum(span for _, span in table.groups) == len(table.columns)
    assert table.texts == 4
    # Old tables lack columns, and a slide without scores has none but the reason.
    assert (
        score_table(
            [{"slide": "b", "split": "", "method": "semimoe", "region": "", "error": "cut"}]
        ).rows[0][1]
        == "cut"
    )


def test_columns_of_the_sheet_stay_where_they_hold_something():
    table = cohort_table(
        [{**COHORT, **QUARTILES, "gland_share": "0.25", "glands_per_mm2": "1.5", "error": ""}]
    )
    found = shown(table)
    assert found["", "site"] == "x"
    assert ("", "patient") not in found
    assert found["gland area", "quartiles"] == "1234 \u2013 12,346"
    assert found["glands", "share of area"] == "0.250"
    assert cohort_table([]).rows == []


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
    assert short(value) == text
