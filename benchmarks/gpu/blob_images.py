"""Random images with labels, for measurements that need no data."""

import numpy as np
from scipy import ndimage

from tiling.raster.tile import Tile


class BlobImages:
    """Random images with dark blobs as glands."""

    def __init__(self, count: int, height: int, width: int) -> None:
        rng = np.random.default_rng(0)
        self._tiles = []
        for _ in range(count):
            field = ndimage.gaussian_filter(rng.normal(size=(height, width)), 12)
            labels = ndimage.label(field > 0.012)[0].astype(np.int32)
            grey = np.where(labels > 0, 110, 215)[None] + rng.normal(0, 25, (3, height, width))
            self._tiles.append(Tile(np.clip(grey, 0, 255).astype(np.uint8), labels))

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int) -> Tile:
        return self._tiles[index]
