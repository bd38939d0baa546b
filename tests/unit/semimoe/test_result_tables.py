"""Tables of results: one for each protocol, with mean and deviation over seeds."""

import json

import pytest

from semimoe.evaluation import result_tables
from semimoe.evaluation.results import read_evaluation
from semimoe.model_errors import DataError

MEAN = {
    "dice": 0.9,
    "jaccard": 0.8,
    "object_f1": 0.7,
    "object_dice": 0.75,
    "object_hausdorff_px": 50.0,
    "object_hausdorff_um": 31.0,
}
SCORES = MEAN | dict.fromkeys(("tp", "fp", "fn", "hausdorff_missing", "splits", "merges"), 1)


def result(*, method="semimoe", seed=0, dice=0.9, protocol="honest", labelled=17, width=16):
    """The JSON of a result, as plain values."""
    common = {
        "protocol": protocol,
        "mpp_um": 0.62,
        "threshold": {"value": 0.5, "from": "validation"},
        "patients": {
            "known": True,
            "note": "8 of 15 training patients are also in testA",
        },
        "model": {
            "method": method,
            "checkpoint": "epoch 9, the last",
            "seed": seed,
            "labelled": labelled,
            "unlabelled": 52,
            "validation": 16,
            "labels_used": labelled + 16,
            "network": {"width": width},
            "training": {},
            "resolution": None,
        },
    }
    square = {"dice": dice, "jaccard": 0.8}
    if protocol == "as-published":
        return common | {
            "size": "256 x 256",
            "pooled": square,
            "warnings": [],
            "dice_by_threshold": {"0.5": dice},
        }
    return common | {
        "min_object_um2": 0.0,
        "pooled": SCORES | {"dice": dice},
        "mean": dict(MEAN),
        "images": {},
        "at_256": {"pooled": square, "mean": square},
    }


def tables(results):
    """Tables of results that are read from their JSON."""
    texts = {name: json.dumps(values) for name, values in results.items()}
    return result_tables.result_tables(
        {name: read_evaluation(text) for name, text in texts.items()}
    )


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_a_row_has_mean_and_deviation_over_the_seeds_of_a_method() -> None:
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


def test_each_protocol_has_a_table_of_its_own() -> None:
    text = tables({"a": result(), "b": result(protocol="as-published", dice=0.95)})
    honest, published = text.split("\n\n")
    assert honest.startswith("Protocol honest")
    assert published.startswith("Protocol as-published")
    assert "threshold chosen on the test images" in published
    assert "0.9500" not in honest
    assert "0.9500" in published


def test_results_with_other_settings_or_labels_are_in_other_rows() -> None:
    text = tables({"a": result(), "b": result(width=32), "c": result(labelled=8)})
    rows = lines(text, "semimoe")
    assert len(rows) == 3 + 2  # and what the two settings differ in
    assert [row.split(": ")[1] for row in rows[3:]] == ["network.width 16", "network.width 32"]
    assert rows[0].split()[1] == rows[2].split()[1] != rows[1].split()[1]
    assert "±" not in text


def test_results_with_flips_are_in_another_row_and_the_default_is_fp32_without_flips() -> None:
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


def test_each_test_part_has_a_table_of_its_own() -> None:
    text = tables(
        {"a": result(dice=0.9) | {"truth": "testA"}, "b": result(dice=0.7) | {"truth": "testB"}}
    )
    first, second = text.split("\n\n")
    assert first.splitlines()[0].endswith("images of testA")
    assert second.splitlines()[0].endswith("images of testB")
    assert "±" not in text


def test_a_fine_tuned_model_is_in_another_row_than_one_trained_from_scratch() -> None:
    tuned = result(dice=0.95)
    tuned["model"]["fine_tuned"] = True
    text = tables({"a": result(), "b": tuned})
    assert "±" not in text
    assert "fine_tuned True" in text
    assert "labels of the model started from" in text


def test_the_mean_is_missing_if_one_distance_is_missing() -> None:
    one, two = result(), result(seed=1)
    two["pooled"]["object_hausdorff_px"] = None
    assert "missing" in tables({"a": one, "b": two})


def test_a_remark_names_missing_baselines() -> None:
    assert "no row of supervised and unet: a gain" in tables({"a": result()})
    assert "no row of" not in tables(
        {name: result(method=name) for name in ("semimoe", "supervised", "unet")}
    )


def test_a_remark_names_a_result_that_was_given_twice() -> None:
    assert "given twice: a, b" in tables({"a": result(), "b": result()})


def test_a_text_that_is_not_a_result_is_refused_with_the_missing_value() -> None:
    with pytest.raises(DataError, match=r"min_object_um2: Field required"):
        read_evaluation('{"protocol": "honest", "mpp_um": null}')
    with pytest.raises(DataError, match="protocol"):
        read_evaluation("{}")
    with pytest.raises(DataError, match="JSON"):
        read_evaluation("no JSON")


@pytest.mark.parametrize("protocol", ["honest", "as-published"])
def test_a_result_is_written_with_the_keys_that_it_was_read_with(protocol) -> None:
    values = result(protocol=protocol)
    values |= {"truth": "testA", "prediction": {"precision": "fp32", "flips": False}}
    values["model"] |= {"fine_tuned": False, "pseudo_labels": "online"}
    assert read_evaluation(json.dumps(values)).to_json_dict() == values
