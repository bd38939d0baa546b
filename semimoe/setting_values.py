"""Bounds of settings, which values count as numbers and switches, and what is said of others."""

from collections.abc import Callable
from typing import Literal, get_args

# How images are divided, and how their test scores are made.
SplitProtocol = Literal["honest", "as-published"]
PROTOCOLS: tuple[SplitProtocol, ...] = get_args(SplitProtocol)
# Bounds against typing errors: a value above them needs days, or more memory than there is.
MOST_EPOCHS, MOST_STEPS, MOST_TILES_AT_ONCE = 100_000, 1_000_000, 1024
# Default of all commands that write glands: smaller holes are filled.
MIN_HOLE_UM2 = 50.0
MOST_SEED = 2**32 - 1
LARGEST_DISTANCE_UM, LARGEST_AREA_UM2 = 1000, 1e9
LARGEST_MPP_UM = 100
LARGEST_RATE, LARGEST_FACTOR = 100, 1e6

# In place of messages with words of pydantic.
REASONS = {
    "extra_forbidden": "no such key",
    "list_type": "a list is needed, as in [a, b]",
    "model_type": "a group of keys is needed, as in {key: value}",
}


def keep_integer(value: object, validate: Callable[[object], float]) -> float:
    """Check a number as float, but keep 5 as 5: model cards keep the bytes they had.

    True and False are no numbers here.
    """
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic reports a ValueError
    checked = validate(value)
    return value if isinstance(value, int) else checked


def refuse_bool(value: object) -> object:
    """Pydantic takes True as 1."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # pydantic reports a ValueError
    return value


def refuse_number(value: object) -> object:
    """Pydantic takes 1 and 1.0 as True."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # pydantic reports a ValueError
    return value
