"""Images whose outlines were used for a model, by the names in its card."""

from collections.abc import Iterable
from typing import NamedTuple

from semimoe.model_card import ImageNames, ModelCard, SourceImages


class KnownImages(NamedTuple):
    """Names of images whose outlines were used for a model.

    Attributes
    ----------
    learnt : images that it was trained on with their outlines
    chosen : those, and the images by which an epoch or threshold was chosen
    """

    learnt: frozenset[str]
    chosen: frozenset[str]


def known_images(card: ModelCard) -> KnownImages:
    """Images used to train or select a model or its source models; empty if the card has none."""
    images, source = card.notes.images or ImageNames(), card.notes.known or SourceImages()
    learnt = frozenset({*images.labelled, *source.learnt})
    return KnownImages(learnt, learnt | {*images.validation, *source.chosen})


def images_of_sources(sources: Iterable[KnownImages]) -> SourceImages | None:
    """Entry `known` of the card of a model, from the images of its source models."""
    models = list(sources)
    learnt = frozenset().union(*(one.learnt for one in models))
    chosen = frozenset().union(*(one.chosen for one in models))
    return (
        SourceImages(learnt=tuple(sorted(learnt)), chosen=tuple(sorted(chosen))) if chosen else None
    )
