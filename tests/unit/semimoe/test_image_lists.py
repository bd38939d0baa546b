"""Lists of images: whole patients are held out, numbers are right, lists are reproducible."""

import json
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from semimoe.__main__ import main
from semimoe.datasets.image_dataset import GradeRecord, open_dataset
from semimoe.datasets.image_lists import (
    draw_image_list,
    draw_training_list,
    image_list_csv,
    images_with_role,
    patient_folds,
    read_image_list,
)
from semimoe.model_errors import DataError, SettingsError

LISTS = Path(__file__).parents[3] / "benchmarks" / "splits" / "glas"
GLAS = {
    row.image: GradeRecord(row.patient, row.grade)
    for row in read_image_list(LISTS / "honest_20_seed0.csv")
}


@pytest.mark.parametrize(("share", "count"), [(0.2, 17), (0.1, 8), (1.0, None)])
@pytest.mark.parametrize("seed", range(12))
def test_the_honest_protocol_holds_out_whole_patients_of_both_grades(share, count, seed) -> None:
    rows = draw_image_list(GLAS, protocol="honest", labelled=share, seed=seed)
    assert [row.image for row in rows] == list(GLAS)
    held = [row for row in rows if row.role == "validation"]
    assert 0.15 * 85 <= len(held) <= 0.20 * 85
    assert {row.grade for row in held} == {"benign", "malignant"}
    assert not {row.patient for row in held} & {
        row.patient for row in rows if row.role != "validation"
    }
    assert len(images_with_role(rows, "labelled")) == (count or 85 - len(held))


@pytest.mark.parametrize(("share", "counts"), [(0.2, (17, 68)), (0.1, (8, 77))])
def test_the_published_protocol_holds_no_image_out(share, counts) -> None:
    rows = draw_image_list(GLAS, protocol="as-published", labelled=share, seed=1)
    assert (
        len(images_with_role(rows, "labelled")),
        len(images_with_role(rows, "unlabelled")),
        len(images_with_role(rows, "validation")),
    ) == (*counts, 0)


def test_a_smaller_share_of_labelled_images_is_part_of_a_larger_one() -> None:
    few, many = (
        set(
            images_with_role(
                draw_image_list(GLAS, protocol="honest", labelled=share, seed=3), "labelled"
            )
        )
        for share in (0.1, 0.2)
    )
    assert few < many


def test_the_lists_in_the_repository_are_drawn_again() -> None:
    for protocol, share, seed in product(("honest", "as-published"), (0.2, 0.1), range(3)):
        rows = draw_image_list(GLAS, protocol=protocol, labelled=share, seed=seed)
        assert (
            LISTS / f"{protocol}_{round(100 * share)}_seed{seed}.csv"
        ).read_text() == image_list_csv(rows)
    for number, rows in enumerate(patient_folds(GLAS), start=1):
        assert (LISTS / f"fold{number}of5.csv").read_text() == image_list_csv(rows)
    assert set(json.loads((LISTS / "lists.json").read_text())["lists"]) == {
        path.stem for path in LISTS.glob("*.csv")
    }


def test_a_list_that_a_person_changed_is_not_replaced(tmp_path, capsys) -> None:
    rows = read_image_list(LISTS / "honest_20_seed0.csv")
    grades = "".join(f"{row.image},{row.patient}, {row.grade}\n" for row in rows)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Grade.csv").write_text("name,patient ID, grade\n" + grades)
    for row in rows:
        for name in (f"{row.image}.bmp", f"{row.image}_anno.bmp"):
            Image.new("L", (2, 2), 1).save(tmp_path / "data" / name)
    command = ["splits", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "lists")]
    assert main(command) == 0
    assert main(command) == 0  # the same files again
    path = tmp_path / "lists" / "fold1of5.csv"
    assert path.read_bytes() == (LISTS / "fold1of5.csv").read_bytes()
    path.write_text("mine")
    assert main(command) == 2
    assert "fold1of5.csv differs from the list that would be written" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_folds_have_whole_patients_similar_sizes_and_all_images() -> None:
    folds = patient_folds(GLAS)
    held = [images_with_role(rows, "validation") for rows in folds]
    assert sorted(image for images in held for image in images) == sorted(GLAS)
    for rows in folds:
        validation = [row for row in rows if row.role == "validation"]
        assert 14 <= len(validation) <= 20
        assert {row.grade for row in validation} == {"benign", "malignant"}
        assert not {row.patient for row in validation} & {
            row.patient for row in rows if row.role == "labelled"
        }


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=20),
    share=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_patients_are_never_divided_between_validation_and_training(sizes, share, seed) -> None:
    cases = {
        f"{patient}_{i}": GradeRecord(str(patient), "")
        for patient, size in enumerate(sizes)
        for i in range(size)
    }
    try:
        rows = draw_image_list(cases, protocol="honest", labelled=0.3, seed=seed, validation=share)
    except DataError:
        assume(False)
    roles = {}
    for row in rows:
        roles.setdefault(row.patient, set()).add(row.role == "validation")
    assert all(len(kinds) == 1 for kinds in roles.values())
    count = Counter(row.role for row in rows)
    assert count["labelled"] == min(
        max(round(0.3 * len(cases)), 1), len(cases) - count["validation"]
    )


def test_a_set_of_images_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(DataError, match="no whole patients"):
        draw_image_list(
            {"a": GradeRecord("1", ""), "b": GradeRecord("1", ""), "c": GradeRecord("1", "")},
            protocol="honest",
            labelled=1,
            seed=0,
        )
    with pytest.raises(DataError, match="left for training"):
        draw_image_list({}, protocol="as-published", labelled=1, seed=0)
    with pytest.raises(SettingsError, match="shares"):
        draw_image_list(GLAS, protocol="honest", labelled=0, seed=0)
    with pytest.raises(DataError, match="2 patients are too few for 5 folds"):
        patient_folds({"a": GradeRecord("1", ""), "b": GradeRecord("2", "")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,patient\na,1\n", "no column role"),
        ("image,role\na,test\n", "row 2: role 'test'"),
        ("image,role\na,labelled\na,labelled\n", "row 3: a is listed twice"),
    ],
)
def test_an_error_names_the_row_of_a_damaged_list(tmp_path, text, message) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_image_list(tmp_path / "list.csv")


def test_a_list_is_read_as_it_was_written(tmp_path) -> None:
    rows = draw_image_list(GLAS, protocol="honest", labelled=0.2, seed=0)
    (tmp_path / "list.csv").write_text(image_list_csv(rows))
    assert read_image_list(tmp_path / "list.csv") == rows


def test_a_folder_without_masks_says_how_masks_are_named(tmp_path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"{tmp_path}: no image has a mask; name .* X_anno.png"):
        draw_training_list(open_dataset(tmp_path), protocol="honest", labelled=1, seed=0)
