"""Blending of overlapping tiles: weights, origins of tiles, and prediction of images in memory.

`tiling.maps` blends the maps of slides with the same weights, shard by shard.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Prediction of tiles: uint8 (B, 3, T, T) -> float32 (B, K, T, T).
PredictTiles = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def axis_weights(tile_px: int) -> NDArray[np.float32]:
    """Weights along one axis of a tile: positive, largest in the middle, falling linearly.

    >>> axis_weights(4).tolist()
    [0.25, 0.75, 0.75, 0.25]
    """
    centre = (np.arange(tile_px) + 0.5) / tile_px
    return np.asarray(np.minimum(centre, 1 - centre) * 2, np.float32)


def tile_weights(tile_px: int) -> NDArray[np.float32]:
    """Weights of the pixels of a tile, float32 (T, T): the outer product of those of its axes."""
    weights = axis_weights(tile_px)
    return weights[:, None] * weights[None, :]


def grid_origins(side_px: int, tile_px: int, stride_px: int) -> NDArray[np.int64]:
    """Origins of tiles along one axis of a slide: multiples of the stride until all is covered.

    They do not depend on the size of the slide; the last tile may overhang.

    >>> grid_origins(600, 256, 192).tolist(), grid_origins(100, 256, 192).tolist()
    ([0, 192, 384], [0])
    """
    count = 1 + max(-(-(side_px - tile_px) // stride_px), 0)
    return np.arange(count, dtype=np.int64) * stride_px


def even_origins(side_px: int, tile_px: int, overlap_px: int) -> list[int]:
    """Origins of tiles along one axis of an image: evenly spaced, the last tile ends at its end.

    Neighbours share at least the overlap. Only an image smaller than a tile is overhung.

    >>> even_origins(600, 256, 64), even_origins(100, 256, 64)
    ([0, 172, 344], [0])
    """
    if side_px <= tile_px:
        return [0]
    count = -(-(side_px - overlap_px) // (tile_px - overlap_px))
    return [round(i * (side_px - tile_px) / (count - 1)) for i in range(count)]


class ImageTiles(NamedTuple):
    """The overlapping tiles of an image that fits in memory.

    Attributes
    ----------
    padded : uint8 (3, H', W'), the image, mirrored where tiles overhang it
    origins : (y, x) of each tile, px
    """

    padded: NDArray[np.uint8]
    origins: list[tuple[int, int]]


def image_tiles(image: NDArray[np.uint8], *, tile_px: int, overlap_px: int) -> ImageTiles:
    """Divide an image into tiles at `even_origins`, row by row.

    Parameters
    ----------
    image : uint8 (3, H, W), of any size
    tile_px : side of a tile
    overlap_px : what neighbouring tiles share at least
    """
    height, width = image.shape[1:]
    rows, columns = (even_origins(side, tile_px, overlap_px) for side in (height, width))
    bottom = max(rows[-1] + tile_px - height, 0)
    right = max(columns[-1] + tile_px - width, 0)
    padded = np.pad(image, ((0, 0), (0, bottom), (0, right)), mode="symmetric")
    return ImageTiles(padded, [(y, x) for y in rows for x in columns])


def predict_image(
    predict: PredictTiles, image: NDArray[np.uint8], *, tile_px: int, overlap_px: int, batch: int
) -> NDArray[np.float32]:
    """Predict an image that fits in memory, tile by tile, and blend the predictions.

    Parameters
    ----------
    predict : uint8 (B, 3, T, T) -> float32 (B, K, T, T)
    image : uint8 (3, H, W), of any size; mirrored where a tile overhangs it
    tile_px : side T of a tile
    overlap_px : what neighbouring tiles share at least
    batch : number B of tiles that are predicted at once; the last batch may be smaller

    Returns
    -------
    ndarray
        float32 (K, H, W): the weighted mean of all tiles at each pixel.

    Raises
    ------
    ValueError
        The overlap is negative or not smaller than a tile.
    """
    if not 0 <= overlap_px < tile_px:
        raise ValueError(
            f"overlap_px {overlap_px} with tile_px {tile_px}: "
            "a number from 0 to less than tile_px is needed"
        )
    height, width = image.shape[1:]
    padded, origins = image_tiles(image, tile_px=tile_px, overlap_px=overlap_px)
    weights = tile_weights(tile_px)
    sums: NDArray[np.float32] | None = None
    weight_sums = np.zeros(padded.shape[1:], np.float32)
    for start in range(0, len(origins), batch):
        chosen = origins[start : start + batch]
        tiles = np.stack([padded[:, y : y + tile_px, x : x + tile_px] for y, x in chosen])
        for (y, x), maps in zip(chosen, predict(tiles), strict=True):
            if sums is None:
                sums = np.zeros((len(maps), *padded.shape[1:]), np.float32)
            sums[:, y : y + tile_px, x : x + tile_px] += maps * weights
            weight_sums[y : y + tile_px, x : x + tile_px] += weights
    assert sums is not None  # there is at least one tile
    np.divide(sums, weight_sums, out=sums)
    return sums[:, :height, :width]
