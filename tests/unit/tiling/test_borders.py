"""What neighbours see of a block, against the array itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.objects.block_cache import Borders, Scratch
from tiling.objects.components import Grid
from tiling.objects.runs import runs


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999), height=st.integers(1, 40), width=st.integers(1, 40), block_px=st.integers(3, 20), reach=st.integers(1, 3),
    most=st.sampled_from([40, 40_000]),
)  # fmt: skip
def test_a_halo_from_borders_is_the_halo_of_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    height: int,
    width: int,
    block_px: int,
    reach: int,
    most: int,
) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.integers(-1, most, (height, width)).astype(np.int32)
    grid = Grid((height, width), block_px)
    borders, scratch = Borders(grid, reach), Scratch(tmp_path_factory.mktemp("s") / "scratch", grid)
    kept = [index for index in range(len(grid)) if rng.random() < 0.8]
    for index, block in enumerate(grid.blocks):
        if index in kept:
            borders.keep(index, whole[block])
            scratch.write(index, runs(whole[block]))
        else:
            whole[block] = 0
    # The last entry is what -1 finds.
    lookup = np.concatenate([np.arange(most) * 3, [-1]]).astype(np.int32)
    expected = np.pad(np.where(whole < 0, -1, whole * 3), reach)
    for index in kept:
        middle = scratch.block(index, lookup)
        found = borders.around(index, dict.fromkeys(borders.near(index), lookup), middle)
        y, x = (side.start for side in grid.blocks[index])
        np.testing.assert_array_equal(
            found[1:-1, 1:-1],
            expected[y : y + middle.shape[0] + 2 * reach, x : x + middle.shape[1] + 2 * reach],
        )
        assert not found[[0, -1]].any()
        assert not found[:, [0, -1]].any()
    looked_up = scratch.looked_up((slice(0, height), slice(0, width)), lambda _: lookup)
    assert (looked_up is None) == (not kept)
    if looked_up is not None:
        np.testing.assert_array_equal(looked_up, expected[reach:-reach, reach:-reach])


def test_blocks_narrower_than_a_border_are_refused() -> None:
    with pytest.raises(ValueError, match="narrower"):
        Borders(Grid((50, 50), 4), 5)
