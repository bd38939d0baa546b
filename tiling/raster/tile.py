"""One tile with all that belongs to it: the item of every tile source of both packages."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tile(NamedTuple):
    """Image of a tile with its labels and masks, all of one size.

    Attributes
    ----------
    image : uint8 (3, H, W), 255 outside the slide
    labels : int32 (H, W), 0 background, 1..N; None without labels
    weight : uint8 (H, W), 1 = annotated and not ignored; None: every pixel counts, or no labels
    pseudo : uint8 (3, H, W), mask 0/1, quantised sdf, boundary 0/1; None without pseudo-labels
    inside : uint8 (H, W), 1 = tissue; None where it was not asked for
    skeleton : uint8 (H, W), skeleton-aware distance of the labels; None where it was not asked for
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32] | None = None
    weight: NDArray[np.uint8] | None = None
    pseudo: NDArray[np.uint8] | None = None
    inside: NDArray[np.uint8] | None = None
    skeleton: NDArray[np.uint8] | None = None
