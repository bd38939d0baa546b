"""The weights of a finished model, checked against its card."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_card import CARD, WEIGHTS, ModelCard, save_card
from semimoe.model_errors import ModelError
from semimoe.tensor_files import load_tensors, save_tensors
from tiling.raster.atomic_files import file_checksum

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def save_model(
    folder: Path, tensors: "dict[str, Tensor]", metadata: dict[str, Any], card: ModelCard
) -> None:
    """Write the weights, then the card with their checksum."""
    path = folder / WEIGHTS
    save_tensors(path, tensors, metadata)
    save_card(folder, card.model_copy(update={"weights_sha256": file_checksum(path)}))


def load_weights(folder: Path, card: ModelCard) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """The weights of the model in a folder, and the metadata of their file.

    Cards of older versions have no checksum: their weights are read with a warning.

    Raises
    ------
    ModelError
        The file is missing or damaged, or its checksum is not that of the card.
    """
    path = folder / WEIGHTS
    tensors, metadata = load_tensors(path)
    if card.weights_sha256 is None:
        log.warning(
            "%s: %s has no checksum of the weights (it is of an older version): damaged weights"
            " would not be noticed",
            folder,
            CARD,
        )
    elif file_checksum(path) != card.weights_sha256:
        raise ModelError(
            f"{path}: damaged, or not the weights of {CARD} (wrong checksum);"
            " copy both files again from the same training run"
        )
    return tensors, metadata
