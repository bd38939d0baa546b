"""Smooth random fields, the material of everything irregular in a synthetic section."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Field = NDArray[np.float32]  # values on a grid, (y, x)
Mask = NDArray[np.bool_]  # (y, x)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Noise of mean 0 and variance 1 with spots of about `scale` cells.

    Parameters
    ----------
    rng : random numbers
    shape : (y, x)
    scale : size of the spots in cells

    Returns
    -------
    float32 (y, x)
    """
    coarse = [max(int(np.ceil(side / scale)) + 3, 4) for side in shape]
    values = rng.standard_normal(coarse, dtype=np.float32)
    enlarged_size = (int(coarse[1] * scale), int(coarse[0] * scale))
    enlarged = np.asarray(Image.fromarray(values).resize(enlarged_size, Image.Resampling.BICUBIC))
    noise = enlarged[: shape[0], : shape[1]]
    return np.ascontiguousarray((noise - noise.mean()) / (noise.std() + 1e-6))


def inner_part(mask: Mask, distance_um: float) -> Mask:
    """Cells further than `distance_um` inside a mask on a grid of 1 um.

    Distances are computed on a grid of 4 um.
    """
    padded = np.pad(mask[::4, ::4], 1)
    coarse = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] > distance_um / 4
    fine = np.repeat(np.repeat(coarse, 4, axis=0), 4, axis=1)
    return fine[: mask.shape[0], : mask.shape[1]] & mask
