import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.raster.blending import grid_origins
from tiling.tiles.tile_grid import choose_tiles, chunks_under


@given(side=st.integers(1, 5000), tile=st.integers(16, 600), overlap=st.integers(0, 500))
def test_the_grid_covers_the_axis_without_superfluous_tiles(side, tile, overlap):
    overlap = min(overlap, tile - 1)
    origins = grid_origins(side, tile, tile - overlap)
    assert origins[-1] + tile >= side
    assert len(origins) == 1 or origins[-2] + tile < side
    assert (np.diff(origins) == tile - overlap).all()


masks = st.tuples(
    st.integers(1, 400), st.integers(1, 400), st.integers(0, 10_000), st.floats(0, 0.1)
)


@settings(deadline=None, max_examples=80)
@given(masks, st.integers(1, 9), st.integers(16, 90), st.integers(0, 60), st.floats(0, 1))
def test_every_tissue_pixel_is_in_a_tile_and_shares_are_exact(
    shape, coarse_px, tile_px, overlap, min_tissue
):
    height, width, seed, density = shape
    overlap = min(overlap, tile_px - 1)
    if tile_px - overlap < 8:
        overlap = tile_px - 8
    rng = np.random.default_rng(seed)
    size = -(-height // coarse_px), -(-width // coarse_px)
    tissue, pen = rng.random(size) < density, rng.random(size) < density
    table = choose_tiles(
        tissue,
        pen,
        shape_px=(height, width),
        coarse_px=coarse_px,
        tile_px=tile_px,
        overlap_px=overlap,
        min_tissue=min_tissue,
    )
    full = np.kron(tissue, np.ones((coarse_px, coarse_px), bool))[:height, :width].astype(bool)
    full_pen = np.kron(pen, np.ones((coarse_px, coarse_px), bool))[:height, :width].astype(bool)
    covered = np.zeros((height, width), bool)
    listed = set()
    for (y, x), share, ink in zip(table.origin_yx_px, table.tissue, table.pen, strict=True):
        covered[y : y + tile_px, x : x + tile_px] = True
        listed.add((int(y), int(x)))
        np.testing.assert_allclose(share, full[y : y + tile_px, x : x + tile_px].mean(), rtol=1e-6)
        np.testing.assert_allclose(
            ink, full_pen[y : y + tile_px, x : x + tile_px].mean(), rtol=1e-6
        )
    assert covered[full].all()
    stride = tile_px - overlap
    for y in grid_origins(height, tile_px, stride):
        for x in grid_origins(width, tile_px, stride):
            share = full[y : y + tile_px, x : x + tile_px].mean()
            assert share < min_tissue or (int(y), int(x)) in listed
    assert table.origin_yx_px.tolist() == sorted(table.origin_yx_px.tolist())


@pytest.mark.parametrize(("min_tissue", "tiles"), [(0.01, 0), (0, 9)])
def test_a_slide_without_tissue_has_no_tiles_unless_all_are_wanted(min_tissue, tiles):
    none = np.zeros((5, 5), bool)
    table = choose_tiles(
        none, none, shape_px=(40, 40), coarse_px=8, tile_px=16, overlap_px=4, min_tissue=min_tissue
    )
    assert table.origin_yx_px.shape == (tiles, 2)


def test_chunks_under_an_overhanging_tile_are_those_that_overlap_it():
    needed = chunks_under(np.array([[400, 0], [960, 960]]), 256, (1000, 1000), (512, 512))
    assert needed.tolist() == [[True, False], [True, True]]
