"""Tables: one per protocol, mean and deviation over seeds, nothing mixed."""

import copy

import pytest

from semimoe.evaluation.result_tables import tables

SCORES = {
    "dice": 0.9,
    "jaccard": 0.8,
    "object_f1": 0.7,
    "object_dice": 0.75,
    "object_hausdorff_px": 50.0,
    "object_hausdorff_um": 31.0,
}


def result(*, method="semimoe", seed=0, dice=0.9, protocol="honest", labelled=17, width=16):
    made = {
        "protocol": protocol,
        "threshold": {"value": 0.5, "from": "validation"},
        "patients": {"note": "8 of 15 training patients are also in testA"},
        "pooled": SCORES | {"dice": dice},
        "mean": dict(SCORES),
        "at_256": {"pooled": {"dice": dice}},
        "model": {
            "method": method, "seed": seed, "labelled": labelled, "unlabelled": 52, "validation": 16, "labels_used": labelled + 16,
            "network": {"width": width}, "training": {}, "resolution": None,
        },
    }  # fmt: skip
    return copy.deepcopy(made)


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_seeds_of_one_method_make_mean_and_deviation() -> None:
    text = tables(
        {
            "a": result(seed=2, dice=0.90),
            "b": result(seed=0, dice=0.92),
            "c": result(method="unet", dice=0.8),
        }
    )
    (row,) = lines(text, "semimoe")
    assert "0.9100 ± 0.0141" in row
    assert "0, 2" in row
    assert row.split()[1:4] == ["17", "52", "33"]
    (other,) = lines(text, "unet")
    assert "0.8000  " in other
    assert "±" not in other
    assert "8 of 15 training patients" in text
    assert "labels used = labelled + validation images" in text


def test_protocols_never_share_a_table() -> None:
    text = tables({"a": result(), "b": result(protocol="as-published", dice=0.95)})
    honest, published = text.split("\n\n")
    assert honest.startswith("Protocol honest")
    assert published.startswith("Protocol as-published")
    assert "threshold chosen on the test images" in published
    assert "0.9500" not in honest
    assert "0.9500" in published


def test_other_settings_or_labels_are_other_rows() -> None:
    text = tables({"a": result(), "b": result(width=32), "c": result(labelled=8)})
    rows = lines(text, "semimoe")
    assert len(rows) == 3 + 2  # and what the two settings differ in
    assert [row.split(": ")[1] for row in rows[3:]] == ["network.width 16", "network.width 32"]
    assert rows[0].split()[1] == rows[2].split()[1] != rows[1].split()[1]
    assert "±" not in text


def test_another_way_of_predicting_is_another_row_and_not_to_say_it_is_fp32() -> None:
    plain, flipped = {"precision": "fp32", "flips": False}, {"precision": "fp32", "flips": True}
    text = tables(
        {
            "a": result(),
            "b": result(seed=1) | {"prediction": plain},
            "c": result(seed=2) | {"prediction": flipped},
        }
    )
    rows = lines(text, "semimoe")
    assert ["0, 1" in row for row in rows[:2]] == [True, False]
    assert [row.split(": ")[1] for row in rows[2:]] == [
        "prediction.flips False",
        "prediction.flips True",
    ]


def test_two_test_parts_never_make_one_mean() -> None:
    text = tables(
        {"a": result(dice=0.9) | {"truth": "testA"}, "b": result(dice=0.7) | {"truth": "testB"}}
    )
    first, second = text.split("\n\n")
    assert first.splitlines()[0].endswith("images of testA")
    assert second.splitlines()[0].endswith("images of testB")
    assert "±" not in text


def test_a_fine_tuned_model_is_no_seed_of_one_from_scratch() -> None:
    tuned = result(dice=0.95)
    tuned["model"]["fine_tuned"] = True
    text = tables({"a": result(), "b": tuned})
    assert "±" not in text
    assert "fine_tuned True" in text
    assert "labels of the model started from" in text


def test_one_missing_distance_is_never_left_out_of_a_mean() -> None:
    one, two = result(), result(seed=1)
    two["pooled"]["object_hausdorff_px"] = None
    assert "missing" in tables({"a": one, "b": two})


def test_a_table_without_its_baselines_says_so() -> None:
    assert "no row of supervised and unet beside" in tables({"a": result()})
    assert "beside" not in tables(
        {name: result(method=name) for name in ("semimoe", "supervised", "unet")}
    )


def test_a_result_given_twice_is_said() -> None:
    assert "given twice: a, b" in tables({"a": result(), "b": result()})


def test_what_is_no_result_fails() -> None:
    with pytest.raises(KeyError):
        tables({"a": {"protocol": "honest"}})
