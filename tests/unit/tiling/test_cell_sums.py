"""Sums over the squares of a coarser grid."""

import numpy as np
import pytest

from tiling.raster.cell_sums import cell_sums


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int32])
@pytest.mark.parametrize(
    ("height", "width", "cell_px"), [(12, 8, 4), (13, 9, 4), (3, 5, 7), (1, 6, 1), (0, 4, 3)]
)
def test_each_cell_is_the_sum_of_its_pixels(
    dtype: type, height: int, width: int, cell_px: int
) -> None:
    values = np.random.default_rng(0).integers(0, 2, (height, width)).astype(dtype)
    if dtype is not bool:
        values *= np.iinfo(dtype).max // (values.size + 1)
    expected = [
        [int(values[y : y + cell_px, x : x + cell_px].sum()) for x in range(0, width, cell_px)]
        for y in range(0, height, cell_px)
    ]
    assert cell_sums(values, cell_px).tolist() == expected
