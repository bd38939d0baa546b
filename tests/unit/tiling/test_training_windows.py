import numpy as np
import pytest
from example_stores import write_labels, write_tiles
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.stores.window_reading import read_window
from tiling.tiles.training_windows import (
    core_origins,
    partition_axis,
    region_parts,
    region_windows,
    sample_windows,
    tile_windows,
)

HEIGHT, WIDTH = 300, 400


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)


def test_tiles_with_status_1_have_no_window(tmp_path, image):
    tiles = write_tiles(tmp_path / "t.zarr", image)
    assert tile_windows(tiles).tolist() == [[0, 0, 128, 128], [192, 288, 128, 128]]


def test_sampled_windows_are_tiles_in_use_and_repeat_with_the_seed(tmp_path, image):
    origins = [(y, x) for y in range(0, 288, 96) for x in range(0, 384, 96)]
    status = [int(i == 5) for i in range(len(origins))]
    tiles = write_tiles(tmp_path / "t.zarr", image, origins, status)
    windows = sample_windows(tiles, count=7, read_px=180, seed=3)
    assert windows.shape == (7, 4)
    assert (windows[:, 2:] == 180).all()
    corners = {tuple(row) for row in (windows[:, :2] + 90 - 64).tolist()}
    assert len(corners) == 7
    assert corners <= {origin for origin, code in zip(origins, status, strict=True) if code == 0}
    np.testing.assert_array_equal(windows, sample_windows(tiles, count=7, read_px=180, seed=3))
    assert not np.array_equal(windows, sample_windows(tiles, count=7, read_px=180, seed=4))
    assert len(sample_windows(tiles, count=100, read_px=180, seed=3)) == 11
    other = write_tiles(tmp_path / "o.zarr", image, origins, status, fingerprint="fedcba9876543210")
    assert not np.array_equal(windows, sample_windows(other, count=7, read_px=180, seed=3))


def test_cores_of_windows_around_a_small_region_contain_half_of_it(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    weight[100:120, 200:230] = 1
    labels = write_labels(tmp_path / "l.zarr", weight, [(100, 200, 20, 30)])
    windows = region_windows(labels, read_px=256, stride_px=32)
    assert len(windows) > 4
    for y, x, h, w in windows:
        assert (h, w) == (256, 256)
        core_weight = read_window(weight, (y + 64, x + 64, 128, 128), fill=0)
        assert core_weight.sum() >= weight.sum() / 2
    assert any(
        read_window(weight, (y + 64, x + 64, 128, 128), fill=0).sum() == weight.sum()
        for y, x, _, _ in windows
    )


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 200),
    st.integers(0, 300),
    st.integers(4, 250),
    st.integers(4, 250),
    st.sampled_from([32, 64, 100]),
    st.sampled_from([8, 16, 50]),
)
def test_every_annotated_pixel_lies_in_the_core_of_a_window(
    tmp_path_factory, top, left, height, width, read_px, stride
):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    weight[top : top + height, left : left + width] = 1
    height, width = min(height, HEIGHT - top), min(width, WIDTH - left)
    labels = write_labels(
        tmp_path_factory.mktemp("l") / "l.zarr", weight, [(top, left, height, width)]
    )
    windows = region_windows(labels, read_px=read_px, stride_px=min(stride, read_px // 4))
    core = read_px // 2
    in_a_core = np.zeros_like(weight)
    for y, x, _, _ in windows:
        y0, x0 = max(y + (read_px - core) // 2, 0), max(x + (read_px - core) // 2, 0)
        in_a_core[
            y0 : max(y + (read_px - core) // 2 + core, 0),
            x0 : max(x + (read_px - core) // 2 + core, 0),
        ] = 1
        held = read_window(
            weight, (y + (read_px - core) // 2, x + (read_px - core) // 2, core, core), fill=0
        ).sum()
        assert held > 0
    assert in_a_core[weight > 0].all()
    assert len({tuple(window) for window in windows.tolist()}) == len(windows)


@given(st.integers(-50, 500), st.integers(1, 400), st.integers(1, 200), st.integers(1, 100))
def test_cores_touch_the_region_and_one_is_centred_on_it(start, size, core, stride):
    origins = core_origins(start, size, core, stride)
    assert ((origins + core >= start) & (origins <= start + size)).all()
    assert (start + (size - core) // 2) in origins


def test_windows_without_annotated_pixels_in_the_core_are_not_used(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    weight[50:250, 50:120] = 1  # an L-shaped region: its window holds an empty quarter
    weight[180:250, 50:350] = 1
    labels = write_labels(tmp_path / "l.zarr", weight, [(50, 50, 200, 300)])
    windows = region_windows(labels, read_px=64, stride_px=16)
    for y, x, _, _ in windows:
        assert read_window(weight, (y + 16, x + 16, 32, 32), fill=0).mean() >= 0.1
    assert not any(60 <= y <= 100 and 200 <= x <= 300 for y, x, _, _ in windows.tolist())


def test_a_region_without_weight_has_no_windows(tmp_path):
    labels = write_labels(
        tmp_path / "l.zarr", np.zeros((HEIGHT, WIDTH), np.uint8), [(10, 10, 50, 50)]
    )
    assert region_windows(labels, read_px=64, stride_px=16).shape == (0, 4)


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(16, 700))
def test_parts_cover_an_axis_once_within_the_limits(size, max_px):
    parts = partition_axis(size, max_px, 16)
    covered = np.zeros(size + 16, int)
    for start, length in parts:
        assert length % 16 == 0
        assert 0 < length <= max_px
        covered[start : start + length] += 1
    assert (covered[:size] == 1).all()


def test_region_parts_are_windows_of_the_regions(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels = write_labels(tmp_path / "l.zarr", weight, [(0, 0, 60, 100), (100, 100, 20, 20)])
    parts = region_parts(labels, max_px=64)
    assert parts.windows_px.tolist() == [
        [0, 0, 64, 64],
        [0, 64, 64, 48],
        [100, 100, 32, 32],
    ]
    assert parts.regions.tolist() == [1, 1, 2]
    assert parts.chosen(np.array([False, False, True])).regions.tolist() == [2]
    with pytest.raises(ValueError, match="max_px 10 is less than 16"):
        region_parts(labels, max_px=10)
