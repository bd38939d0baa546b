"""The card of a trained model, `model.json`: everything about a model except its weights.

Typed here once, checked where it is read, and written from the type.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from semimoe.methods import METHODS
from semimoe.model_errors import ModelError
from semimoe.older_cards import upgraded_card
from semimoe.setting_problems import validation_problems
from semimoe.setting_types import Integer, Number
from semimoe.setting_values import LARGEST_DISTANCE_UM, LARGEST_MPP_UM
from semimoe.settings import GLASS_AUGMENTATIONS, NetworkSettings, TrainingSettings
from semimoe.split_choice import SplitChoice
from tiling.raster.atomic_files import write_atomic
from tiling.raster.geometry import MOST_TILE_PX

CARD = "model.json"
HISTORY = "history.csv"
WEIGHTS = "model.safetensors"
WARM_START = "warm_start.safetensors"
# Gland lumina that are open to glass are at most about this wide.
_GLASS_MARGIN_UM = 100.0


class _CardPart(BaseModel):
    """A part of the card; names that this version does not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Normalisation(_CardPart):
    """Mean and standard deviation of the images per channel, in [0, 1]."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class ImageNames(_CardPart):
    """Names of the images that a model was trained on, by role."""

    labelled: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()


class SourceImages(_CardPart):
    """Names of images whose outlines were used for the models that this one learnt from.

    Attributes
    ----------
    learnt : images that the models were trained on with their outlines
    chosen : those, and the images by which an epoch or threshold was chosen
    """

    learnt: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


class ImageResolution(_CardPart):
    """How images of folders were brought to the network's resolution."""

    image_mpp_um: Number
    mpp_um: Number
    square_px: int | None = None


class StartModelScores(_CardPart):
    """Scores of the start model on the validation images of a fine-tuned model.

    Attributes
    ----------
    dice_at_half, tuned_dice_at_half : pixel Dice at threshold 0.5, of the start model and of the
        best epoch
    dice, object_f1, object_dice : of the start model with its own threshold and split parameters
    """

    dice_at_half: float | None = None
    tuned_dice_at_half: float | None = None
    dice: float | None = None
    object_f1: float | None = None
    object_dice: float | None = None


class ChoiceWithFlips(_CardPart):
    """Threshold and split parameters for maps that are means over four flips.

    Attributes
    ----------
    validation : scores on the validation images
    """

    threshold: Number = Field(gt=0, lt=1)
    split: SplitChoice
    validation: dict[str, Any] | None = None


class TrainingNotes(_CardPart):
    """Where the data of a model came from. Every entry is optional.

    Attributes
    ----------
    licence : terms of the data; they apply to every model and result made from this one
    slides, validation : slides that were trained on and held out (workflow), or a sentence about
        what was held out
    left_out : slides that could not be used, with the reason
    data : checksums of what was read: per slide, or one for a folder of images
    images, known : names of images (folders of images)
    labels_used : labelled images and those held out
    resolution : of folders of images
    start_from, pseudo_from : models that this one learnt from
    warnings : reasons why the scores of this model are too high
    """

    licence: str | None = None
    slides: tuple[str, ...] | None = None
    validation: tuple[str, ...] | str | None = None
    left_out: dict[str, str] | None = None
    unlabelled_tiles: int | None = None
    data: dict[str, str] | str | None = None
    images: ImageNames | None = None
    known: SourceImages | None = None
    labels_used: int | None = None
    resolution: ImageResolution | None = None
    split: dict[str, Any] | None = None
    patients: dict[str, Any] | None = None
    start_from: str | None = None
    pseudo_from: str | None = None
    warnings: tuple[str, ...] | None = None


class ModelCard(_CardPart):
    """Everything about a trained model except its weights.

    Attributes
    ----------
    method : see `semimoe.methods`
    name : what reports call the model; None: they show its folder
    mpp_um, tile_px : um per pixel, and side of a tile, that it was trained at
    sdf_um : distance at which the signed distance field saturates, um
    sdf_scale : "um", "skeleton", "tile", or "none" for a network without a distance head
    threshold, threshold_from : gland probability of the mask, and how it was chosen
        ("validation", "default", ...)
    flips : what replaces `threshold`, `split` and `validation` for maps that are means over flips;
        None: it was not chosen
    validation : scores on the validation images
    validation_before : scores of the model that was fine-tuned
    start_share : share of that model in the mean of its weights and the trained ones
    warnings : reasons why the model may be worse than it seems
    gate_notes : observations about the gates, such as expert collapse: the model is valid
    micro_batch : largest number of tiles in one forward pass of the training: less than the batch
        if memory ran out or several devices shared it
    kernels : "float16" where the kernels are stored in half precision
    weights_sha256 : checksum of `model.safetensors`; older cards have none
    """

    method: str
    name: str | None = Field(None, max_length=200)
    network: NetworkSettings
    training: TrainingSettings | None = None
    mpp_um: Number = Field(gt=0, le=LARGEST_MPP_UM)
    tile_px: Integer = Field(gt=0, le=MOST_TILE_PX)
    sdf_um: Number = Field(gt=0, le=LARGEST_DISTANCE_UM)
    sdf_scale: Literal["um", "skeleton", "tile", "none"]
    normalisation: Normalisation
    threshold: Number = Field(gt=0, lt=1)
    threshold_from: str = "unknown"
    split: SplitChoice
    flips: ChoiceWithFlips | None = None
    seed: int | None = None
    epochs: Number | None = Field(None, gt=0)
    steps_per_epoch: int | None = None
    best_epoch: int | None = None
    validation: dict[str, Any] | None = None
    validation_before: StartModelScores | None = None
    start_share: Number | None = Field(None, ge=0, le=1)
    warnings: tuple[str, ...] = ()
    gate_notes: tuple[str, ...] = ()
    micro_batch: int | None = None
    devices: int | None = None
    parameters: int | None = None
    kernels: str | None = None
    weights_sha256: str | None = None
    versions: dict[str, str] | None = None
    notes: TrainingNotes = TrainingNotes()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, keys sorted: the entries that the card was made with."""
        # Not in JSON mode, which writes 5 as 5.0.
        values = self.model_dump(exclude_unset=True)
        plain: dict[str, Any] = json.loads(json.dumps(values, sort_keys=True))
        return plain

    @property
    def splits_by_distance(self) -> bool:
        """Whether its distance map has a fixed scale, so that glands can be split by it.

        With the scale `skeleton` a depth of `sdf_um` is that of the whole way from outline to
        skeleton.
        """
        return self.sdf_scale in ("um", "skeleton")

    def for_prediction(self, *, flips: bool) -> "ModelCard":
        """The card with the threshold and split parameters of the maps that are predicted."""
        if not flips or self.flips is None:
            return self
        chosen = {name: getattr(self.flips, name) for name in ("threshold", "split", "validation")}
        return self.model_copy(update=chosen)

    @property
    def glass_margin_um(self) -> float:
        """Width of the glass around tissue that the model can predict, um.

        Only a model that was trained with glass at the edges of its tiles can: other models predict
        false glands along the edge of glass.
        """
        is_trained_with_glass = self.training and self.training.augment in GLASS_AUGMENTATIONS
        return _GLASS_MARGIN_UM if is_trained_with_glass else 0.0


def save_card(folder: Path, card: ModelCard) -> None:
    """Write `model.json`: the last file of a model folder."""
    write_atomic(folder / CARD, json.dumps(card.to_dict(), indent=2, sort_keys=True) + "\n")


def load_card(folder: Path) -> ModelCard:
    """Read and check the card of a trained model.

    Raises
    ------
    ModelError
        It is missing or not a model card.
    """
    path = folder / CARD
    if not path.is_file():
        reason = f"no {CARD} in it" if folder.is_dir() else "no such folder"
        raise ModelError(f"{folder}: {reason}; give the folder of a trained model")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: cannot be read as a model card ({error}); give the folder of a trained model"
        ) from error
    return parse_card(values, source=str(path))


def parse_card(values: object, *, source: str) -> ModelCard:
    """Check the values of a card.

    Parameters
    ----------
    source : file that they came from, for the message

    Raises
    ------
    ModelError
        They are not those of a model card, or of a method that this version does not know.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{source}: not a model card of this program")
    try:
        card = ModelCard(**upgraded_card(values))
    except (ValidationError, TypeError) as error:
        problems = (
            validation_problems(error) if isinstance(error, ValidationError) else [str(error)]
        )
        raise ModelError(
            f"{source}: not a model card of this program: {'; '.join(problems)[:500]}"
        ) from None
    if card.method not in METHODS:
        raise ModelError(
            f"{source}: method {card.method!r}, this program knows {', '.join(METHODS)}; update it"
        )
    if problem := _problem_of_read_card(card):
        raise ModelError(f"{source}: not a model card of this program: {problem}")
    return card


def _problem_of_read_card(card: ModelCard) -> str | None:
    """What is missing that is needed wherever a card is used; a card in memory may lack it."""
    mean, std = card.normalisation.mean, card.normalisation.std
    if (len(mean), len(std)) not in {(3, 3), (0, 0)} or not all(value > 0 for value in std):
        return "normalisation: three means and three standard deviations above 0 are needed"
    before = card.validation_before
    if before is not None and not before.model_fields_set:
        return "validation_before: scores of the start model are needed in it"
    return None
