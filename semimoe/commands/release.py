"""`release`: from a trained model to one that other people can use."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from semimoe.commands.model_folder import check_model_folder
from semimoe.model_card import ChoiceWithFlips, ModelCard, load_card
from semimoe.model_errors import SettingsError
from semimoe.model_weights import load_weights, save_model

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
# First words of warnings about how a run chose its threshold, which `release` replaces.
_THRESHOLD_WARNINGS = ("no validation:", "the threshold ")


def run(arguments: argparse.Namespace) -> None:
    """Write a model with kernels in half precision and the licence of its data.

    With `--folds`, threshold and split parameters come from a cross-validation.
    """
    check_model_folder(arguments.out)
    for option, value in (("--split-rule", arguments.split_rule), ("--flips", arguments.flips)):
        if value and not arguments.folds:
            raise SettingsError(
                f"{option} needs --folds: their held-out images decide threshold and split"
            )
    card = load_card(arguments.model)
    if arguments.folds:
        if arguments.data is None:
            raise SettingsError("--folds needs --data, the images that the folds were trained on")
        card = _with_cross_validation(card, arguments)
    licence = _joined_licence(arguments.licence, card.notes.licence or "")
    notes = card.notes.model_copy(update={"licence": licence})
    card = card.model_copy(update={"notes": notes, "kernels": "float16"})
    tensors, metadata = load_weights(arguments.model, card)
    save_model(arguments.out, _with_half_kernels(tensors), metadata, card)
    log.info("%s: model with kernels in half precision; licence: %s", arguments.out, licence)


def _with_cross_validation(card: ModelCard, arguments: argparse.Namespace) -> ModelCard:
    """The card with threshold and split parameters that are best on the held-out images."""
    from semimoe.commands.release_folds import load_folds
    from semimoe.prediction.flips import with_flips
    from semimoe.settings import TrainingSettings
    from semimoe.training.validation import ValidationSettings, choose

    training = card.training or TrainingSettings()
    training = training.model_copy(
        update={
            "split_rule": arguments.split_rule or training.split_rule,
            "choose_with_flips": arguments.flips or training.choose_with_flips,
        }
    )
    folds = load_folds(arguments, card)
    settings = ValidationSettings(card.network, training, card.mpp_um)
    choice = choose([(fold.predictor, fold.held_out) for fold in folds], settings)
    log.info("threshold %g, split %s: %s", choice.threshold, choice.split, choice.scores)
    flips = None
    if training.choose_with_flips:
        best = choose([(with_flips(fold.predictor), fold.held_out) for fold in folds], settings)
        log.info("with flips: threshold %g, split %s: %s", best.threshold, best.split, best.scores)
        flips = ChoiceWithFlips(
            threshold=best.threshold,
            split=best.split,
            validation={**best.scores, "folds": len(folds)},
        )
    warnings = [text for text in card.warnings if not text.startswith(_THRESHOLD_WARNINGS)]
    warnings += choice.warnings
    for fold in folds:
        warnings += fold.warnings
    changes: dict[str, Any] = {
        "threshold": choice.threshold,
        "threshold_from": f"cross-validation, {len(folds)} folds",
        "split": choice.split,
        "flips": flips,
        "training": training if card.training else None,
        "validation": {**choice.scores, "folds": len(folds)},
        "warnings": tuple(warnings),
    }
    return card.model_copy(update=changes)


def _joined_licence(licence: str, inherited: str) -> str:
    """The new licence, and that of the data of a model that this one was made from."""
    return licence if inherited in licence else f"{licence}; {inherited}"


def _with_half_kernels(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The tensors of a model, with kernels of convolutions as float16.

    Other tensors stay float32: the running variance of a feature can exceed the largest float16,
    and mean and standard deviation must be those of the card.
    """
    halved: dict[str, Tensor] = {
        name: tensor.half()
        for name, tensor in tensors.items()
        if name.endswith(".weight") and tensor.ndim == 4
    }
    return tensors | halved
