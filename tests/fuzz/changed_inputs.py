"""Random changes of valid bytes, texts and JSON values."""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

_LONG = 5000
# Values that a person, a program or an attacker may write in the place of another one.
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, float("nan"), float("inf"), 10**400, -(10**30), 1e300, 2**31,
    "", "nan", "x", "[1,2]", "null", "{slide}", "<x>", "../x", "\0", "\n", "1e400", "\u00e9",
    "x" * _LONG, [], [1], ["x"], [[]], {}, {"a": 1}, {"a": {"a": {}}},
)  # fmt: skip
JSON_PIECES = ("", "{", "]", "\0", '"', "1e999", "NaN", ",", "[" * 50, "-", "\\u", "9" * 400)
_BYTES = (b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80")


def changed_bytes(data: bytes, rng: random.Random, *, first: int | None = None) -> bytes:
    """Some bytes of a file changed, removed, repeated or cut off.

    Parameters
    ----------
    data : a valid file
    rng : source of random numbers
    first : three of four changes are in so many bytes at the start, where headers are
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        end = len(changed) if first is None or rng.random() < 0.25 else min(first, len(changed))
        at = rng.randrange(end) if end else 0
        kind = rng.randrange(8)
        if kind <= 2 and changed:
            changed[min(at, len(changed) - 1)] = rng.randrange(256)
        elif kind <= 4 and changed:
            changed[min(at, len(changed) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 5:
            piece = rng.choice(_BYTES)
            changed[at : at + len(piece)] = piece
        elif kind == 6:
            other = rng.randrange(len(changed) + 1)
            changed[at : at + 4] = changed[other : other + rng.choice((0, 4, 8))]
        elif rng.random() < 0.4:
            del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def changed_text(text: str, rng: random.Random, pieces: Sequence[str]) -> str:
    """Some characters of a text replaced by one of the pieces."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(pieces) + text[at + rng.choice((0, 0, 1, 3, 20)) :]
    return text


def changed_json(value: Any, rng: random.Random) -> Any:  # JSON
    """A copy of a JSON value in which some entries are removed, replaced or moved."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            break
        owner, key = rng.choice(places)
        kind = rng.randrange(7)
        if kind <= 1 and isinstance(owner[key], int | float):
            factor = rng.choice((-1, 0.5, 2, 1.001, 1e6))
            owner[key] = owner[key] * factor if abs(owner[key]) < 1e300 else -owner[key]
        elif kind == 0:
            del owner[key]
        elif kind == 2:
            other, other_key = rng.choice(places)
            owner[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(owner, dict):
            owner[rng.choice(("x", "", "a.b", str(key) + "s"))] = owner.pop(key)
        else:
            owner[key] = copy.deepcopy(rng.choice(JSON_VALUES))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # JSON
    pending = [value]
    while pending:
        owner = pending.pop()
        items: Any = ()
        if isinstance(owner, dict):
            items = owner.items()
        elif isinstance(owner, list):
            items = enumerate(owner)
        for key, entry in items:
            yield owner, key
            pending.append(entry)


def changed_json_text(value: Any, rng: random.Random) -> str:  # JSON
    """JSON text of a changed value; sometimes the text itself is changed."""
    text = json.dumps(changed_json(value, rng))
    return changed_text(text, rng, JSON_PIECES) if rng.random() < 0.3 else text
