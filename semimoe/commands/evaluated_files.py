"""The files that `evaluate` compares: masks of the truth with predicted masks, or with images."""

from pathlib import Path

from semimoe.datasets.image_dataset import SharedPatients, open_dataset
from semimoe.datasets.image_folder import ImageFile, NoImageError, files_by_stem, find_images
from semimoe.model_errors import DataError


def truth_name(truth: Path) -> str:
    """Name of the folder: scores of different test parts are never averaged."""
    return truth.resolve().name


def truth_patients(truth: Path) -> SharedPatients | None:
    """Whether test patients are also training patients, for GlaS; None for other folders."""
    try:
        dataset = open_dataset(truth)
    except NoImageError:  # a folder of masks without images
        return None
    except DataError as error:  # `Grade.csv` is damaged, or not the file of GlaS
        return SharedPatients(known=False, note=f"patients are not known ({error})")
    return dataset.shared_patients() if dataset.kind == "glas" else None


def files_with_masks(truth: Path) -> list[tuple[ImageFile, Path]]:
    """All images of a folder with their masks.

    Raises
    ------
    DataError
        An image has no mask.
    """
    files = []
    for file in find_images(truth):
        if file.mask is None:
            raise DataError(
                f"{file.image}: no mask (X_anno.*, or X.* in a folder Annotation/) to score against"
            )
        files.append((file, file.mask))
    return files


def mask_pairs(truth: Path, prediction: Path) -> list[tuple[str, Path, Path]]:
    """(name of the image, true mask, predicted mask) for every mask of the truth folder.

    Raises
    ------
    DataError
        The truth folder has no mask, a mask has no prediction, or two files of one folder differ
        only in their suffix.
    """
    pairs, missing = [], []
    predictions = files_by_stem(prediction) if prediction.is_dir() else {}
    for name, mask in _true_masks(truth).items():
        # X_anno.* first: in a folder that is scored against itself, X.* is the image.
        predicted = predictions.get(f"{name}_anno") or predictions.get(name)
        if predicted is None:
            missing.append(name)
        else:
            pairs.append((name, mask, predicted))
    if missing:
        raise DataError(
            f"{prediction}: no prediction for {', '.join(missing)}; predict these images, or "
            "remove their masks from the truth folder"
        )
    return pairs


def _true_masks(truth: Path) -> dict[str, Path]:
    """Name of the image -> mask; an image without a mask of its own is a mask."""
    try:
        masks = {file.name: file.mask or file.image for file in find_images(truth)}
    except NoImageError:
        masks = {}
    for stem, path in files_by_stem(truth).items():
        if stem.endswith("_anno"):  # masks whose images are not in the folder
            masks.setdefault(stem.removesuffix("_anno"), path)
    if not masks:
        raise DataError(f"{truth}: no mask; give the folder of masks X_anno.* or X.*")
    return masks
