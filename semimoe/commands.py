"""What the commands of `python -m semimoe` do."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from semimoe.errors import DataError, SettingsError
from semimoe.folders import FolderImages, ImageFile, by_stem, find_images, image_size, read_image, read_labels, training_images
from semimoe.metrics import object_scores, pixel_scores
from semimoe.resolution import SQUARE_PX, Resolution, enlarged, isotropic, squeezed

if TYPE_CHECKING:
    from semimoe.settings import NetworkSettings, TrainingSettings

_SHOWN = (
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
)
_MOST_LABELS = 65535


def train(given: argparse.Namespace) -> None:
    """Train on a folder: some images held out for validation, some labelled, the rest unlabelled."""
    from semimoe.training import fit

    network, training = _settings(given)
    labelled, unlabelled, validation = split_images(
        training_images(given.data), labelled=given.labelled, validation=given.validation, seed=given.seed
    )
    resolution = _resolution(given, labelled)

    def source(files: list[ImageFile], *, labels: bool = True) -> FolderImages | None:
        return FolderImages(files, labels=labels, resolution=resolution) if files else None

    fit(
        given.method,
        FolderImages(labelled, resolution=resolution),
        source(unlabelled, labels=given.unlabelled_truth),
        source(validation),
        network=network,
        training=training,
        mpp_um=resolution.mpp_um,
        seed=given.seed,
        device=given.device,
        threads=given.threads,
        out=given.out,
        resume=given.out.with_name(given.out.name + ".resume"),
        notes={
            "resolution": resolution.to_dict(),
            "images": {
                "labelled": [file.name for file in labelled],
                "unlabelled": [file.name for file in unlabelled],
                "validation": [file.name for file in validation],
            },
        },
    )


def _settings(given: argparse.Namespace) -> "tuple[NetworkSettings, TrainingSettings]":
    """Preset, then the short options, then `--set`."""
    from semimoe.overrides import overridden
    from semimoe.settings import NetworkSettings, TrainingSettings, preset

    network, training = (NetworkSettings(), TrainingSettings(warm_start_epochs=0)) if given.preset == "default" else preset(given.preset)
    short = {
        "network.width": given.width,
        "training.lr": given.lr,
        "training.epochs": given.epochs,
        "training.steps_per_epoch": given.steps,
        "training.batch": given.batch,
        "training.tile_px": given.tile,
    }
    asked = [f"{name}={value}" for name, value in short.items() if value is not None]
    return overridden(network, training, [*asked, *given.set])


def _resolution(given: argparse.Namespace, files: list[ImageFile]) -> Resolution:
    """As asked; the presets of the paper squeeze to a square."""
    resize = given.resize or ("area" if given.preset == "default" else "square")
    if resize == "area":
        return isotropic(given.mpp, given.work_mpp)
    if given.work_mpp is not None:
        raise SettingsError("--work-mpp and --resize square exclude each other: a square has its own scale; give --resize area")
    return squeezed(given.mpp, [image_size(file.image) for file in files], side_px=SQUARE_PX)


def split_images(
    files: list[ImageFile], *, labelled: float, validation: float, seed: int
) -> tuple[list[ImageFile], list[ImageFile], list[ImageFile]]:
    """Labelled, unlabelled and validation images, drawn by seed.

    Parameters
    ----------
    labelled : share of the images with masks that are not held out, (0, 1]
    validation : share of the images with masks that are held out, [0, 1)

    Raises
    ------
    DataError
        No image has a mask, or none is left to train on.
    """
    if not (0 < labelled <= 1 and 0 <= validation < 1):
        raise SettingsError(f"--labelled {labelled}, --validation {validation}: shares in (0, 1] and [0, 1) are needed")
    outlined = [file for file in files if file.mask is not None]
    order = [outlined[i] for i in np.random.default_rng(seed).permutation(len(outlined))]
    held = round(validation * len(order))
    rest = order[held:]
    count = max(1, round(labelled * len(rest)))
    if not rest:
        raise DataError("no image with a mask (X_anno.*, or X.* in a folder Annotation/) is left to train on")
    return rest[:count], rest[count:] + [file for file in files if file.mask is None], order[:held]


def predict(given: argparse.Namespace) -> None:
    """Write one instance mask per image."""
    from semimoe.instances import SplitParameters, encode, split_glands
    from semimoe.prediction import Predictor, predict_array

    predictor = Predictor.load(given.model, device=given.device, threads=given.threads)
    card = predictor.card
    least = card.get("training", {}).get("min_area_um2", 0.0) if given.min_area_um2 is None else given.min_area_um2
    parameters = SplitParameters(
        threshold=card["threshold"], **card["split"], min_area_um2=least, sdf_um=card["sdf_um"], use_sdf=card["sdf_scale"] == "um"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    tile_px = int(card["tile_px"])
    resolution = _resolution_of(card, given.mpp)
    for file in find_images(given.images):
        image = read_image(file.image)
        shape = (image.shape[1], image.shape[2])
        maps = predict_array(predictor, resolution.image(image), tile_px=tile_px, overlap_px=tile_px // 4, batch=given.batch)
        gland, sdf, boundary, _ = encode(maps)
        mpp_um = resolution.mpp_um
        glands = split_glands(gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=parameters)
        labels = enlarged(glands, resolution.reduction(shape), shape)
        if labels.max(initial=0) > _MOST_LABELS:
            raise DataError(f"{file.image}: more than {_MOST_LABELS} glands do not fit a 16-bit mask; cut the image")
        Image.fromarray(labels.astype(np.uint16)).save(given.out / f"{file.name}.png")


def _resolution_of(card: dict[str, Any], image_mpp_um: float | None) -> Resolution:
    """How the images of a prediction are brought to the model's pixels; their own size as in training unless given."""
    trained = card.get("notes", {}).get("resolution")
    image_mpp_um = image_mpp_um or (trained or {}).get("image_mpp_um", card["mpp_um"])
    if trained and trained["square_px"] is not None:
        return Resolution(image_mpp_um, card["mpp_um"], trained["square_px"])
    return isotropic(image_mpp_um, card["mpp_um"])


def evaluate(given: argparse.Namespace) -> None:
    """Print pixel and object scores, per image and pooled."""
    pairs = _pairs(given.truth, given.prediction)
    truth, prediction = [], []
    for name, true, predicted in pairs:
        truth.append(read_labels(true))
        prediction.append(read_labels(predicted))
        if truth[-1].shape != prediction[-1].shape:
            raise DataError(
                f"{predicted}: {prediction[-1].shape[::-1]} px, but the truth {true.name} of {name} has {truth[-1].shape[::-1]}"
            )
    images = {name: _scores(truth[i : i + 1], prediction[i : i + 1], given.mpp) for i, (name, *_) in enumerate(pairs)}
    mean = {key: _mean([scores[key] for scores in images.values()]) for key in _SHOWN[:6]}
    result = {"pooled": _scores(truth, prediction, given.mpp), "mean": mean, "images": images}
    print(json.dumps(result, indent=2) if given.json else _text({**images, "mean of images": mean, "pooled": result["pooled"]}))


def table(given: argparse.Namespace) -> None:
    """Print the pooled scores of several results as one table."""
    rows = {}
    for path in given.results:
        try:
            rows[path.stem] = json.loads(path.read_text(encoding="utf-8"))["pooled"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a result of `evaluate --json` ({error})") from error
    print(_text(rows))


def _pairs(truth: Path, prediction: Path) -> list[tuple[str, Path, Path]]:
    """(name, mask, prediction) of every image of the truth folder."""
    pairs, missing = [], []
    files = {file.name: file.mask or file.image for file in find_images(truth)} if _has_images(truth) else {}
    for path in sorted(truth.glob("*_anno.*")):  # masks without their images beside them
        files.setdefault(path.stem.removesuffix("_anno"), path)
    if not files:
        raise DataError(f"{truth}: no mask")
    for name, mask in files.items():
        found = by_stem(prediction, name) or by_stem(prediction, f"{name}_anno")
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


def _scores(truth: list[Any], prediction: list[Any], mpp_um: float) -> dict[str, Any]:
    return {**pixel_scores(truth, prediction)._asdict(), **object_scores(truth, prediction, mpp_um=mpp_um)._asdict()}


def _mean(values: list[float | None]) -> float | None:
    """None as soon as one image has no figure: a distance to nothing is never left out."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _text(rows: dict[str, dict[str, Any]]) -> str:
    def cell(value: object) -> str:
        return "missing" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [["image", *_SHOWN]] + [[name, *(cell(row[key]) if key in row else "" for key in _SHOWN)] for name, row in rows.items()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)
