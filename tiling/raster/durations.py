"""Durations in messages."""

import math


def duration_text(seconds: float) -> str:
    """A duration in seconds, minutes or hours, rounded up.

    >>> duration_text(7.2), duration_text(150), duration_text(3600 * 5.5)
    ('8 s', '3 min', '5.5 h')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
