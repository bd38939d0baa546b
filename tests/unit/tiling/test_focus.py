import numpy as np
import pytest
from scipy import ndimage

from tiling.tiles.focus import CELL_PX, cell_sums, no_sums, tile_focus

SHARP = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(float)


def score(image):
    image = np.round(image).astype(np.uint8)
    return float(
        tile_focus(cell_sums(image), np.zeros((1, 2), np.int64), len(image), image.shape)[0]
    )


def test_focus_falls_with_blur_and_hardly_depends_on_contrast():
    scores = [score(ndimage.gaussian_filter(SHARP, sigma)) for sigma in (0, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)
    assert score(SHARP * 0.3 + 100) == pytest.approx(score(SHARP), rel=0.01)
    assert score(np.full((8, 8), 200)) == 0


@pytest.mark.parametrize("shape", [(128, 192), (100, 70), (3, 1)])
def test_sums_use_every_fourth_row(shape):
    gray = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    padded = np.pad(gray.astype(np.int64), 1, mode="edge")
    bent = (
        padded[:-2, 1:-1]
        + padded[2:, 1:-1]
        + padded[1:-1, :-2]
        + padded[1:-1, 2:]
        - 4 * padded[1:-1, 1:-1]
    )
    expected = np.zeros_like(no_sums(*shape), np.float64)
    for y in range(0, shape[0], 4):
        for x in range(shape[1]):
            value = int(gray[y, x])
            expected[y // CELL_PX, x // CELL_PX] += (1, value, value**2, bent[y, x] ** 2)
    np.testing.assert_allclose(cell_sums(gray), expected, rtol=1e-5)


def test_cells_count_by_their_share_inside_the_tile():
    sums = np.zeros((1, 3, 4), np.float32)
    sums[0, :, 0] = 100  # pixels
    sums[0, :, 2] = 100 * 50.0  # mean square of grey values, mean 0
    sums[0, :, 3] = 100 * np.array([50.0, 100.0, 200.0])
    origins = np.array([[0, 0], [0, 32], [0, 128]])
    scores = tile_focus(sums, origins, 64, (64, 180))
    assert scores.tolist() == pytest.approx([1.0, 1.5, 4.0])
