"""Model cards that older versions of this program wrote."""

from collections.abc import Mapping
from typing import Any

# First words of notes about gates, which older cards have among the warnings.
_GATE_NOTE = "expert collapse:"


def upgraded_card(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of older cards in the form of this version."""
    upgraded = dict(values)
    network = values.get("network")
    if isinstance(network, Mapping):
        # Values of keys that older cards do not have: the defaults of that time.
        older = {"encoder": "unet", "width": 64, "experts": "separate"}
        upgraded["network"] = {**older, **network}
    warnings = values.get("warnings")
    if isinstance(warnings, list) and "gate_notes" not in values:
        is_note = [str(text).startswith(_GATE_NOTE) for text in warnings]
        if any(is_note):
            pairs = list(zip(warnings, is_note, strict=True))
            upgraded["warnings"] = [text for text, note in pairs if not note]
            upgraded["gate_notes"] = [text for text, note in pairs if note]
    return upgraded
