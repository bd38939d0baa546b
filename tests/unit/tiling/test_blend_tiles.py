import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.maps import blend_tiles as blend
from tiling.maps.blend_tiles import MAPS, blend_to_store
from tiling.raster.geometry import Geometry
from tiling.stores import arrays
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import stored_json
from tiling.stores.window_reading import read_window

TILE = 16


def geometry(height: int, width: int) -> Geometry:
    return Geometry.uniform(width, height)


def grid(height: int, width: int, stride: int) -> np.ndarray:
    return np.array(
        [
            (y, x)
            for y in range(-stride // 2, height, stride)
            for x in range(-stride // 2, width, stride)
        ],
        np.int64,
    )


class Cut:
    """Tiles of an RGB image."""

    def __init__(self, image: np.ndarray, origins: np.ndarray) -> None:
        self.image, self.origins = image, origins

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: int) -> SimpleNamespace:
        y, x = self.origins[index]
        return SimpleNamespace(image=read_window(self.image, (y, x, TILE, TILE), fill=0))


def identity(images: np.ndarray) -> np.ndarray:
    """The first channel as three probabilities and as a distance: its code must come back unchanged."""
    p = images[:, 0].astype(np.float32) / 255
    return np.stack([p, p * 2 - 1, p, p], axis=1)


def blended(
    path: Path,
    image: np.ndarray,
    origins: np.ndarray,
    predict=identity,
    batch: int = 3,
    **given: Any,
) -> dict[str, np.ndarray]:
    blend_to_store(
        path,
        slide="s",
        geometry=geometry(*image.shape[1:]),
        source=Cut(image, origins),
        origins_yx_px=origins,
        tile_px=TILE,
        predict=predict,
        batch=batch,
        parameters={},
        model={"m": 1},
        progress=False,
        code_version=1,
        **given,
    )
    return {name: np.asarray(open_array(open_store(path), name)[...]) for name in MAPS}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 32 px, so that small maps have many."""
    monkeypatch.setattr(blend, "SHARD_PX", 32)
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
    maps = blended(tmp_path_factory.mktemp("b") / "m.zarr", image, grid(height, width, stride))
    for name in MAPS:
        np.testing.assert_array_equal(maps[name], image[0])


@pytest.mark.parametrize("value", [0, 1, 77, 254, 255])
def test_a_constant_prediction_is_a_constant_map(tmp_path: Path, value: int) -> None:
    image = np.full((3, 70, 45), value, np.uint8)
    maps = blended(tmp_path / "m.zarr", image, grid(70, 45, 11))
    assert all((maps[name] == value).all() for name in MAPS)


def seamy(images: np.ndarray) -> np.ndarray:
    """A predictor whose answer depends on the place in the tile, as a network's does."""
    place = np.linspace(0, 1, TILE, dtype=np.float32)[None, :, None]
    p = images[:, 0].astype(np.float32) / 255 * place
    return np.stack([p, -p, p, p], axis=1)


def test_nothing_depends_on_tile_order_or_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (3, 80, 61), np.uint8)
    origins = grid(80, 61, 10)
    one = blended(tmp_path / "a.zarr", image, origins, seamy, batch=1)
    two = blended(tmp_path / "b.zarr", image, rng.permutation(origins), seamy, batch=7, readers=3)
    assert all((one[name] == two[name]).all() for name in MAPS)


def test_blending_is_the_weighted_mean_of_the_tiles(tmp_path: Path) -> None:
    image = np.random.default_rng(4).integers(0, 256, (3, 50, 40), np.uint8)
    origins = grid(50, 40, 9)
    source = Cut(image, origins)
    sums, total = np.zeros((50, 40)), np.zeros((50, 40))
    for index, (y, x) in enumerate(origins):
        maps = seamy(source[index].image[None])[0, 0]
        for i in range(TILE):
            for j in range(TILE):
                if 0 <= y + i < 50 and 0 <= x + j < 40:
                    weight = min(i + 0.5, TILE - i - 0.5) * min(j + 0.5, TILE - j - 0.5)
                    sums[y + i, x + j] += weight * maps[i, j]
                    total[y + i, x + j] += weight
    expected = 255 * sums / total
    got = blended(tmp_path / "m.zarr", image, origins, seamy)["gland"].astype(float)
    assert np.abs(got - expected).max() <= 0.5 + 1e-3


def test_where_no_tile_is_the_maps_are_zero_and_not_stored(tmp_path: Path) -> None:
    image = np.full((3, 100, 40), 200, np.uint8)
    maps = blended(tmp_path / "m.zarr", image, np.array([[70, 4]]))
    seen = np.zeros((100, 40), bool)
    seen[70:86, 4:20] = True
    assert (maps["gland"] == np.where(seen, 200, 0)).all()
    assert stored_json(tmp_path / "m.zarr")["model"] == {"m": 1}


def test_a_slide_without_tiles_gives_empty_maps(tmp_path: Path) -> None:
    maps = blended(tmp_path / "m.zarr", np.zeros((3, 20, 20), np.uint8), np.zeros((0, 2), np.int64))
    assert not any(maps[name].any() for name in MAPS)


def test_where_there_is_no_tissue_the_maps_are_zero(tmp_path: Path) -> None:
    image = np.full((3, 70, 45), 200, np.uint8)
    origins = grid(70, 45, 11)
    tissue = np.zeros((70, 45), bool)
    tissue[30:50, 10:20] = True
    blend_to_store(
        tmp_path / "m.zarr",
        slide="s",
        geometry=geometry(70, 45),
        source=Cut(image, origins),
        origins_yx_px=origins,
        tile_px=TILE,
        predict=identity,
        batch=4,
        parameters={},
        model={},
        progress=False,
        code_version=1,
        within=lambda w: tissue[w[0] : w[0] + w[2], w[1] : w[1] + w[3]],
    )
    np.testing.assert_array_equal(
        open_array(open_store(tmp_path / "m.zarr"), "gland")[...], np.where(tissue, 200, 0)
    )


def files_of(store: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("dies_at", [1, 7, 14, 21])
def test_a_run_that_died_goes_on_with_the_shards_that_are_missing(
    tmp_path: Path, dies_at: int
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 130, 77), np.uint8)
    origins = grid(130, 77, 11)
    asked: list[int] = []

    def counted(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return seamy(images) * (1 - 1e-3 * len(images))  # an answer that depends on the batch

    blended(tmp_path / "a.zarr", image, origins, counted, batch=4)
    whole = list(asked)

    def dies(images: np.ndarray) -> np.ndarray:
        if len(asked) == dies_at:
            raise KeyboardInterrupt
        return counted(images)

    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        blended(tmp_path / "b.zarr", image, origins, dies, batch=4)
    assert not (tmp_path / "b.zarr").exists()
    asked.clear()
    blended(tmp_path / "b.zarr", image, origins, counted, batch=4)
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b.zarr")
    assert len(asked) < len(whole) or dies_at == 1, "what is written is not predicted again"


def test_a_partial_store_of_other_tiles_is_not_gone_on_with(tmp_path: Path) -> None:
    image = np.full((3, 100, 60), 9, np.uint8)
    origins = grid(100, 60, 11)

    def dies(images: np.ndarray) -> np.ndarray:
        dies.left -= 1
        if not dies.left:
            raise KeyboardInterrupt
        return identity(images)

    dies.left = 15
    with pytest.raises(KeyboardInterrupt):
        blended(tmp_path / "m.zarr", image, origins, dies, inputs={"tiles": "a"})
    maps = blended(tmp_path / "m.zarr", image + 1, origins, inputs={"tiles": "b"})
    assert (maps["gland"] == 10).all()


class Small:
    """A predictor that learns, after some calls, that a single tile fits into memory."""

    def __init__(self, runs_out_at: int, dies_at: int = -1) -> None:
        self.max_tiles_at_once: int | None = None
        self.calls, self._runs_out_at, self._dies_at = 0, runs_out_at, dies_at

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        if self.calls == self._runs_out_at:
            self.max_tiles_at_once = 1
        return identity(images)


def test_what_fitted_into_memory_at_once_is_recorded_and_known_to_a_run_that_goes_on(
    tmp_path: Path, caplog
) -> None:
    caplog.set_level("INFO")
    image = np.random.default_rng(7).integers(0, 256, (3, 130, 77), np.uint8)
    origins = grid(130, 77, 11)
    roomy = Small(runs_out_at=-1)
    blended(tmp_path / "a.zarr", image, origins, roomy, memory=roomy)
    assert stored_json(tmp_path / "a.zarr")["most_at_once"] is None
    killed = Small(runs_out_at=2, dies_at=9)
    with pytest.raises(KeyboardInterrupt):
        blended(tmp_path / "b.zarr", image, origins, killed, memory=killed)
    # The next try has more room, and still does as the first one did.
    again = Small(runs_out_at=-1)
    blended(tmp_path / "b.zarr", image, origins, again, memory=again)
    assert again.calls < roomy.calls
    assert again.max_tiles_at_once == 1
    assert stored_json(tmp_path / "b.zarr")["most_at_once"] == 1
    assert "at most 1 tiles at once, as before" in caplog.text


def test_tiles_as_large_as_several_shards_and_tiles_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blend, "SHARD_PX", 8)
    monkeypatch.setattr(arrays, "CHUNK_PX", 8)
    image = np.random.default_rng(6).integers(0, 256, (3, 45, 40), np.uint8)
    origins = np.concatenate([grid(45, 40, 7), [[-40, 0], [0, 90]]])
    assert (blended(tmp_path / "m.zarr", image, origins)["gland"] == image[0]).all()


def test_workers_do_not_change_the_maps_and_one_that_fails_stops_the_run_which_then_goes_on(
    tmp_path: Path,
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 150, 131), np.uint8)
    origins = grid(150, 131, 10)
    one, three = (
        blended(tmp_path / f"{workers}.zarr", image, origins, seamy, workers=workers)
        for workers in (1, 3)
    )
    for name, codes in one.items():
        np.testing.assert_array_equal(codes, three[name])
    calls = itertools.count()

    def everywhere(window: tuple[int, int, int, int]) -> np.ndarray:
        return np.ones(window[2:], bool)

    def full(window: tuple[int, int, int, int]) -> np.ndarray:
        if next(calls) == 1:
            raise OSError("no space left on device")
        return everywhere(window)

    with pytest.raises(OSError, match="no space left"):
        blended(tmp_path / "f.zarr", image, origins, seamy, workers=3, within=full)
    assert not (tmp_path / "f.zarr").exists()
    again = blended(tmp_path / "f.zarr", image, origins, seamy, workers=3, within=everywhere)
    np.testing.assert_array_equal(again["gland"], one["gland"])


@pytest.mark.parametrize("workers", [1, 3])
def test_one_map_alone_is_the_one_of_four_whatever_the_number_of_workers(
    tmp_path: Path, workers: int
) -> None:
    image = np.random.default_rng(5).integers(0, 256, (3, 90, 61), np.uint8)
    origins = grid(90, 61, 10)
    four = blended(tmp_path / "four.zarr", image, origins, seamy, workers=workers)
    alone = tmp_path / "one.zarr"
    blend_to_store(
        alone, slide="s", geometry=geometry(90, 61), source=Cut(image, origins), origins_yx_px=origins, tile_px=TILE,
        predict=lambda images: seamy(images)[:, :1], batch=3, parameters={}, model={}, progress=False, code_version=1, workers=workers,
        names=("gland",),
    )  # fmt: skip
    assert sorted(open_store(alone).array_keys()) == ["gland"]
    np.testing.assert_array_equal(
        np.asarray(open_array(open_store(alone), "gland")[...]), four["gland"]
    )
