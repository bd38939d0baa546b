"""The weights of a finished model, checked against its card."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from semimoe.model_card import CARD, WEIGHTS, ModelCard
from semimoe.model_errors import ModelError
from semimoe.tensor_files import load_tensors
from tiling.raster.atomic_files import file_checksum

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def load_weights(folder: Path, card: ModelCard) -> "dict[str, Tensor]":
    """The weights of the model in a folder.

    Cards of older versions have no checksum: their weights are read with a warning.

    Raises
    ------
    ModelError
        The file is missing or damaged, or its checksum is not that of the card.
    """
    path = folder / WEIGHTS
    tensors, _ = load_tensors(path)
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
    return tensors
