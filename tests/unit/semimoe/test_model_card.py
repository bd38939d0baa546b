"""The card of a model: what is read is written back, and what is wrong is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from semimoe.known_images import images_of_sources, known_images
from semimoe.model_card import ImageNames, TrainingNotes, load_card, parse_card, save_card
from semimoe.model_errors import ModelError

NAN = float("nan")
SPLIT = {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0}
SHIPPED = Path(__file__).parents[3] / "models" / "glas"


def test_a_card_is_written_back_byte_for_byte(tmp_path: Path) -> None:
    save_card(tmp_path, load_card(SHIPPED))
    assert (tmp_path / "model.json").read_bytes() == (SHIPPED / "model.json").read_bytes()


def test_numbers_and_unknown_entries_are_kept_as_they_are() -> None:
    values = json.loads((SHIPPED / "model.json").read_text())
    values |= {"sdf_um": 20, "epochs": 8, "of_a_later_version": {"a": [1, 2.0]}}
    values["notes"] |= {"site": "x"}
    card = parse_card(values, source="test")
    assert json.dumps(card.to_dict(), sort_keys=True) == json.dumps(values, sort_keys=True)


def test_missing_keys_of_older_cards_have_the_defaults_of_that_time() -> None:
    values = json.loads((SHIPPED / "model.json").read_text())
    for key in ("encoder", "width", "experts"):
        del values["network"][key]
    network = parse_card(values, source="test").network
    assert (network.encoder, network.width, network.experts) == ("unet", 64, "separate")


def test_older_cards_use_the_rule_depth_and_newer_ones_keep_the_parameters_of_both_rules() -> None:
    values = json.loads((SHIPPED / "model.json").read_text())
    values["split"] = {"seed_depth_um": 6.0, "boundary_level": 0.25, "growth_um": 10.0}
    older = parse_card(values, source="test").split.parameters(
        threshold=0.5, min_area_um2=0, sdf_um=20, use_sdf=True
    )
    assert (older.rule, older.seed_depth_um, older.seed_threshold) == ("depth", 6, 0)
    values["split"] |= {"rule": "prominence", "prominence_um": 4, "seed_threshold": 0.9}
    card = parse_card(values, source="test")
    assert card.to_dict()["split"] == values["split"]
    newer = card.split.parameters(threshold=0.5, min_area_um2=0, sdf_um=20, use_sdf=True)
    assert newer == replace(older, rule="prominence", prominence_um=4, seed_threshold=0.9)


def test_notes_about_gates_are_no_warnings_also_in_older_cards() -> None:
    assert load_card(SHIPPED).warnings == ()
    values = json.loads((SHIPPED / "model.json").read_text())
    notes = values.pop("gate_notes")
    values["warnings"] = [notes[0], "no validation: last epoch", *notes[1:]]
    card = parse_card(values, source="test")
    assert card.warnings == ("no validation: last epoch",)
    assert card.gate_notes == tuple(notes)
    assert all("expert collapse" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "unknown"}, "method 'unknown', this program knows semimoe"),
        ({"threshold": 1}, "threshold: 1; input should be less than 1"),
        ({"mpp_um": True}, "mpp_um: True; must be a number"),
        ({"network": {"width": 5}}, "network.width: 5; input should be a multiple of 4"),
        ({"notes": {"licence": 3}}, "notes.licence: 3; input should be a valid string"),
        ({"split": {}}, "split.seed_depth_um: field required"),
        ({"split": {**SPLIT, "threshold": 0.9}}, "split.threshold: 0.9; no such key"),
        ({"split": {**SPLIT, "growth_um": -4}}, "split.growth_um: -4; input should be greater"),
        ({"split": {**SPLIT, "growth_um": 1e9}}, "split.growth_um: 1000000000.0; input should be"),
        ({"split": {**SPLIT, "seed_depth_um": NAN}}, "split.seed_depth_um: nan; input should be"),
        ({"split": {**SPLIT, "boundary_level": 5}}, "split.boundary_level: 5; input should be"),
        ({"split": {**SPLIT, "rule": "size"}}, "split.rule: 'size'; input should be 'depth'"),
        ({"split": {**SPLIT, "prominence_um": 0}}, "split.prominence_um: 0; input should be"),
        ({"split": {**SPLIT, "seed_threshold": 2}}, "split.seed_threshold: 2; input should be"),
        ({"validation_before": {}}, "validation_before: scores of the start model are needed"),
        ({"normalisation": {"mean": [0.5] * 2, "std": [0.2] * 2}}, "normalisation: three means"),
        ({"normalisation": {"mean": [0.5] * 3, "std": [0.2, 0, 0.2]}}, "normalisation: three"),
        ({"sdf_scale": "mm"}, "sdf_scale: 'mm'; input should be"),
        ({"threshold": NAN}, "threshold: nan; input should be a finite number"),
        ({"mpp_um": 1e9}, "mpp_um: 1000000000.0; input should be less"),
        ({"tile_px": 10**9}, "tile_px: 1000000000; input should be less"),
    ],
)
def test_a_wrong_entry_is_named_with_its_value(change: dict, message: str) -> None:
    values = json.loads((SHIPPED / "model.json").read_text())
    with pytest.raises(ModelError, match=message):
        parse_card(values | change, source="test")


def test_a_long_wrong_value_is_shortened_in_the_message() -> None:
    values = json.loads((SHIPPED / "model.json").read_text())
    with pytest.raises(ModelError, match=r"mpp_um: 'x{79}\.\.\. \(502 characters\)"):
        parse_card(values | {"mpp_um": "x" * 500}, source="test")


def test_a_model_knows_its_own_images_and_those_of_its_sources() -> None:
    card = load_card(SHIPPED).model_copy(
        update={
            "notes": TrainingNotes(
                images=ImageNames(labelled=("a",), validation=("v",)),
                known={"learnt": ("b",), "chosen": ("b", "w")},
            )
        }
    )
    known = known_images(card)
    assert (known.learnt, known.chosen) == ({"a", "b"}, {"a", "b", "v", "w"})
    assert images_of_sources([]) is None
    sources = images_of_sources([known])
    assert sources is not None
    assert sources.learnt == ("a", "b")
