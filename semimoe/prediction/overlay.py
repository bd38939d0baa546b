"""Predicted glands drawn on their image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.raster.edges import inner_edges

_OUTLINE_COLOUR = (40, 225, 60)


def draw_overlay(image: NDArray[np.uint8], labels: NDArray[np.int32]) -> Image.Image:
    """The image with the outlines of the glands, two pixels thick and inside each gland.

    Parameters
    ----------
    image : uint8 (3, H, W)
    labels : int32 (H, W), 0 background

    >>> labels = np.pad(np.ones((5, 5), np.int32), 1)
    >>> overlay = np.asarray(draw_overlay(np.zeros((3, 7, 7), np.uint8), labels))
    >>> (overlay[3] > 0).any(axis=-1).astype(int)
    array([0, 1, 1, 0, 1, 1, 0])
    """
    pixels = np.moveaxis(image, 0, -1).copy()
    outer = inner_edges(labels)
    inner = inner_edges(np.where(outer, 0, labels))
    pixels[outer | inner] = _OUTLINE_COLOUR
    return Image.fromarray(pixels)
