"""`train`: from a folder of images to a model."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.datasets.image_dataset import GLAS_MPP_UM, Dataset, open_dataset
from semimoe.datasets.image_folder import FolderImages, ImageFile, image_size, read_image
from semimoe.datasets.image_lists import Row, read_split, split, with_role
from semimoe.datasets.image_resolution import SQUARE_PX, Resolution, isotropic, squeezed
from semimoe.datasets.lineage import files_read
from semimoe.methods import METHODS
from semimoe.model_card import (
    CARD,
    WEIGHTS,
    ImageNames,
    ImageResolution,
    ModelCard,
    TrainingNotes,
    images_of_sources,
    known_images,
    load_card,
)
from semimoe.model_errors import DataError, SettingsError
from semimoe.settings import NetworkSettings, TrainingSettings, preset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
_SHOWN = 3


def run(given: argparse.Namespace) -> None:
    """Train on a folder: some images held out for validation, some labelled, the rest unlabelled."""
    from semimoe.training.fit import fit
    from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData

    if (given.out / CARD).exists():
        raise SettingsError(
            f"--out {given.out}: holds a finished model; give another folder, or remove it"
        )
    network, training = _settings(given)
    dataset = open_dataset(given.data)
    rows = _roles(given, dataset)
    if given.pseudo_from is not None and not METHODS[given.method].uses_unlabelled:
        raise SettingsError(
            f"--pseudo-from: {given.method} takes no unlabelled image; leave it out, or give --method semimoe"
        )
    if given.pseudo_from is not None and given.devices > 1:
        raise SettingsError(
            "--pseudo-from: each of several processes would make all pseudo-labels; give --devices 1"
        )
    files = {file.name: file for file in dataset.training()}
    labelled, unlabelled, validation = (
        [files[image] for image in with_role(rows, role)]
        for role in ("labelled", "unlabelled", "validation")
    )
    if not labelled:
        raise DataError(f"{given.split}: no image of role labelled")
    resolution = _resolution(given, dataset, list(files.values()))
    teachers = _teachers(given)
    warnings = _checked(given, dataset, rows, teachers)
    sources = images_of_sources(known_images(card) for card in teachers.values())
    log.info(
        "%d labelled, %d unlabelled, %d validation images; pixels of %.4g um",
        *map(len, (labelled, unlabelled, validation)),
        resolution.mpp_um,
    )

    def source(
        chosen: list[ImageFile], *, labels: bool = True, pseudo: bool = False
    ) -> FolderImages | None:
        codes = (
            _pseudo_labels(given, chosen, resolution, network)
            if pseudo and given.pseudo_from
            else None
        )
        return (
            FolderImages(chosen, labels=labels, resolution=resolution, pseudo=codes)
            if chosen
            else None
        )

    fit(
        TrainingData(
            FolderImages(labelled, resolution=resolution),
            source(unlabelled, labels=given.unlabelled_truth, pseudo=True),
            source(validation),
        ),
        Recipe(given.method, network, training, resolution.mpp_um, given.seed),
        folders=RunFolders(
            given.out,
            checkpoint=given.out.with_name(given.out.name + ".resume"),
            start_from=given.start_from,
        ),
        resources=RunResources(given.device, given.threads, given.devices),
        notes=TrainingNotes(
            resolution=ImageResolution(**resolution.to_dict()),
            **(_of_teacher(given.pseudo_from) if given.pseudo_from else {}),
            **({"known": sources} if sources is not None else {}),
            **({"warnings": tuple(warnings)} if warnings else {}),
            data=files_read(labelled + validation, unlabelled, masks=given.unlabelled_truth),
            **_notes(given, dataset, rows),
        ),
    )


def _teachers(given: argparse.Namespace) -> dict[Path, ModelCard]:
    """Cards of the models that this one learns from."""
    return {
        folder: load_card(folder)
        for folder in (given.start_from, given.pseudo_from)
        if folder is not None
    }


def _checked(
    given: argparse.Namespace,
    dataset: Dataset,
    rows: Sequence[Row],
    teachers: dict[Path, ModelCard],
) -> list[str]:
    """What makes the scores of this run better than they are, told in log and card."""
    warnings = []
    held = {dataset.case(image).patient for image in with_role(rows, "validation")}
    both = sorted(
        {
            patient
            for row in rows
            if row.role != "validation" and (patient := dataset.case(row.image).patient) in held
        }
    )
    if both:
        warnings.append(
            f"{given.split}: patients {', '.join(both)} are both trained on and held out: validation is optimistic"
        )
    for folder, card in teachers.items():
        leaked = _leaked(card, rows)
        if leaked and folder == given.pseudo_from:
            raise DataError(
                f"--pseudo-from {folder}: knows the outlines of {_some(leaked)}, which are unlabelled or held out here; "
                "give a model trained on the same list"
            )
        if leaked:
            warnings.append(
                f"--start-from {folder}: knows the outlines of {_some(leaked)}, which are unlabelled or held out here "
                "(unless these are other images of the same names): scores are optimistic"
            )
        if not known_images(card).learnt:
            log.warning(
                "%s: does not say which images it learnt from; these may be among them", folder
            )
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _leaked(card: ModelCard, rows: Sequence[Row]) -> list[str]:
    """Images whose outlines a model knows, and this run says it does not use."""
    learnt, chosen = known_images(card)
    return [
        row.image
        for row in rows
        if (row.role == "unlabelled" and row.image in chosen)
        or (row.role == "validation" and row.image in learnt)
    ]


def _of_teacher(folder: Path) -> dict[str, Any]:
    """Which model made the pseudo-labels, and the licence of its data: what is learnt from it is under that licence too."""
    from tiling.raster.atomic_files import file_checksum

    licence = load_card(folder).notes.licence
    return {
        "pseudo_from": file_checksum(folder / WEIGHTS)[:16],
        **({"licence": licence} if licence else {}),
    }


def _pseudo_labels(
    given: argparse.Namespace,
    files: list[ImageFile],
    resolution: Resolution,
    network: NetworkSettings,
) -> "dict[str, NDArray[np.uint8]]":
    """What a trained model says of images that nobody outlined, at the working resolution."""
    from semimoe.prediction.image_predictor import ImagePredictor
    from tiling.raster.quantise import quantise_pseudo_label

    predictor = ImagePredictor(given.pseudo_from, device=given.device, threads=given.threads)
    if predictor.resolution != resolution:
        raise SettingsError(
            f"--pseudo-from {given.pseudo_from}: works at {predictor.resolution}, this run at {resolution}"
        )
    _check_teacher(given.pseudo_from, predictor.card, network)
    return {
        file.name: quantise_pseudo_label(predictor.maps(read_image(file.image))) for file in files
    }


def _check_teacher(folder: Path, card: ModelCard, network: NetworkSettings) -> None:
    """Its outputs must mean what those of this network mean."""
    teacher = card.network
    if absent := [task for task in network.expert_tasks if task not in teacher.expert_tasks]:
        raise SettingsError(
            f"--pseudo-from {folder}: has no expert of {', '.join(absent)}; take one that has, or set network.tasks"
        )
    meant = [("sdf", "sdf_scale"), ("sdf", "sdf_um"), ("bnd", "boundary")]
    for key in (key for task, key in meant if task in network.expert_tasks):
        if getattr(teacher, key) != getattr(network, key):
            raise SettingsError(
                f"--pseudo-from {folder}: network.{key} is {getattr(teacher, key)} there and {getattr(network, key)} here; make them alike"
            )


def _notes(given: argparse.Namespace, dataset: Dataset, rows: Sequence[Row]) -> dict[str, Any]:
    """What `evaluate` and `table` say about where a model comes from."""
    images = {role: with_role(rows, role) for role in ("labelled", "unlabelled", "validation")}
    return {
        "images": ImageNames(**images),
        "labels_used": len(images["labelled"]) + len(images["validation"]),
        "split": {"file": given.split.name}
        if given.split
        else {"protocol": given.protocol, "labelled": given.labelled, "seed": given.seed},
        "patients": dataset.shared_patients(),
    }


def _roles(given: argparse.Namespace, dataset: Dataset) -> list[Row]:
    """From a list, or drawn by seed; images without a mask are unlabelled, but for those of patients that are held out."""
    files = {file.name: file for file in dataset.training()}
    if given.split:
        rows = read_split(given.split)
        absent = [row.image for row in rows if row.image not in files]
        if absent:
            raise DataError(
                f"{given.split}: {', '.join(absent)} not among the training images of {given.data}"
            )
        unmasked = [
            row.image for row in rows if row.role != "unlabelled" and files[row.image].mask is None
        ]
        if unmasked:
            raise DataError(
                f"{given.split}: {', '.join(unmasked)} must have a mask for its role, and has none"
            )
        return rows
    masked = {name: dataset.case(name) for name, file in files.items() if file.mask is not None}
    rows = split(
        masked,
        protocol=given.protocol,
        labelled=given.labelled,
        seed=given.seed,
        validation=given.validation,
    )
    held = {row.patient for row in rows if row.role == "validation"}
    bare = [Row(name, *dataset.case(name), "unlabelled") for name in files if name not in masked]
    return rows + [row for row in bare if row.patient not in held]


def _settings(given: argparse.Namespace) -> tuple[NetworkSettings, TrainingSettings]:
    """Preset (or the network of the model to start from), then the short options, then `--set`."""
    from semimoe.setting_overrides import overridden

    network, training = preset(given.preset)
    if given.start_from is not None:
        network = load_card(given.start_from).network
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


def _resolution(given: argparse.Namespace, dataset: Dataset, files: list[ImageFile]) -> Resolution:
    """As asked; the presets of the paper squeeze to a square."""
    image_mpp_um = given.mpp or GLAS_MPP_UM
    if given.mpp is None and dataset.kind != "glas":
        log.warning(
            "%s is not GlaS and --mpp was not given: pixels of %g um are assumed",
            given.data,
            image_mpp_um,
        )
    resize = given.resize or ("area" if given.preset == "default" else "square")
    if resize == "area":
        return isotropic(image_mpp_um, given.work_mpp)
    if given.work_mpp is not None:
        raise SettingsError(
            "--work-mpp and --resize square exclude each other: a square has its own scale; give --resize area"
        )
    return squeezed(image_mpp_um, [image_size(file.image) for file in files], side_px=SQUARE_PX)
