"""The stores that training reads, and which of them cannot be used."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tiling.slide_errors import AnnotationError
from tiling.stores.attributes import recorded_error
from tiling.stores.layout import LabelStore, TileStore
from workflow.result_paths import store_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSlide:
    """The stores of one slide that training reads; None where the slide has no such store."""

    slide: str
    tiles: Path
    labels: Path | None = None
    pseudo: Path | None = None

    def required_labels(self) -> Path:
        """The label store of a slide that needs one.

        Raises
        ------
        AnnotationError
            The slide has none.
        """
        if self.labels is None:
            raise AnnotationError(f"{self.slide}: no labels; enter an annotation in the sheet")
        return self.labels


@dataclass(frozen=True)
class TrainingSlides:
    """The stores of all slides of a training run.

    Attributes
    ----------
    labelled, unlabelled : slides that the model is trained on
    validation : slides on which epoch, threshold and split are chosen; empty: on held-out regions
        of the labelled slides
    """

    labelled: Sequence[TrainingSlide]
    unlabelled: Sequence[TrainingSlide] = ()
    validation: Sequence[TrainingSlide] = ()


def training_slides(
    tiles: Sequence[str], labels: Sequence[str] = (), pseudo: Sequence[str] = ()
) -> list[TrainingSlide]:
    """The stores of each slide in `tiles`; label and pseudo-label stores have the slide's name.

    Stores are named by their job records.
    """
    labels_of = {path.stem: path for path in map(store_of, labels)}
    pseudo_of = {path.stem: path for path in map(store_of, pseudo)}
    slides = []
    for path in map(store_of, tiles):
        slide = path.stem
        slides.append(TrainingSlide(slide, path, labels_of.get(slide), pseudo_of.get(slide)))
    return slides


def training_slides_of_files(files: Mapping[str, Sequence[str]]) -> TrainingSlides:
    """The stores that a training rule names: `tiles`, `labels`, and those of other slides."""

    def group(tiles: str, labels: str, pseudo: str = "") -> list[TrainingSlide]:
        return training_slides(files.get(tiles, ()), files.get(labels, ()), files.get(pseudo, ()))

    return TrainingSlides(
        labelled=group("tiles", "labels"),
        unlabelled=group("unlabelled_tiles", "unlabelled_labels", "pseudo"),
        validation=group("validation_tiles", "validation_labels"),
    )


def without_failures(slides: TrainingSlides) -> tuple[TrainingSlides, dict[str, str]]:
    """The slides without a recorded error, and the errors of the others.

    Raises
    ------
    AnnotationError
        No labelled slide is left.
    """
    left_out: dict[str, str] = {}
    usable = TrainingSlides(
        labelled=_usable(slides.labelled, left_out),
        validation=_usable(slides.validation, left_out),
        unlabelled=_usable(map(_without_failed_labels, slides.unlabelled), left_out),
    )
    if not usable.labelled:
        errors = "; ".join(f"{slide}: {error}" for slide, error in left_out.items())
        raise AnnotationError(
            f"no labelled slide is left: {errors}; repair one of them, or label another slide"
        )
    return usable, left_out


def checksums(slides: TrainingSlides) -> dict[str, str]:
    """For each slide, a checksum of what its stores were made from.

    Labels of unlabelled slides do not count: the model is not trained on them.
    """
    unlabelled = [replace(slide, labels=None) for slide in slides.unlabelled]
    return {
        slide.slide: _checksum(slide)
        for slide in (*slides.labelled, *slides.validation, *unlabelled)
    }


def _usable(slides: Iterable[TrainingSlide], left_out: dict[str, str]) -> list[TrainingSlide]:
    """The slides without a recorded error; the errors of the others are added to `left_out`."""
    usable = []
    for slide in slides:
        paths = [path for path in (slide.tiles, slide.labels, slide.pseudo) if path]
        errors = [error for error in map(recorded_error, paths) if error]
        if errors:
            log.warning("%s is left out of training: %s", slide.slide, errors[0])
            left_out[slide.slide] = errors[0]
        else:
            usable.append(slide)
    return usable


def _without_failed_labels(slide: TrainingSlide) -> TrainingSlide:
    """A slide without its failed labels: labels of unlabelled slides only serve the log."""
    if slide.labels and recorded_error(slide.labels):
        return replace(slide, labels=None)
    return slide


def _checksum(slide: TrainingSlide) -> str:
    tiles = TileStore.read(slide.tiles)
    sources: list[dict[str, object]] = [
        {"fingerprint": tiles.fingerprint, "parameters": tiles.parameters}
    ]
    if slide.labels:
        # Label stores have no fingerprint of their own.
        parameters = LabelStore.read(slide.labels).parameters
        sources.append({"fingerprint": None, "parameters": parameters})
    text = json.dumps(sources, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
