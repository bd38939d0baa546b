"""From the grid of a plan (1 um) to level 0 of the slide (0.5 um)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.synthetic.smooth_noise import Field

MPP_UM = 0.5
# Pixels of level 0 per cell of the plan.
SCALE = 2


def to_level0(field: NDArray[np.float32], size_px: tuple[int, int]) -> Field:
    """A coarse field on the grid of level 0, by bilinear interpolation with aligned pixel edges.

    Parameters
    ----------
    field : float32 (y, x); its last cell may reach over the slide's edge
    size_px : (height, width) of level 0

    Returns
    -------
    float32 (height, width)
    """
    factor = -(-size_px[0] // field.shape[0])
    enlarged = Image.fromarray(np.ascontiguousarray(field, np.float32)).resize(
        (field.shape[1] * factor, field.shape[0] * factor), Image.Resampling.BILINEAR
    )
    return np.array(enlarged.crop((0, 0, size_px[1], size_px[0])))
