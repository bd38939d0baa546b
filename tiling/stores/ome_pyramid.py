"""The OME-Zarr pyramid (NGFF 0.5, axes c, y, x) of a tile store: exact means, and its metadata."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Geometry

_SMALLEST_LEVEL_PX = 512
WHITE = 255


def level_shapes(height_px: int, width_px: int) -> list[tuple[int, int]]:
    """(height, width) of each level: halved, rounded up, until no side is longer than 512 px.

    >>> level_shapes(3000, 1025)
    [(3000, 1025), (1500, 513), (750, 257), (375, 129)]
    """
    shapes = [(height_px, width_px)]
    while max(shapes[-1]) > _SMALLEST_LEVEL_PX:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2 x 2 pixels, rounded half up; at an odd edge the mean of one or two pixels.

    Parameters
    ----------
    pixels : uint8 (3, h, w)

    Returns
    -------
    uint8 (3, ceil(h / 2), ceil(w / 2))
    """
    height, width = pixels.shape[1:]
    if height % 2 or width % 2:  # repeating the edge does not change its mean
        pixels = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    # Two neighbours in a row are the two bytes of one uint16. This avoids reads with a stride, and
    # the sum of four pixels fits into uint16.
    pairs = np.ascontiguousarray(pixels).view(np.uint16)
    total = pairs & np.uint16(0xFF)
    total += pairs >> np.uint16(8)
    mean = total[:, ::2] + total[:, 1::2]
    mean += np.uint16(2)
    mean >>= np.uint16(2)
    return mean.astype(np.uint8)


def ome_attributes(name: str, geometry: Geometry, levels: int) -> dict[str, Any]:
    """The `ome` attribute of a store (NGFF 0.5), in micrometres.

    The origin is the centre of the first pixel of level 0, because NGFF coordinates are centres of
    pixels. The first pixel of level k is 2^k pixels wide: its centre is (2^k - 1) / 2 pixels away.
    """
    datasets = []
    for level in range(levels):
        factor = 2**level
        scale = [1.0, geometry.mpp_y * factor, geometry.mpp_x * factor]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if level:
            shift = (factor - 1) / 2
            translation = [0.0, geometry.mpp_y * shift, geometry.mpp_x * shift]
            transforms.append({"type": "translation", "translation": translation})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    multiscale = {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}
    return {
        "version": "0.5",
        "multiscales": [multiscale],
        "omero": {"channels": _channels(), "rdefs": {"model": "color"}},
    }


def _channels() -> list[dict[str, Any]]:
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    colours = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    return [
        {"label": label, "color": colour, "active": True, "window": window}
        for label, colour in colours
    ]
