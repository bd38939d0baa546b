"""Split by prominence of a mask that fits in memory (docs/architecture.md, "The split rule").

What does not depend on all parameters is computed once, so that many can be compared.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tiling.raster.basins import Basins, basin_heights, find_basins, merge_basins
from tiling.raster.label_numbers import label_parts
from tiling.raster.reduced_depth import enlarged, reduced_depth, reduced_maximum


class BasinsOfMask:
    """The basins of one mask.

    Parameters
    ----------
    mask : bool (H, W)
    gland : uint8 (H, W), quantised gland probability
    level : uint8 (H, W), quantised signed distance; None: all depths are equal
    side : of a reduced pixel, stored pixels
    """

    def __init__(
        self,
        mask: NDArray[np.bool_],
        gland: NDArray[np.uint8],
        level: NDArray[np.uint8] | None,
        side: int,
    ) -> None:
        self._mask, self._side = mask, side
        self._depth = np.pad(reduced_depth(mask, level, side), 1)
        self._gland = reduced_maximum(gland, side)

    @cached_property
    def _basins(self) -> Basins:
        return find_basins(self._depth)

    def split(self, *, min_prominence: int, seed_level: int) -> NDArray[np.int32]:
        """Pixels of each seed, in connected parts; what has no seed is left out.

        Parameters
        ----------
        min_prominence : of a seed, steps of the reduced depth
        seed_level : least quantised gland probability of a seed

        Returns
        -------
        ndarray
            int32 (H, W), 1..N numbered by first pixel, 0 elsewhere.
        """
        basins = self._basins
        heights = basin_heights(basins, self._depth[1:-1, 1:-1], self._gland >= seed_level)
        basin_of, _ = merge_basins(heights, basins.edges, min_prominence=min_prominence)
        basin_of[heights[basin_of] == 0] = 0
        return label_parts(enlarged(basin_of[basins.numbers], self._side, self._mask))
