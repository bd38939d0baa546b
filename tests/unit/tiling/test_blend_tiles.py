"""Blending of tiles into the maps of a slide."""

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.maps import blend_tiles
from tiling.maps.blend_tiles import (
    MAPS,
    MapProvenance,
    SlideTiles,
    TilePrediction,
    blend_to_store,
)
from tiling.parallel import JobSettings
from tiling.raster.geometry import Geometry, Window
from tiling.stores import arrays
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import stored_json
from tiling.stores.shards import ShardWriter
from tiling.stores.window_reading import read_window

TILE = 16


def grid(height: int, width: int, stride: int) -> np.ndarray:
    return np.array(
        [
            (y, x)
            for y in range(-stride // 2, height, stride)
            for x in range(-stride // 2, width, stride)
        ],
        np.int64,
    )


class CroppedTiles:
    """Tiles of an RGB image."""

    def __init__(self, image: np.ndarray, origins: np.ndarray) -> None:
        self.image, self.origins = image, origins

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: int) -> SimpleNamespace:
        y, x = self.origins[index]
        return SimpleNamespace(image=read_window(self.image, (y, x, TILE, TILE), fill=0))


def identity(images: np.ndarray) -> np.ndarray:
    """The first channel as three probabilities and as an sdf: quantised, it is the same again."""
    p = images[:, 0].astype(np.float32) / 255
    return np.stack([p, p * 2 - 1, p, p], axis=1)


def blend(
    path: Path,
    image: np.ndarray,
    origins: np.ndarray,
    prediction: TilePrediction | None = None,
    *,
    inputs: dict[str, str] | None = None,
    readers: int = 1,
    workers: int = 1,
) -> dict[str, np.ndarray]:
    """Blend the tiles of an image and read the maps."""
    prediction = prediction or TilePrediction(identity, batch=3)
    geometry = Geometry.uniform(image.shape[2], image.shape[1])
    blend_to_store(
        path,
        SlideTiles("s", geometry, CroppedTiles(image, origins), origins, TILE),
        prediction,
        MapProvenance(parameters={}, model={"m": 1}, code_version=1, inputs=inputs),
        readers=readers,
        job=JobSettings(workers=workers),
    )
    group = open_store(path)
    return {name: np.asarray(open_array(group, name)[...]) for name in prediction.names}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 32 px, so that small maps have many."""
    monkeypatch.setattr(blend_tiles, "SHARD_PX", 32)
    monkeypatch.setattr(arrays, "CHUNK_PX", 16)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 50),
    stride=st.integers(5, TILE),
    seed=st.integers(0, 99),
)
def test_identity_prediction_restores_the_image(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, stride: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)
    maps = blend(tmp_path_factory.mktemp("b") / "m.zarr", image, grid(height, width, stride))
    for name in MAPS:
        np.testing.assert_array_equal(maps[name], image[0])


@pytest.mark.parametrize("value", [0, 1, 77, 254, 255])
def test_a_constant_prediction_is_a_constant_map(tmp_path: Path, value: int) -> None:
    image = np.full((3, 70, 45), value, np.uint8)
    maps = blend(tmp_path / "m.zarr", image, grid(70, 45, 11))
    assert all((maps[name] == value).all() for name in MAPS)


def position_dependent(images: np.ndarray) -> np.ndarray:
    """A prediction that depends on the position in the tile, like that of a network."""
    place = np.linspace(0, 1, TILE, dtype=np.float32)[None, :, None]
    p = images[:, 0].astype(np.float32) / 255 * place
    return np.stack([p, -p, p, p], axis=1)


def test_nothing_depends_on_tile_order_or_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (3, 80, 61), np.uint8)
    origins = grid(80, 61, 10)
    one = blend(tmp_path / "a.zarr", image, origins, TilePrediction(position_dependent, batch=1))
    other = TilePrediction(position_dependent, batch=7)
    two = blend(tmp_path / "b.zarr", image, rng.permutation(origins), other, readers=3)
    assert all((one[name] == two[name]).all() for name in MAPS)


def test_blending_is_the_weighted_mean_of_the_tiles(tmp_path: Path) -> None:
    image = np.random.default_rng(4).integers(0, 256, (3, 50, 40), np.uint8)
    origins = grid(50, 40, 9)
    tiles = CroppedTiles(image, origins)
    sums, total = np.zeros((50, 40)), np.zeros((50, 40))
    for index, (y, x) in enumerate(origins):
        maps = position_dependent(tiles[index].image[None])[0, 0]
        for i in range(TILE):
            for j in range(TILE):
                if 0 <= y + i < 50 and 0 <= x + j < 40:
                    weight = min(i + 0.5, TILE - i - 0.5) * min(j + 0.5, TILE - j - 0.5)
                    sums[y + i, x + j] += weight * maps[i, j]
                    total[y + i, x + j] += weight
    expected = 255 * sums / total
    got = blend(tmp_path / "m.zarr", image, origins, TilePrediction(position_dependent, 3))[
        "gland"
    ].astype(float)
    assert np.abs(got - expected).max() <= 0.5 + 1e-3


def test_maps_are_zero_and_not_stored_where_there_is_no_tile(tmp_path: Path) -> None:
    image = np.full((3, 100, 40), 200, np.uint8)
    maps = blend(tmp_path / "m.zarr", image, np.array([[70, 4]]))
    covered = np.zeros((100, 40), bool)
    covered[70:86, 4:20] = True
    assert (maps["gland"] == np.where(covered, 200, 0)).all()
    assert stored_json(tmp_path / "m.zarr")["model"] == {"m": 1}


def test_a_slide_without_tiles_gives_empty_maps(tmp_path: Path) -> None:
    maps = blend(tmp_path / "m.zarr", np.zeros((3, 20, 20), np.uint8), np.zeros((0, 2), np.int64))
    assert not any(maps[name].any() for name in MAPS)


def test_maps_are_zero_outside_the_mask(tmp_path: Path) -> None:
    image = np.full((3, 70, 45), 200, np.uint8)
    origins = grid(70, 45, 11)
    tissue = np.zeros((70, 45), bool)
    tissue[30:50, 10:20] = True
    prediction = TilePrediction(identity, 4, read_mask=lambda window: tissue[window.slices])
    maps = blend(tmp_path / "m.zarr", image, origins, prediction)
    np.testing.assert_array_equal(maps["gland"], np.where(tissue, 200, 0))


def files_of(store: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("interrupted_at", [1, 7, 14, 21])
def test_an_interrupted_run_is_resumed_with_the_missing_shards(
    tmp_path: Path, interrupted_at: int
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 130, 77), np.uint8)
    origins = grid(130, 77, 11)
    batch_sizes: list[int] = []

    def counted(images: np.ndarray) -> np.ndarray:
        batch_sizes.append(len(images))
        return position_dependent(images) * (
            1 - 1e-3 * len(images)
        )  # an answer that depends on the batch

    blend(tmp_path / "a.zarr", image, origins, TilePrediction(counted, batch=4))
    whole = list(batch_sizes)

    def interrupted(images: np.ndarray) -> np.ndarray:
        if len(batch_sizes) == interrupted_at:
            raise KeyboardInterrupt
        return counted(images)

    batch_sizes.clear()
    with pytest.raises(KeyboardInterrupt):
        blend(tmp_path / "b.zarr", image, origins, TilePrediction(interrupted, batch=4))
    assert not (tmp_path / "b.zarr").exists()
    batch_sizes.clear()
    blend(tmp_path / "b.zarr", image, origins, TilePrediction(counted, batch=4))
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b.zarr")
    assert len(batch_sizes) < len(whole) or interrupted_at == 1, (
        "what is written is not predicted again"
    )


def test_an_interrupted_run_with_other_inputs_is_not_resumed(tmp_path: Path) -> None:
    image = np.full((3, 100, 60), 9, np.uint8)
    origins = grid(100, 60, 11)

    def interrupted(images: np.ndarray) -> np.ndarray:
        interrupted.left -= 1
        if not interrupted.left:
            raise KeyboardInterrupt
        return identity(images)

    interrupted.left = 15
    with pytest.raises(KeyboardInterrupt):
        blend(
            tmp_path / "m.zarr",
            image,
            origins,
            TilePrediction(interrupted, 3),
            inputs={"tiles": "a"},
        )
    maps = blend(tmp_path / "m.zarr", image + 1, origins, inputs={"tiles": "b"})
    assert (maps["gland"] == 10).all()


class LimitedPredictor:
    """A predictor that limits itself to a single tile at one of its calls."""

    def __init__(self, runs_out_at: int, interrupted_at: int = -1) -> None:
        self.max_tiles_at_once: int | None = None
        self.calls, self._runs_out_at, self._interrupted_at = 0, runs_out_at, interrupted_at

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self._interrupted_at:
            raise KeyboardInterrupt
        if self.calls == self._runs_out_at:
            self.max_tiles_at_once = 1
        return identity(images)


def test_the_batch_limit_is_recorded_and_used_by_a_resumed_run(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    image = np.random.default_rng(7).integers(0, 256, (3, 130, 77), np.uint8)
    origins = grid(130, 77, 11)
    unlimited = LimitedPredictor(runs_out_at=-1)
    blend(tmp_path / "a.zarr", image, origins, TilePrediction(unlimited, 3, limit=unlimited))
    assert stored_json(tmp_path / "a.zarr")["most_at_once"] is None
    killed = LimitedPredictor(runs_out_at=2, interrupted_at=9)
    with pytest.raises(KeyboardInterrupt):
        blend(tmp_path / "b.zarr", image, origins, TilePrediction(killed, 3, limit=killed))
    # The resumed run would have enough memory, and still keeps the limit.
    again = LimitedPredictor(runs_out_at=-1)
    blend(tmp_path / "b.zarr", image, origins, TilePrediction(again, 3, limit=again))
    assert again.calls < unlimited.calls
    assert again.max_tiles_at_once == 1
    assert stored_json(tmp_path / "b.zarr")["most_at_once"] == 1
    assert "at most 1 tiles at once, as in the interrupted run" in caplog.text


def test_tiles_as_large_as_several_shards_and_tiles_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blend_tiles, "SHARD_PX", 8)
    monkeypatch.setattr(arrays, "CHUNK_PX", 8)
    image = np.random.default_rng(6).integers(0, 256, (3, 45, 40), np.uint8)
    origins = np.concatenate([grid(45, 40, 7), [[-40, 0], [0, 90]]])
    assert (blend(tmp_path / "m.zarr", image, origins)["gland"] == image[0]).all()


def test_a_worker_that_fails_stops_the_run_and_the_run_can_be_resumed(
    tmp_path: Path,
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 150, 131), np.uint8)
    origins = grid(150, 131, 10)
    prediction = TilePrediction(position_dependent, 3)
    one, three = (
        blend(tmp_path / f"{workers}.zarr", image, origins, prediction, workers=workers)
        for workers in (1, 3)
    )
    for name, codes in one.items():
        np.testing.assert_array_equal(codes, three[name])
    calls = itertools.count()

    def everywhere(window: Window) -> np.ndarray:
        return np.ones(window[2:], bool)

    def full(window: Window) -> np.ndarray:
        if next(calls) == 1:
            raise OSError("no space left on device")
        return everywhere(window)

    with pytest.raises(OSError, match="no space left"):
        blend(tmp_path / "f.zarr", image, origins, replace(prediction, read_mask=full), workers=3)
    assert not (tmp_path / "f.zarr").exists()
    resumed = replace(prediction, read_mask=everywhere)
    again = blend(tmp_path / "f.zarr", image, origins, resumed, workers=3)
    np.testing.assert_array_equal(again["gland"], one["gland"])


@pytest.mark.parametrize("workers", [1, 3])
def test_one_map_alone_is_the_same_as_among_four_for_any_number_of_workers(
    tmp_path: Path, workers: int
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 90, 61), np.uint8)
    origins = grid(90, 61, 10)
    prediction = TilePrediction(position_dependent, 3)
    four = blend(tmp_path / "four.zarr", image, origins, prediction, workers=workers)
    alone = tmp_path / "one.zarr"
    prediction = TilePrediction(lambda images: position_dependent(images)[:, :1], 3, ("gland",))
    maps = blend(alone, image, origins, prediction, workers=workers)
    assert sorted(open_store(alone).array_keys()) == ["gland"]
    np.testing.assert_array_equal(maps["gland"], four["gland"])


@pytest.mark.parametrize("failing_write", [0, 5, 19])
def test_a_shard_that_cannot_be_written_stops_the_run_and_the_run_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 150, 131), np.uint8)
    origins = grid(150, 131, 10)
    prediction = TilePrediction(position_dependent, 3, ("gland",))
    prediction = replace(prediction, predict=lambda images: position_dependent(images)[:, :1])
    blend(tmp_path / "a.zarr", image, origins, prediction, workers=2)
    write, calls = ShardWriter.write, itertools.count()

    def full_disk(writer: ShardWriter, *arguments: object) -> None:
        if next(calls) == failing_write:
            raise OSError("no space left on device")
        write(writer, *arguments)

    monkeypatch.setattr(ShardWriter, "write", full_disk)
    with pytest.raises(OSError, match="no space left"):
        blend(tmp_path / "b.zarr", image, origins, prediction, workers=2)
    assert not (tmp_path / "b.zarr").exists()
    blend(tmp_path / "b.zarr", image, origins, prediction, workers=2)
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b.zarr")
