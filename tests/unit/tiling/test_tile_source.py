import pickle
from pathlib import Path

import numpy as np
import pytest
from example_stores import label_attributes, tile_attributes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.raster.geometry import Geometry, Window
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_array, create_group, create_table
from tiling.stores.attributes import record_failure, set_attributes
from tiling.stores.layout import StoredRegion
from tiling.tiles.tile_source import (
    JoinedTiles,
    StoredTiles,
    Tissue,
    _cut,
    _middles,
    read_window,
    region_pieces,
    region_windows,
    sample_windows,
    tile_windows,
)

HEIGHT, WIDTH = 300, 400


def geometry(height=HEIGHT, width=WIDTH):
    return Geometry.uniform(width, height)


def write_tiles(
    path,
    image,
    origins=((0, 0), (0, 96), (192, 288)),
    status=(0, 1, 0),
    fingerprint="0123456789abcdef",
):
    group = create_group(path)
    create_array(group, "0", image.shape, np.uint8, fill=255)[...] = image
    create_table(
        group,
        "tiles",
        {"origin_yx_px": np.array(origins, np.int64), "status": np.array(status, np.uint8)},
    )
    tile_attributes(geometry(*image.shape[1:]), fingerprint=fingerprint).write(group)
    return path


def write_labels(path, weight, windows, labels=None):
    group = create_group(path)
    create_array(group, "labels", weight.shape, np.int32)[...] = (
        weight if labels is None else labels
    )
    create_array(group, "weight", weight.shape, np.uint8)[...] = weight
    regions = [StoredRegion(f"r{number}", Window(*box)) for number, box in enumerate(windows)]
    label_attributes(geometry(*weight.shape), regions).write(group)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)


@pytest.fixture
def labelled(tmp_path, image):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, (HEIGHT, WIDTH)).astype(np.int32)
    weight = rng.integers(0, 2, (HEIGHT, WIDTH)).astype(np.uint8)
    tiles = write_tiles(tmp_path / "t.zarr", image)
    return (
        tiles,
        write_labels(tmp_path / "l.zarr", weight, [(0, 0, HEIGHT, WIDTH)], labels),
        labels,
        weight,
    )


def test_a_window_inside_is_the_stored_pixels_with_labels_and_weight(labelled, image):
    tiles, store, labels, weight = labelled
    source = StoredTiles(tiles, np.array([[10, 20, 64, 80]]), labels=store)
    tile = source[0]
    np.testing.assert_array_equal(tile.image, image[:, 10:74, 20:100])
    np.testing.assert_array_equal(tile.labels, labels[10:74, 20:100])
    np.testing.assert_array_equal(tile.weight, weight[10:74, 20:100])
    assert (tile.image.dtype, tile.labels.dtype, tile.weight.dtype, tile.pseudo) == (
        np.uint8,
        np.int32,
        np.uint8,
        None,
    )


def test_overhang_is_white_unlabelled_and_without_weight(labelled, image):
    tiles, store, labels, _ = labelled
    tile = StoredTiles(tiles, np.array([[-10, 390, 32, 32]]), labels=store)[0]
    np.testing.assert_array_equal(tile.image[:, 10:, :10], image[:, :22, 390:])
    np.testing.assert_array_equal(tile.labels[10:, :10], labels[:22, 390:])
    outside = np.ones((32, 32), bool)
    outside[10:, :10] = False
    assert (tile.image[:, outside] == 255).all()
    assert (tile.labels[outside] == 0).all()
    assert (tile.weight[outside] == 0).all()


@settings(deadline=None)
@given(st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 50), st.integers(1, 50))
def test_read_window_equals_a_slice_of_the_padded_array(y, x, height, width):
    array = np.arange(2 * 20 * 30, dtype=np.int32).reshape(2, 20, 30)
    padded = np.pad(array, ((0, 0), (100, 200), (100, 200)), constant_values=-1)
    expected = padded[:, y + 100 : y + 100 + height, x + 100 : x + 100 + width]
    np.testing.assert_array_equal(read_window(array, (y, x, height, width), fill=-1), expected)


def test_tiles_survive_pickling_after_use(labelled):
    tiles, store, _, _ = labelled
    source = StoredTiles(tiles, np.array([[0, 0, 16, 16]]), labels=store)
    before = source[0]
    again = pickle.loads(pickle.dumps(source))
    assert again._arrays == {}
    np.testing.assert_array_equal(again[0].image, before.image)


def test_a_cache_changes_nothing_and_is_not_pickled(labelled):
    tiles, store, _, _ = labelled
    windows = np.array([[0, 0, 64, 64], [32, 32, 64, 64], [-10, 370, 64, 64]])
    plain, cached = (
        StoredTiles(tiles, windows, labels=store, cache_bytes=size) for size in (0, 2**20)
    )
    for index in range(len(windows)):
        for one, two in zip(plain[index][:3], cached[index][:3], strict=True):
            np.testing.assert_array_equal(one, two)
    again = pickle.loads(pickle.dumps(cached))
    assert again._arrays == {}
    np.testing.assert_array_equal(again[2].image, plain[2].image)


def test_pseudo_labels_are_taken_by_their_own_rows(tmp_path, image):
    tiles = write_tiles(tmp_path / "t.zarr", image)
    pseudo = np.random.default_rng(2).integers(0, 256, (5, 3, 16, 16), np.uint8)
    group = create_group(tmp_path / "p.zarr")
    create_array(group, "pseudo", pseudo.shape, np.uint8)[...] = pseudo
    set_attributes(group, {"status": "ok", "geometry": geometry().to_dict()})
    windows = np.array([[0, 0, 16, 16], [16, 16, 16, 16]])
    source = StoredTiles(tiles, windows, pseudo=tmp_path / "p.zarr", pseudo_rows=np.array([4, 1]))
    np.testing.assert_array_equal(source[0].pseudo, pseudo[4])
    np.testing.assert_array_equal(source[1].pseudo, pseudo[1])
    assert source[0].labels is None
    with pytest.raises(ValueError, match="1 pseudo-label rows for 2 windows"):
        StoredTiles(tiles, windows, pseudo=tmp_path / "p.zarr", pseudo_rows=np.array([4]))


def test_joined_sources_are_one_after_another(tmp_path, image):
    tiles = write_tiles(tmp_path / "t.zarr", image)
    first, none, second = (
        StoredTiles(tiles, np.array(w, np.int64).reshape(-1, 4))
        for w in ([[0, 0, 8, 8]], [], [[9, 9, 8, 8], [50, 60, 8, 8]])
    )
    joined = JoinedTiles([first, none, second])
    assert len(joined) == 3
    for index, (y, x) in enumerate([(0, 0), (9, 9), (50, 60)]):
        np.testing.assert_array_equal(joined[index].image, image[:, y : y + 8, x : x + 8])
    np.testing.assert_array_equal(joined[-1].image, joined[2].image)
    with pytest.raises(IndexError):
        joined[3]
    assert len(JoinedTiles([])) == 0


def test_tiles_left_out_are_no_windows(tmp_path, image):
    tiles = write_tiles(tmp_path / "t.zarr", image)
    assert tile_windows(tiles).tolist() == [[0, 0, 128, 128], [192, 288, 128, 128]]


def test_failed_slide_raises_its_recorded_error(tmp_path):
    record_failure(tmp_path / "t.zarr", SlideError("s.svs: no pixel size"), {})
    with pytest.raises(SlideError, match=r"s\.svs: no pixel size"):
        tile_windows(tmp_path / "t.zarr")
    with pytest.raises(SlideError, match=r"s\.svs: no pixel size"):
        StoredTiles(tmp_path / "t.zarr", np.array([[0, 0, 8, 8]]))[0]


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


def test_region_smaller_than_a_tile_gives_windows_that_hold_it(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    weight[100:120, 200:230] = 1
    labels = write_labels(tmp_path / "l.zarr", weight, [(100, 200, 20, 30)])
    windows = region_windows(labels, read_px=256, stride_px=32)
    assert len(windows) > 4
    for y, x, h, w in windows:
        assert (h, w) == (256, 256)
        middle = read_window(weight, (y + 64, x + 64, 128, 128), fill=0)
        assert middle.sum() >= weight.sum() / 2
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
def test_every_annotated_pixel_lies_in_the_middle_of_some_window(
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
    seen = np.zeros_like(weight)
    for y, x, _, _ in windows:
        y0, x0 = max(y + (read_px - core) // 2, 0), max(x + (read_px - core) // 2, 0)
        seen[
            y0 : max(y + (read_px - core) // 2 + core, 0),
            x0 : max(x + (read_px - core) // 2 + core, 0),
        ] = 1
        held = read_window(
            weight, (y + (read_px - core) // 2, x + (read_px - core) // 2, core, core), fill=0
        ).sum()
        assert held > 0
    assert seen[weight > 0].all()
    assert len({tuple(window) for window in windows.tolist()}) == len(windows)


@given(st.integers(-50, 500), st.integers(1, 400), st.integers(1, 200), st.integers(1, 100))
def test_middles_touch_the_region_and_reach_every_side(start, size, core, stride):
    middles = _middles(start, size, core, stride)
    assert ((middles + core >= start) & (middles <= start + size)).all()
    assert (start + (size - core) // 2) in middles


def test_windows_without_annotated_pixels_are_left_out(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    weight[50:250, 50:120] = 1  # an L-shaped region: its window holds an empty quarter
    weight[180:250, 50:350] = 1
    labels = write_labels(tmp_path / "l.zarr", weight, [(50, 50, 200, 300)])
    windows = region_windows(labels, read_px=64, stride_px=16)
    for y, x, _, _ in windows:
        assert read_window(weight, (y + 16, x + 16, 32, 32), fill=0).mean() >= 0.1
    assert not any(60 <= y <= 100 and 200 <= x <= 300 for y, x, _, _ in windows.tolist())


def test_a_region_without_weight_gives_no_windows(tmp_path):
    labels = write_labels(
        tmp_path / "l.zarr", np.zeros((HEIGHT, WIDTH), np.uint8), [(10, 10, 50, 50)]
    )
    assert region_windows(labels, read_px=64, stride_px=16).shape == (0, 4)


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(16, 700))
def test_pieces_cover_a_side_once_within_the_limits(size, max_px):
    pieces = _cut(size, max_px, 16)
    covered = np.zeros(size + 16, int)
    for start, length in pieces:
        assert length % 16 == 0
        assert 0 < length <= max_px
        covered[start : start + length] += 1
    assert (covered[:size] == 1).all()


def test_region_pieces_are_windows_of_the_regions(tmp_path):
    weight = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels = write_labels(tmp_path / "l.zarr", weight, [(0, 0, 60, 100), (100, 100, 20, 20)])
    assert region_pieces(labels, max_px=64).tolist() == [
        [0, 0, 64, 64],
        [0, 64, 64, 48],
        [100, 100, 32, 32],
    ]
    with pytest.raises(ValueError, match="max_px 10 is less than 16"):
        region_pieces(labels, max_px=10)


def test_tissue_is_read_on_the_stored_grid_and_false_outside_the_slide(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    group = create_group(tmp_path / "t.zarr")
    create_array(group, "tissue", mask.shape, np.uint8)[...] = mask
    tile_attributes(geometry(8, 12), tissue_stride_px=4).write(group)
    expected = np.pad(np.kron(mask, np.ones((4, 4), np.uint8)), 3)
    read = Tissue(tmp_path / "t.zarr").read((-3, -3, 14, 18))
    np.testing.assert_array_equal(read, expected[:14, :18] > 0)


def test_glass_beside_tissue_counts_within_a_margin_but_not_where_there_is_ink(
    tmp_path: Path,
) -> None:
    """Against the distance to the nearest tissue of the whole mask, in windows of every place."""
    rng = np.random.default_rng(0)
    mask, pen = (rng.random((30, 40)) < share for share in (0.02, 0.1))
    group = create_group(tmp_path / "t.zarr")
    for name, values in (("tissue", mask), ("pen", pen)):
        create_array(group, name, mask.shape, np.uint8)[...] = values
    frame = Geometry.uniform(160, 120, mpp_um=2.0)
    tile_attributes(frame, tissue_stride_px=4).write(group)
    near = (
        ndimage.distance_transform_edt(~mask) <= 36 / (2.0 * 4)
    ) & ~pen | mask  # tissue that somebody drew under ink stays
    expected = np.pad(np.kron(near, np.ones((4, 4), bool)), 50)
    tissue = Tissue(tmp_path / "t.zarr", margin_um=36)
    for y, x, height, width in [
        (0, 0, 120, 160),
        (-7, 90, 33, 90),
        (50, 13, 1, 1),
        (17, 3, 64, 64),
        (100, -20, 40, 60),
    ]:
        np.testing.assert_array_equal(
            tissue.read((y, x, height, width)), expected[50 + y :, 50 + x :][:height, :width]
        )
