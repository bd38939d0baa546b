"""`evaluate`: scores of masks, or of a model on images with masks."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semimoe.commands.evaluated_files import (
    files_with_masks,
    mask_pairs,
    truth_name,
    truth_patients,
)
from semimoe.datasets.image_dataset import GLAS_MPP_UM, part_of_image
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_folder import ImageFile
from semimoe.evaluation.protocols import (
    ScoredImage,
    scores_as_published,
    scores_at_own_size,
    scores_at_square,
    scores_of_large_objects,
)
from semimoe.evaluation.result_tables import Cell, text_table
from semimoe.evaluation.results import (
    EvaluatedModel,
    Evaluation,
    GlandEvaluation,
    GlandScores,
    PredictionMode,
    PublishedEvaluation,
    Settings,
    Threshold,
)
from semimoe.known_images import known_images
from semimoe.methods import METHODS
from semimoe.model_card import ImageNames, ModelCard
from semimoe.model_errors import DataError, SettingsError
from semimoe.setting_types import FLIPS_CHOICES

if TYPE_CHECKING:
    from semimoe.prediction.image_predictor import ImagePredictor

_MASKS_AS_GIVEN = "masks as given"


def run(arguments: argparse.Namespace) -> None:
    """Print pixel and object scores, per image and pooled."""
    if (arguments.prediction is None) == (arguments.model is None):
        raise SettingsError("give either --prediction (masks) or --model")
    if arguments.protocol == "as-published" and arguments.model is None:
        raise SettingsError(
            "--protocol as-published tries thresholds on probabilities: give --model instead of "
            "--prediction"
        )
    if not 0 <= arguments.min_object_um2 < float("inf"):
        raise SettingsError(f"--min-object-um2 {arguments.min_object_um2}: 0 or more is needed")
    if arguments.model is None:
        result: Evaluation = _evaluate_masks(arguments)
    else:
        result = _evaluate_model(arguments)
    print(json.dumps(result.to_json_dict(), indent=2) if arguments.json else _text(result))


def _evaluate_masks(arguments: argparse.Namespace) -> GlandEvaluation:
    images = []
    for name, true_path, predicted_path in mask_pairs(arguments.truth, arguments.prediction):
        true, predicted = read_labels(true_path), read_labels(predicted_path)
        _check_size(predicted, true, f"{predicted_path}: its truth is {true_path.name}")
        images.append(ScoredImage(name, true, predicted))
    has_glas_names = all(part_of_image(image.name) for image in images)
    head = Evaluation(
        protocol=arguments.protocol or _MASKS_AS_GIVEN,
        truth=truth_name(arguments.truth),
        mpp_um=arguments.mpp or (GLAS_MPP_UM if has_glas_names else None),
        patients=truth_patients(arguments.truth),
    )
    return _gland_evaluation(head, images, arguments.min_object_um2)


def _evaluate_model(arguments: argparse.Namespace) -> GlandEvaluation | PublishedEvaluation:
    """Scores of a model on the images in the folder of the masks."""
    from semimoe.prediction.image_predictor import ImagePredictor

    predictor = ImagePredictor(
        arguments.model,
        device=arguments.device,
        threads=arguments.threads,
        image_mpp_um=arguments.mpp,
        precision=arguments.precision,
        flips=FLIPS_CHOICES[arguments.flips],
    )
    head = Evaluation(
        protocol=arguments.protocol or "honest",
        truth=truth_name(arguments.truth),
        mpp_um=predictor.resolution.image_mpp_um,
        patients=truth_patients(arguments.truth),
        model=_evaluated_model(predictor.card),
        prediction=PredictionMode(precision=predictor.precision, flips=predictor.flips),
    )
    card, files = predictor.card, files_with_masks(arguments.truth)
    warnings = _known_images_warnings(card, [file for file, _ in files])
    if head.protocol == "as-published":
        return _published_evaluation(head, predictor, files, warnings)
    return _gland_evaluation(
        head,
        _predicted_images(predictor, files),
        arguments.min_object_um2,
        warnings=[*card.warnings, *warnings],
        threshold=Threshold(value=card.threshold, chosen_on=card.threshold_from),
    )


def _known_images_warnings(card: ModelCard, files: Sequence[ImageFile]) -> list[str]:
    """A warning if outlines of the images that are scored were used for the model."""
    known = known_images(card).chosen
    count = sum(file.name in known for file in files)
    if not count:
        return []
    return [
        f"{count} of these {len(files)} images were trained on or chose threshold and epoch "
        "(unless other images have the same names): scores are optimistic"
    ]


def _published_evaluation(
    head: Evaluation,
    predictor: "ImagePredictor",
    files: Sequence[tuple[ImageFile, Path]],
    warnings: list[str],
) -> PublishedEvaluation:
    truths, probabilities = [], []
    for file, mask in files:
        image, true = _read_pair(file, mask)
        truths.append(true)
        probabilities.append(predictor.maps(image)[0])
    scores = scores_as_published(truths, probabilities)
    return PublishedEvaluation(
        **dict(head),
        threshold=Threshold(
            value=scores.threshold, chosen_on="best of 0, .02 .. .88 on these test images"
        ),
        size="256 x 256",
        pooled=scores.pooled,
        warnings=[*warnings, scores.warning] if scores.warning else warnings,
        dice_by_threshold={
            str(threshold): dice for threshold, dice in scores.dice_by_threshold.items()
        },
    )


def _predicted_images(
    predictor: "ImagePredictor", files: Sequence[tuple[ImageFile, Path]]
) -> list[ScoredImage]:
    images = []
    for file, mask in files:
        image, true = _read_pair(file, mask)
        predicted = predictor.glands(predictor.maps(image), (image.shape[1], image.shape[2]))
        images.append(ScoredImage(file.name, true, predicted))
    return images


def _read_pair(file: ImageFile, mask: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """An image uint8 (3, H, W) and its true labels int32 (H, W)."""
    image, true = read_image(file.image), read_labels(mask)
    _check_size(image[0], true, f"{mask}: its image is {file.image.name}")
    return image, true


def _gland_evaluation(
    head: Evaluation,
    images: Sequence[ScoredImage],
    min_object_um2: float,
    *,
    warnings: list[str] | None = None,
    threshold: Threshold | None = None,
) -> GlandEvaluation:
    """Scores of all objects, as in the challenge, and also those without small objects."""
    large = None
    if min_object_um2:
        if head.mpp_um is None:
            raise SettingsError("--min-object-um2 needs --mpp, the pixel size of the masks")
        large = scores_of_large_objects(images, mpp_um=head.mpp_um, min_object_um2=min_object_um2)
    scores = scores_at_own_size(images, mpp_um=head.mpp_um)
    return GlandEvaluation(
        **dict(head),
        warnings=warnings,
        threshold=threshold,
        min_object_um2=0.0,
        pooled=scores.pooled,
        mean=scores.mean,
        images=scores.images,
        at_256=scores_at_square(images),
        without_small_objects=large,
    )


def _evaluated_model(card: ModelCard) -> EvaluatedModel:
    notes = card.notes
    images = notes.images or ImageNames()
    chosen = "best on validation" if images.validation else "the last"
    return EvaluatedModel(
        method=card.method,
        checkpoint=f"epoch {card.best_epoch}, {chosen}",
        seed=card.seed,
        labelled=len(images.labelled),
        unlabelled=len(images.unlabelled),
        validation=len(images.validation),
        labels_used=notes.labels_used,
        fine_tuned=notes.start_from is not None,
        pseudo_labels=_pseudo_label_source(card),
        network=_sorted(card.network.to_dict()),
        training={} if card.training is None else _sorted(card.training.to_dict()),
        resolution=None if notes.resolution is None else notes.resolution.model_dump(),
    )


def _sorted(settings: Settings) -> Settings:
    """The same settings in the order of the card's file."""
    return dict(sorted(settings.items()))


def _pseudo_label_source(card: ModelCard) -> str:
    """What made the pseudo-labels of a model: results that differ in it are different rows."""
    notes = card.notes
    has_unlabelled = notes.unlabelled_tiles or (notes.images and notes.images.unlabelled)
    if not METHODS[card.method].uses_unlabelled or not has_unlabelled:
        return "none"
    return "online" if notes.pseudo_from is None else "of a given model"


def _check_size(predicted: NDArray[Any], true: NDArray[np.int32], place: str) -> None:
    if true.shape != predicted.shape:
        raise DataError(
            f"{place}; the prediction has {predicted.shape[::-1]} px, the truth "
            f"{true.shape[::-1]} px"
        )


def _text(result: Evaluation) -> str:
    lines = _head_lines(result)
    if isinstance(result, PublishedEvaluation):
        pooled = result.pooled.to_json_dict()
        return "\n".join([*lines, text_table({"pooled": pooled}, ("dice", "jaccard"))])
    assert isinstance(result, GlandEvaluation)  # there are two kinds of results
    lines.append("every object counts, as in the challenge, unless a row says otherwise")
    rows: dict[str, dict[str, Cell]] = {
        name: scores.to_json_dict() for name, scores in result.images.items()
    }
    rows |= {"mean of images": result.mean.to_json_dict(), "pooled": result.pooled.to_json_dict()}
    if large := result.without_small_objects:
        rows[f"pooled, objects >= {large.min_object_um2:g} um2"] = large.pooled.to_json_dict()
    rows["pooled at 256 x 256"] = result.at_256.pooled.to_json_dict()
    rows["mean of images at 256 x 256"] = result.at_256.mean.to_json_dict()
    return "\n".join([*lines, text_table(rows, list(GlandScores.model_fields))])


def _head_lines(result: Evaluation) -> list[str]:
    lines = [f"protocol: {result.protocol}"]
    assert isinstance(result, GlandEvaluation | PublishedEvaluation)  # there are two kinds
    if result.threshold:
        lines.append(f"threshold: {result.threshold.value} ({result.threshold.chosen_on})")
    if result.prediction:
        flips = ", mean over four flips" if result.prediction.flips else ""
        lines.append(f"prediction: {result.prediction.precision}{flips}")
    lines += [f"warning: {warning}" for warning in result.warnings or []]
    if result.patients:
        lines.append(f"patients: {result.patients.note}")
    return lines
