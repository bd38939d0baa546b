"""Calls a function on as many tiles at a time as fit into memory."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semimoe.model_errors import DeviceError

log = logging.getLogger(__name__)

# Several results of one call, each with the tiles along its first axis.
Results = tuple[NDArray[np.float32], ...]


class MemoryBoundedBatches:
    """A function of tiles that is called with half as many tiles each time memory runs out.

    Attributes
    ----------
    max_tiles_at_once : the largest number of tiles in one call; None: memory never ran out, so
        all tiles go into one call
    """

    def __init__(self, function: Callable[[NDArray[np.uint8]], Results]) -> None:
        self._function = function
        self.max_tiles_at_once: int | None = None

    def __call__(self, tiles: NDArray[np.uint8]) -> Results:
        """Results for tiles (B, ...), each (B, ...).

        Raises
        ------
        DeviceError
            Memory is too small for a single tile.
        """
        import torch

        while True:
            step = min(self.max_tiles_at_once or len(tiles), len(tiles))
            try:
                return _joined(
                    [
                        self._function(tiles[start : start + step])
                        for start in range(0, len(tiles), step)
                    ]
                )
            except torch.OutOfMemoryError as error:
                if step == 1:
                    raise _single_tile_error(tiles, error) from error
            # Not inside `except`: the error keeps the tensors that use up the memory.
            self.max_tiles_at_once = (step + 1) // 2
            log.warning("out of memory: continuing with %d tiles at a time", self.max_tiles_at_once)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _joined(parts: list[Results]) -> Results:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(results) for results in zip(*parts, strict=True))


def _single_tile_error(tiles: NDArray[Any], error: Exception) -> DeviceError:
    return DeviceError(
        f"a single tile of {tiles.shape[-1]} px does not fit into memory; "
        f"use smaller tiles ({error})"
    )
