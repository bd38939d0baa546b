"""Numbers with their nouns, and durations, for messages."""

import math


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the singular or plural.

    >>> counted(1, "gland"), counted(0, "gland"), counted(12, "slide")
    ('1 gland', '0 glands', '12 slides')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def duration_text(seconds: float) -> str:
    """A duration in seconds, minutes or hours, rounded up.

    >>> duration_text(7.2), duration_text(150), duration_text(3600 * 5.5)
    ('8 s', '3 min', '5.5 h')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
