"""Predicted glands drawn on their image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.raster.edges import inner_edges

_OUTLINE_COLOUR = (0, 190, 255)  # that of the overviews of slides


def draw_overlay(image: NDArray[np.uint8], labels: NDArray[np.int32]) -> Image.Image:
    """The image with the outlines of the glands, two pixels thick and inside each gland.

    The border of the image closes the outlines, so that a gland that fills the image is seen.

    Parameters
    ----------
    image : uint8 (3, H, W)
    labels : int32 (H, W), 0 background

    >>> labels = np.pad(np.ones((5, 5), np.int32), 1)
    >>> overlay = np.asarray(draw_overlay(np.zeros((3, 7, 7), np.uint8), labels))
    >>> (overlay[3] > 0).any(axis=-1).astype(int)
    array([0, 1, 1, 0, 1, 1, 0])
    >>> overlay = np.asarray(draw_overlay(np.zeros((3, 6, 6), np.uint8), np.ones((6, 6), np.int32)))
    >>> (overlay[3] > 0).any(axis=-1).astype(int)
    array([1, 1, 0, 0, 1, 1])
    """
    pixels = np.moveaxis(image, 0, -1).copy()
    padded = np.pad(labels, 1)
    outer = inner_edges(padded)
    inner = inner_edges(np.where(outer, 0, padded))
    pixels[(outer | inner)[1:-1, 1:-1]] = _OUTLINE_COLOUR
    return Image.fromarray(pixels)
