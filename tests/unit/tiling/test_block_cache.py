"""Stored blocks and their halos, against the array itself."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.objects.block_cache import BlockBorders, BlockFiles
from tiling.objects.components import BlockGrid
from tiling.raster.runs import find_runs


def stored(
    folder: Path, array: np.ndarray, grid: BlockGrid, indices: list[int], border_px: int
) -> tuple[BlockBorders, BlockFiles]:
    """Some blocks of the array, stored; the others become 0 in the array."""
    borders, files = BlockBorders(grid, border_px), BlockFiles(folder, grid)
    for index, block in enumerate(grid.blocks):
        if index in indices:
            runs = find_runs(array[block])
            if border_px == 1 and index % 2:
                borders.store_runs(index, runs)
            else:
                borders.store(index, array[block])
            files.write(index, runs)
        else:
            array[block] = 0
    return borders, files


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    block_px=st.integers(3, 20),
    border_px=st.integers(1, 3),
    values=st.sampled_from([40, 40_000]),
)
def test_a_halo_from_borders_is_the_halo_of_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    shape: tuple[int, int],
    block_px: int,
    border_px: int,
    values: int,
) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(-1, values, shape).astype(np.int32)
    grid = BlockGrid(shape, block_px)
    indices = [index for index in range(len(grid)) if rng.random() < 0.8]
    folder = tmp_path_factory.mktemp("s") / "blocks"
    borders, files = stored(folder, array, grid, indices, border_px)
    # The value -1 selects the last entry.
    lookup = np.concatenate([np.arange(values) * 3, [-1]]).astype(np.int32)
    expected = np.pad(np.where(array < 0, -1, array * 3), border_px)
    for index in indices:
        block = files.read_block(index, lookup)
        lookups = dict.fromkeys(borders.stored_around(index), lookup)
        field = borders.with_halo(index, block, lookups)
        y, x = (side.start for side in grid.blocks[index])
        height, width = (side + 2 * border_px for side in block.shape)
        np.testing.assert_array_equal(field[1:-1, 1:-1], expected[y : y + height, x : x + width])
        assert not field[[0, -1]].any()
        assert not field[:, [0, -1]].any()
    everything = files.read((slice(0, shape[0]), slice(0, shape[1])), lambda _: lookup)
    assert (everything is None) == (not indices)
    if everything is not None:
        inside = slice(border_px, -border_px)
        np.testing.assert_array_equal(everything, expected[inside, inside])


def test_blocks_narrower_than_a_border_are_refused() -> None:
    with pytest.raises(ValueError, match="narrower"):
        BlockBorders(BlockGrid((50, 50), 4), 5)
