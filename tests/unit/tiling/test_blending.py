"""Blending in memory: the weights, and what any prediction must give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.raster.blending import axis_weights, even_origins, predict_image, tile_weights


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles.astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 75), st.integers(1, 75), st.integers(0, 31), st.integers(1, 5))
def test_an_identity_prediction_restores_the_image(
    height: int, width: int, overlap: int, batch: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    blended = predict_image(identity, image, tile_px=32, overlap_px=overlap, batch=batch)
    np.testing.assert_allclose(blended, image, atol=1e-3)


@pytest.mark.parametrize("tile_px", [1, 16, 33])
def test_weights_are_positive_symmetric_and_largest_in_the_middle(tile_px: int) -> None:
    weights = axis_weights(tile_px)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-6)
    assert weights.argmax() == (tile_px - 1) // 2
    np.testing.assert_array_equal(tile_weights(tile_px), np.outer(weights, weights))


def test_a_pixel_is_the_weighted_mean_of_its_tiles() -> None:
    """Two tiles of 4 px at 0 and 2: each answers with its own number."""

    def numbered(tiles: np.ndarray) -> np.ndarray:
        numbers = np.arange(len(tiles), dtype=np.float32)
        return np.broadcast_to(numbers[:, None, None, None], (len(tiles), 1, 4, 4))

    blended = predict_image(
        numbered, np.zeros((3, 4, 6), np.uint8), tile_px=4, overlap_px=2, batch=2
    )
    np.testing.assert_allclose(blended[0, 0], [0, 0, 0.25, 0.75, 1, 1])


@given(st.integers(1, 500), st.integers(1, 64), st.data())
def test_even_origins_cover_the_axis_with_the_overlap(
    side: int, tile: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    origins = even_origins(side, tile, overlap)
    assert origins[0] == 0
    assert origins[-1] == max(side - tile, 0)
    assert all(0 < step <= tile - overlap for step in np.diff(origins))


def test_an_overlap_of_a_whole_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap_px 4 with tile_px 4"):
        predict_image(identity, np.zeros((3, 4, 6), np.uint8), tile_px=4, overlap_px=4, batch=1)
