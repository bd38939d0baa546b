"""Whose outlines a model knows, its own teachers' included: what was learnt from cannot be held out."""

from collections.abc import Iterable
from typing import Any, NamedTuple

_KNOWN = "known"  # of a card's notes: what the models knew that this one learnt from


class Known(NamedTuple):
    """Names of images.

    Attributes
    ----------
    learnt : trained on with their outlines
    chosen : those, and what chose among epochs or thresholds
    """

    learnt: frozenset[str]
    chosen: frozenset[str]


def known(card: dict[str, Any]) -> Known:
    """What a model knows by its card; nothing where the card does not say."""
    notes = card.get("notes", {})
    images, taught = notes.get("images", {}), notes.get(_KNOWN, {})
    learnt = {*images.get("labelled", []), *taught.get("learnt", [])}
    return Known(frozenset(learnt), frozenset(learnt | {*images.get("validation", []), *taught.get("chosen", [])}))


def of_teachers(cards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An entry of the notes of a model that learnt from these; empty where they know nothing."""
    told = [known(card) for card in cards]
    learnt, chosen = (sorted({name for one in told for name in one[place]}) for place in range(2))
    return {_KNOWN: {"learnt": learnt, "chosen": chosen}} if chosen else {}
