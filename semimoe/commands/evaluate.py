"""`evaluate`: scores of masks, or of a model on images with masks."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semimoe.datasets.image_dataset import GLAS_MPP_UM, open_dataset, part_of
from semimoe.datasets.image_folder import ImageFile, by_stem, find_images, read_image, read_labels
from semimoe.evaluation.protocols import (
    Pair,
    scores_as_published,
    scores_at_own_size,
    scores_at_square,
)
from semimoe.evaluation.result_tables import text_table
from semimoe.methods import METHODS
from semimoe.model_card import ImageNames, ModelCard
from semimoe.model_errors import DataError, SettingsError

MASKS_AS_GIVEN = "masks as given"


def run(given: argparse.Namespace) -> None:
    """Print pixel and object scores, per image and pooled."""
    if (given.prediction is None) == (given.model is None):
        raise SettingsError("give --prediction (masks) or --model, one of them")
    if given.protocol == "as-published" and given.model is None:
        raise SettingsError(
            "--protocol as-published sweeps thresholds over probabilities: give --model instead of --prediction"
        )
    if not 0 <= given.min_object_um2 < float("inf"):
        raise SettingsError(f"--min-object-um2 {given.min_object_um2}: 0 or more is needed")
    result = _of_model(given) if given.model is not None else _of_masks(given)
    print(json.dumps(result, indent=2) if given.json else _text(result))


def _of_masks(given: argparse.Namespace) -> dict[str, Any]:
    pairs = []
    for name, true, predicted in _paired(given.truth, given.prediction):
        pairs.append(
            _pair(
                name,
                read_labels(true),
                read_labels(predicted),
                where=f"{predicted}: its truth is {true.name}",
            )
        )
    mpp_um = given.mpp or (GLAS_MPP_UM if all(part_of(pair.name) for pair in pairs) else None)
    scores = _honest(pairs, mpp_um=mpp_um, min_object_um2=given.min_object_um2)
    head = {
        "protocol": given.protocol or MASKS_AS_GIVEN,
        "truth": _named(given.truth),
        "mpp_um": mpp_um,
    }
    return {**head, **_patients(given.truth), **scores}


def _of_model(given: argparse.Namespace) -> dict[str, Any]:
    """The model on the images that lie with the masks."""
    from semimoe.prediction.image_predictor import ImagePredictor

    predictor = ImagePredictor(
        given.model,
        device=given.device,
        threads=given.threads,
        image_mpp_um=given.mpp,
        precision=given.precision,
        flips=given.flips,
    )
    card, mpp_um = predictor.card, predictor.resolution.image_mpp_um
    protocol = given.protocol or "honest"
    head = {
        "protocol": protocol,
        "truth": _named(given.truth),
        "mpp_um": mpp_um,
        **_patients(given.truth),
        "model": _origin(card),
    }
    head["prediction"] = predictor.how
    files = list(_with_masks(given.truth))
    if protocol == "as-published":
        truths = [read_labels(mask) for _, mask in files]
        found = scores_as_published(
            truths, [predictor.maps(read_image(file.image))[0] for file, _ in files]
        )
        threshold = {
            "value": found.pop("threshold"),
            "from": "best of 0, .02 .. .88 on these test images",
        }
        return {**head, "threshold": threshold, "size": "256 x 256", **found}
    pairs = []
    for file, mask in files:
        image = read_image(file.image)
        labels = predictor.glands(predictor.maps(image), (image.shape[1], image.shape[2]))
        pairs.append(
            _pair(
                file.name,
                read_labels(mask),
                labels,
                where=f"{mask}: its image is {file.image.name}",
            )
        )
    threshold = {"value": card.threshold, "from": card.threshold_from}
    head["warnings"] = list(card.warnings)
    return {
        **head,
        "threshold": threshold,
        **_honest(pairs, mpp_um=mpp_um, min_object_um2=given.min_object_um2),
    }


def _honest(pairs: list[Pair], *, mpp_um: float | None, min_object_um2: float) -> dict[str, Any]:
    """The challenge's row always counts every object; one without small objects stands beside it when asked for."""
    if min_object_um2 and mpp_um is None:
        raise SettingsError("--min-object-um2 needs --mpp, the pixel size of the masks")
    result = {**scores_at_own_size(pairs, mpp_um=mpp_um), "at_256": scores_at_square(pairs)}
    if min_object_um2:
        large = scores_at_own_size(pairs, mpp_um=mpp_um, min_object_um2=min_object_um2)
        result["without_small_objects"] = {
            key: large[key] for key in ("min_object_um2", "pooled", "mean")
        }
    return result


def _origin(card: ModelCard) -> dict[str, Any]:
    """What a table needs to know about a model."""
    notes = card.notes
    images = notes.images or ImageNames()
    chosen_by = "best on validation" if images.validation else "the last"
    return {
        "method": card.method,
        "checkpoint": f"epoch {card.best_epoch}, {chosen_by}",
        "seed": card.seed,
        "labelled": len(images.labelled),
        "unlabelled": len(images.unlabelled),
        "validation": len(images.validation),
        "labels_used": notes.labels_used,
        "fine_tuned": notes.start_from is not None,
        "pseudo_labels": _pseudo_labels(card),
        "network": card.network.to_dict(),
        "training": {} if card.training is None else card.training.to_dict(),
        "resolution": None if notes.resolution is None else notes.resolution.model_dump(),
    }


def _pseudo_labels(card: ModelCard) -> str:
    """Where a model's pseudo-labels came from: rows that differ in it are no seeds of one another."""
    images = card.notes.images or ImageNames()
    if not METHODS[card.method].uses_unlabelled or not images.unlabelled:
        return "none"
    return "of a given model" if card.notes.pseudo_from is not None else "online"


def _named(truth: Path) -> str:
    """Name of the folder: scores on testA and on testB never make one mean."""
    return truth.resolve().name


def _patients(truth: Path) -> dict[str, Any]:
    """Whether test patients were trained on, where a Grade.csv lies with the images."""
    try:
        dataset = open_dataset(truth)
    except DataError:  # masks alone
        return {}
    return {"patients": dataset.shared_patients()} if dataset.kind == "glas" else {}


def _pair(name: str, truth: Any, prediction: Any, *, where: str) -> Pair:  # noqa: ANN401  # arrays
    if truth.shape != prediction.shape:
        raise DataError(
            f"{where}; {prediction.shape[::-1]} px are predicted, {truth.shape[::-1]} are in the truth"
        )
    return Pair(name, truth, prediction)


def _with_masks(truth: Path) -> Iterator[tuple[ImageFile, Path]]:
    for file in find_images(truth):
        if file.mask is None:
            raise DataError(
                f"{file.image}: no mask (X_anno.*, or X.* in a folder Annotation/) to score against"
            )
        yield file, file.mask


def _paired(truth: Path, prediction: Path) -> list[tuple[str, Path, Path]]:
    """(name, mask, prediction) of every image of the truth folder."""
    pairs, missing = [], []
    files = (
        {file.name: file.mask or file.image for file in find_images(truth)}
        if _has_images(truth)
        else {}
    )
    for path in sorted(truth.glob("*_anno.*")):  # masks without their images beside them
        files.setdefault(path.stem.removesuffix("_anno"), path)
    if not files:
        raise DataError(f"{truth}: no mask")
    for name, mask in files.items():
        # A truth folder may be scored against itself: there the mask is X_anno.*, and X.* is the picture.
        found = by_stem(prediction, f"{name}_anno") or by_stem(prediction, name)
        if found is None:
            missing.append(name)
        else:
            pairs.append((name, mask, found))
    if missing:
        raise DataError(f"{prediction}: no prediction for {', '.join(missing)}")
    return pairs


def _has_images(folder: Path) -> bool:
    try:
        return bool(find_images(folder))
    except DataError:
        if not folder.is_dir():
            raise
        return False


def _text(result: dict[str, Any]) -> str:
    head = [f"protocol: {result['protocol']}"]
    if "threshold" in result:
        head.append(f"threshold: {result['threshold']['value']} ({result['threshold']['from']})")
    if "prediction" in result:
        flips = ", mean over four flips" if result["prediction"]["flips"] else ""
        head.append(f"prediction: {result['prediction']['precision']}{flips}")
    head += [f"warning: {warning}" for warning in result.get("warnings", [])]
    if "patients" in result:
        head.append(f"patients: {result['patients']['note']}")
    pooled = {"pooled": result["pooled"]}
    if "images" not in result:
        return "\n".join([*head, text_table(pooled, ("dice", "jaccard"))])
    shown = (
        "dice",
        "jaccard",
        "object_f1",
        "object_dice",
        "object_hausdorff_px",
        "object_hausdorff_um",
        "tp",
        "fp",
        "fn",
        "hausdorff_missing",
        "splits",
        "merges",
    )
    rows = {**result["images"], "mean of images": result["mean"], **pooled}
    head.append(
        f"objects of at least {result['min_object_um2']:g} um2 count, those of the challenge"
    )
    if "without_small_objects" in result:
        large = result["without_small_objects"]
        rows[f"pooled, objects >= {large['min_object_um2']:g} um2"] = large["pooled"]
    rows |= {
        "pooled at 256 x 256": result["at_256"]["pooled"],
        "mean of images at 256 x 256": result["at_256"]["mean"],
    }
    return "\n".join([*head, text_table(rows, shown)])
