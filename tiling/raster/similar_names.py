"""The name that a user meant by a misspelt one."""

import difflib
from collections.abc import Iterable

_MIN_SIMILARITY = 0.65


def similar_name(
    name: str, names: Iterable[str], *, min_similarity: float = _MIN_SIMILARITY
) -> str | None:
    """The most similar one of some names; None if none is similar.

    Parameters
    ----------
    min_similarity : share of equal characters, 0..1, see `difflib.SequenceMatcher.ratio`

    >>> similar_name("mpp", ["mpp_um", "tile_px"]), similar_name("stroma", ["mpp_um", "tile_px"])
    ('mpp_um', None)
    """
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=min_similarity)
    return close[0] if close else None
