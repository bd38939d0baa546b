"""The card of a model: what is read is written back, and what is wrong is named."""

import json
from pathlib import Path

import pytest

from semimoe.known_images import images_of_sources, known_images
from semimoe.model_card import ImageNames, TrainingNotes, load_card, parse_card, save_card
from semimoe.model_errors import ModelError

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
