"""Test-time augmentation: maps as means over an image and its three flips."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semimoe.setting_types import FlipsChoice
from semimoe.settings import Device
from tiling.raster.blending import PredictTiles

if TYPE_CHECKING:
    from semimoe.model_card import ModelCard

Array = TypeVar("Array", bound=Any)  # of numpy or torch

# Axes of (B, C, H, W) along which an image is flipped: none, left-right, up-down, both.
FLIPS = ((), (3,), (2,), (2, 3))


def resolve_flips(requested: FlipsChoice, card: "ModelCard", device: Device) -> bool:
    """Whether maps are means over flips.

    For auto they are on a GPU, if the model has threshold and split parameters for such maps. On a
    CPU the network takes most of the time, and four times as long with flips.
    """
    if requested == "auto":
        return device == "gpu" and card.flips is not None
    return requested


def mean_over_flips(results: Sequence[Array]) -> Array:
    """Mean over one result, or over those of the four flips in the order of `FLIPS`.

    The sums are made in pairs that a flip exchanges. So a flipped image gives exactly the flipped
    mean, to the last bit.
    """
    if len(results) == 1:
        return results[0]
    unflipped, left_right, up_down, both = results
    mean: Array = ((unflipped + left_right) + (up_down + both)) / len(results)
    return mean


def with_flips(predict: PredictTiles) -> PredictTiles:
    """The prediction of tiles as a mean over the tiles and their flips."""

    def predict_flips(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return mean_over_flips(
            [np.flip(predict(np.ascontiguousarray(np.flip(images, axes))), axes) for axes in FLIPS]
        )

    return predict_flips
