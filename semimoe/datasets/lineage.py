"""Whose outlines a model knows, its own teachers' included: what was learnt from cannot be held out."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from semimoe.datasets.image_folder import ImageFile
from tiling.raster.atomic_files import file_checksum

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
    return Known(
        frozenset(learnt),
        frozenset(learnt | {*images.get("validation", []), *taught.get("chosen", [])}),
    )


def files_read(outlined: list[ImageFile], unlabelled: list[ImageFile], *, masks: bool) -> str:
    """A short hash of all that a training reads: it is not gone on with when an image or a mask was corrected since.

    Parameters
    ----------
    masks : those of the unlabelled images are read too
    """
    read = [path for file in outlined for path in (file.image, file.mask)]
    read += [path for file in unlabelled for path in (file.image, file.mask if masks else None)]
    return hashlib.sha256(
        "".join(file_checksum(path) for path in read if path).encode()
    ).hexdigest()[:16]


def of_teachers(cards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An entry of the notes of a model that learnt from these; empty where they know nothing."""
    told = [known(card) for card in cards]
    learnt, chosen = (sorted({name for one in told for name in one[place]}) for place in range(2))
    return {_KNOWN: {"learnt": learnt, "chosen": chosen}} if chosen else {}
