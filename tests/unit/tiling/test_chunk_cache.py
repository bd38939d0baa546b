"""Windows of a cached array equal those of the array."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.stores import arrays
from tiling.stores.arrays import create_array, create_group
from tiling.stores.chunk_cache import CachedChunks
from tiling.stores.window_reading import read_window

HEIGHT, WIDTH, CHUNK = 150, 210, 64
CHUNK_BYTES = 3 * CHUNK * CHUNK


class Counted:
    """An array that counts how often it is read."""

    def __init__(self, array) -> None:
        self.shape, self.dtype, self.chunks, self.store_path = (
            array.shape,
            array.dtype,
            array.chunks,
            array.store_path,
        )
        self.array, self.reads = array, 0

    def __getitem__(self, key):
        self.reads += 1
        return self.array[key]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrays, "CHUNK_PX", CHUNK)
    image = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)
    image[:, :CHUNK, :CHUNK] = 255  # fill: not stored
    array = create_array(
        create_group(tmp_path / "t.zarr"), "0", image.shape, np.uint8, fill=255, shard_px=2 * CHUNK
    )
    array[...] = image
    return image, Counted(array)


@pytest.fixture(scope="module")
def random_image(tmp_path_factory: pytest.TempPathFactory):
    """An image, and the array in which it is stored."""
    image = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "CHUNK_PX", CHUNK)
        group = create_group(tmp_path_factory.mktemp("c") / "t.zarr")
        array = create_array(group, "0", image.shape, np.uint8, shard_px=2 * CHUNK)
    array[...] = image
    return image, array


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kept=st.sampled_from([0, CHUNK_BYTES, 5 * CHUNK_BYTES]))
def test_windows_do_not_depend_on_the_size_of_the_cache(random_image, data, kept) -> None:
    image, array = random_image
    cached = CachedChunks(array, max_bytes=kept)
    for _ in range(4):
        y, x = data.draw(st.integers(-40, HEIGHT + 20)), data.draw(st.integers(-40, WIDTH + 20))
        window = (y, x, data.draw(st.integers(1, 130)), data.draw(st.integers(1, 130)))
        np.testing.assert_array_equal(
            read_window(cached, window, fill=7), read_window(image, window, fill=7)
        )


def test_a_chunk_is_decoded_once_while_it_is_kept(stored) -> None:
    image, array = stored
    cached = CachedChunks(array, max_bytes=2 * CHUNK_BYTES + 1)
    for window in ((0, 0, 32, 32), (10, 10, 40, 40), (0, 32, 64, 64), (0, 0, 64, 128)):
        np.testing.assert_array_equal(
            read_window(cached, window, fill=0), read_window(image, window, fill=0)
        )
    assert array.reads == 2
    read_window(cached, (0, 128, 8, 8), fill=0)  # replaces the least recently used chunk, the first
    read_window(cached, (0, 64, 8, 8), fill=0)
    assert array.reads == 3
    read_window(cached, (0, 0, 8, 8), fill=0)
    assert array.reads == 4


def test_a_window_is_a_copy(stored) -> None:
    image, array = stored
    cached = CachedChunks(array, max_bytes=10 * CHUNK_BYTES)
    read_window(cached, (0, 64, 64, 64), fill=0)[...] = 0
    np.testing.assert_array_equal(
        read_window(cached, (0, 64, 64, 64), fill=0), image[:, :64, 64:128]
    )


def test_several_threads_read_the_same_windows(stored) -> None:
    image, array = stored
    cached = CachedChunks(array, max_bytes=2 * CHUNK_BYTES)
    windows = [(y, x, 50, 50) for y in range(0, 100, 17) for x in range(0, 160, 13)]
    with ThreadPoolExecutor(4) as pool:
        for window, read in zip(
            windows, pool.map(lambda w: read_window(cached, w, fill=0), windows), strict=True
        ):
            np.testing.assert_array_equal(read, read_window(image, window, fill=0))


def test_chunks_that_divide_the_colours_are_an_error(stored) -> None:
    _, array = stored
    array.chunks = (1, CHUNK, CHUNK)
    with pytest.raises(ValueError, match="do not hold all of the leading axes"):
        CachedChunks(array, max_bytes=1)
