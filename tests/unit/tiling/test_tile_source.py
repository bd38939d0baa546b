import numpy as np
import pytest
from example_stores import write_labels, write_tiles

from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.attributes import record_failure, set_attributes
from tiling.stores.manifest import seal_store
from tiling.tiles.tile_source import JoinedTiles, RegionTiles, StoredTiles
from tiling.tiles.training_windows import region_parts, tile_windows

HEIGHT, WIDTH = 300, 400


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


def test_a_part_of_a_region_has_surroundings_that_do_not_count(tmp_path, image):
    """The second region begins where the first part's window overhangs the first region."""
    weight = np.ones((HEIGHT, WIDTH), np.uint8)
    weight[5, 20] = 0  # ignored
    tiles = write_tiles(tmp_path / "t.zarr", image)
    labels = write_labels(tmp_path / "l.zarr", weight, [(0, 10, 60, 40), (0, 52, 60, 40)])
    parts = region_parts(labels, max_px=64)
    assert parts.windows_px.tolist() == [[0, 10, 64, 48], [0, 52, 64, 48]]
    tile = RegionTiles(tiles, parts, labels=labels, margin_px=16)[0]
    assert tile.image.shape == (3, 96, 80)
    np.testing.assert_array_equal(tile.image[:, 16:, 6:], image[:, :80, :74])
    expected = np.zeros((96, 80), np.uint8)
    expected[16:76, 16:56] = 1
    expected[21, 26] = 0
    np.testing.assert_array_equal(tile.weight, expected)


def test_the_overhang_is_white_and_has_neither_labels_nor_weight(labelled, image):
    tiles, store, labels, _ = labelled
    tile = StoredTiles(tiles, np.array([[-10, 390, 32, 32]]), labels=store)[0]
    np.testing.assert_array_equal(tile.image[:, 10:, :10], image[:, :22, 390:])
    np.testing.assert_array_equal(tile.labels[10:, :10], labels[:22, 390:])
    outside = np.ones((32, 32), bool)
    outside[10:, :10] = False
    assert (tile.image[:, outside] == 255).all()
    assert (tile.labels[outside] == 0).all()
    assert (tile.weight[outside] == 0).all()


def test_a_cache_changes_nothing(labelled):
    tiles, store, _, _ = labelled
    windows = np.array([[0, 0, 64, 64], [32, 32, 64, 64], [-10, 370, 64, 64]])
    plain, cached = (
        StoredTiles(tiles, windows, labels=store, cache_bytes=size) for size in (0, 2**20)
    )
    for index in range(len(windows)):
        for one, two in zip(plain[index][:3], cached[index][:3], strict=True):
            np.testing.assert_array_equal(one, two)


def test_pseudo_labels_come_from_the_rows_that_the_caller_names(tmp_path, image):
    tiles = write_tiles(tmp_path / "t.zarr", image)
    pseudo = np.random.default_rng(2).integers(0, 256, (5, 3, 16, 16), np.uint8)
    group = create_group(tmp_path / "p.zarr")
    create_array(group, "pseudo", pseudo.shape, np.uint8)[...] = pseudo
    set_attributes(group, {"status": "ok", "geometry": Geometry.uniform(WIDTH, HEIGHT).to_dict()})
    seal_store(tmp_path / "p.zarr")
    windows = np.array([[0, 0, 16, 16], [16, 16, 16, 16]])
    source = StoredTiles(tiles, windows, pseudo=tmp_path / "p.zarr", pseudo_rows=np.array([4, 1]))
    np.testing.assert_array_equal(source[0].pseudo, pseudo[4])
    np.testing.assert_array_equal(source[1].pseudo, pseudo[1])
    assert source[0].labels is None
    with pytest.raises(ValueError, match="1 pseudo-label rows for 2 windows"):
        StoredTiles(tiles, windows, pseudo=tmp_path / "p.zarr", pseudo_rows=np.array([4]))


def test_joined_sources_follow_each_other(tmp_path, image):
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


def test_failed_slide_raises_its_recorded_error(tmp_path):
    record_failure(tmp_path / "t.zarr", SlideError("s.svs: no pixel size"), {})
    with pytest.raises(SlideError, match=r"s\.svs: no pixel size"):
        tile_windows(tmp_path / "t.zarr")
    with pytest.raises(SlideError, match=r"s\.svs: no pixel size"):
        StoredTiles(tmp_path / "t.zarr", np.array([[0, 0, 8, 8]]))[0]
