"""Stitching against a pixel-by-pixel oracle of the split rule.

The result does not depend on the blocks or the workers.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.objects import stitch as stitching
from tiling.objects.stitch import stitch
from tiling.parallel import JobSettings
from tiling.raster.geometry import Geometry
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.arrays import create_array, create_group, open_array, open_store, read_table
from tiling.stores.attributes import set_attributes, stored_json
from tiling.stores.manifest import seal_store

PARAMETERS = SplitParameters(
    threshold=0.5,
    seed_depth_um=4.0,
    boundary_level=0.5,
    growth_um=3.0,
    min_area_um2=0.0,
    sdf_um=20.0,
)
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def write_maps(path: Path, gland: np.ndarray, sdf: np.ndarray, boundary: np.ndarray) -> Path:
    height, width = gland.shape
    group = create_group(path)
    for name, values in (("gland", gland), ("sdf", sdf), ("boundary", boundary)):
        create_array(group, name, gland.shape, np.uint8)[...] = values
    geometry = Geometry.uniform(width, height)
    set_attributes(group, {"status": "ok", "geometry": geometry.to_dict()})
    seal_store(path)
    return path


def stitched(
    folder: Path,
    maps: Path,
    parameters: SplitParameters = PARAMETERS,
    *,
    block_px: int = 2048,
    workers: int = 1,
) -> np.ndarray:
    store = folder / f"glands-{block_px}-{workers}.zarr"
    count = stitch(
        maps,
        store,
        parameters=parameters,
        slide="s",
        job=JobSettings(workers),
        block_px=block_px,
        code_version=1,
    )
    labels = np.asarray(open_array(open_store(store), "labels")[...])
    assert labels.max(initial=0) == count
    return labels


def components(image: np.ndarray) -> np.ndarray:
    """8-connected components by flood fill, numbered by first pixel."""
    labels = np.zeros(image.shape, int)
    count = 0
    for start in zip(*np.nonzero(image), strict=True):
        if labels[start]:
            continue
        count += 1
        labels[start] = count
        stack = [start]
        while stack:
            y, x = stack.pop()
            for dy, dx in NEIGHBOURS:
                place = (y + dy, x + dx)
                if (
                    0 <= place[0] < image.shape[0]
                    and 0 <= place[1] < image.shape[1]
                    and image[place]
                    and not labels[place]
                ):
                    labels[place] = count
                    stack.append(place)
    return labels


def neighbouring_labels(labels: np.ndarray, y: int, x: int) -> list[int]:
    places = ((y + dy, x + dx) for dy, dx in NEIGHBOURS)
    return [
        int(labels[p])
        for p in places
        if 0 <= p[0] < labels.shape[0] and 0 <= p[1] < labels.shape[1] and labels[p]
    ]


def oracle(
    gland: np.ndarray, sdf: np.ndarray, boundary: np.ndarray, p: SplitParameters
) -> np.ndarray:
    mask = gland >= round(255 * p.threshold)
    seed = mask & (boundary < round(255 * p.boundary_level))
    if p.use_sdf:
        seed &= sdf > round((p.seed_depth_um / p.sdf_um + 1) * 127.5)
    labels = components(seed)
    for _ in range(round(p.growth_um)):
        before = labels.copy()
        for y, x in zip(*np.nonzero(mask & (before == 0)), strict=True):
            if neighbours := neighbouring_labels(before, y, x):
                labels[y, x] = min(neighbours)
    rest = components(mask & (labels == 0))
    objects = labels.copy()
    new_label = labels.max(initial=0)
    for number in range(1, rest.max(initial=0) + 1):
        touched = [
            other
            for y, x in zip(*np.nonzero(rest == number), strict=True)
            for other in neighbouring_labels(labels, y, x)
        ]
        if touched:
            counts = np.bincount(touched)
            objects[rest == number] = counts.argmax()
        else:
            new_label += 1
            objects[rest == number] = new_label
    final = np.zeros_like(objects)
    count = 0
    for value in objects.ravel():
        if value and not (final == 0)[objects == value].any():
            continue
        if value and (objects == value).sum() >= p.min_area_um2:
            count += 1
            final[objects == value] = count
    return final


@st.composite
def random_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 34)), draw(st.integers(1, 34)))
    density = draw(st.sampled_from([0.3, 0.6, 0.9]))
    gland = np.where(rng.random(shape) < density, 200, 20).astype(np.uint8)
    sdf = np.where(rng.random(shape) < 0.15, 230, 130).astype(np.uint8)
    boundary = np.where(rng.random(shape) < 0.2, 220, 10).astype(np.uint8)
    return gland, sdf, boundary


@settings(max_examples=25, deadline=None)
@given(
    maps=random_maps(),
    block_px=st.integers(3, 40),
    growth_um=st.integers(0, 5),
    min_area_um2=st.sampled_from([0.0, 6.0]),
    use_sdf=st.booleans(),
)
def test_stitching_follows_the_rule_with_any_block_size(
    tmp_path_factory: pytest.TempPathFactory,
    maps: tuple[np.ndarray, ...],
    block_px: int,
    growth_um: int,
    min_area_um2: float,
    use_sdf: bool,
) -> None:
    folder = tmp_path_factory.mktemp("s")
    parameters = replace(
        PARAMETERS, growth_um=float(growth_um), min_area_um2=min_area_um2, use_sdf=use_sdf
    )
    labels = stitched(
        folder,
        write_maps(folder / "maps.zarr", *maps),
        parameters,
        block_px=block_px,
        workers=1 + block_px % 3,
    )
    np.testing.assert_array_equal(labels, oracle(*maps, parameters))


def four_tile_gland(size: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ring across the corner of four blocks of 64 px, its distance map saturated inside."""
    y, x = np.mgrid[:size, :size] - 64
    radius = np.hypot(y, x)
    gland = np.where((radius < 45) & (radius > 15), 255, 0).astype(np.uint8)
    sdf = np.where((radius < 40) & (radius > 20), 255, 127).astype(np.uint8)
    return gland, sdf, np.zeros_like(gland)


def test_a_gland_across_four_blocks_is_one_object_and_keeps_its_hole(tmp_path: Path) -> None:
    maps = four_tile_gland()
    labels = stitched(tmp_path, write_maps(tmp_path / "maps.zarr", *maps), block_px=64)
    np.testing.assert_array_equal(labels, (maps[0] > 0).astype(int))
    assert labels[64, 64] == 0


def test_touching_glands_are_split_along_their_boundary(tmp_path: Path) -> None:
    gland = np.zeros((40, 80), np.uint8)
    gland[5:35, 5:75] = 255
    boundary = np.zeros_like(gland)
    boundary[:, 39:41] = 255
    labels = stitched(
        tmp_path,
        write_maps(tmp_path / "maps.zarr", gland, np.full_like(gland, 255), boundary),
        block_px=64,
    )
    assert labels.max() == 2
    assert (labels[5:35, 5:40] == 1).all()
    assert (labels[5:35, 40:75] == 2).all()


def test_pixels_that_touch_at_a_corner_are_one_object(tmp_path: Path) -> None:
    gland = np.kron(np.eye(4, dtype=np.uint8), np.full((5, 5), 255, np.uint8))
    for block_px in (5, 7, 64):
        labels = stitched(
            tmp_path,
            write_maps(tmp_path / f"maps{block_px}.zarr", gland, gland, np.zeros_like(gland)),
            block_px=block_px,
        )
        np.testing.assert_array_equal(labels, gland > 0)


def test_the_table_describes_the_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    gland = (np.kron(rng.random((20, 25)) < 0.4, np.ones((4, 4))) * 255).astype(np.uint8)
    parameters = replace(PARAMETERS, min_area_um2=30.0)
    labels = stitched(
        tmp_path,
        write_maps(tmp_path / "maps.zarr", gland, gland, np.zeros_like(gland)),
        parameters,
        block_px=33,
    )
    table = read_table(
        tmp_path / "glands-33-1.zarr",
        "objects",
        ("first_px", "window_px", "area_px", "touches_border"),
    )
    assert len(table["area_px"]) == labels.max() > 3
    for row, (first, (y, x, h, w), area, border) in enumerate(zip(*table.values(), strict=True)):
        place = np.argwhere(labels == row + 1)
        assert divmod(int(first), labels.shape[1]) == tuple(place[0])
        assert (y, x, y + h - 1, x + w - 1) == (*place.min(0), *place.max(0))
        assert area == len(place) >= 30
        assert border == (y == 0 or x == 0 or y + h == labels.shape[0] or x + w == labels.shape[1])


def test_an_empty_slide_has_no_glands_and_no_scratch_is_left(tmp_path: Path) -> None:
    empty = np.zeros((30, 30), np.uint8)
    assert not stitched(tmp_path, write_maps(tmp_path / "maps.zarr", empty, empty, empty)).any()
    assert stored_json(tmp_path / "glands-2048-1.zarr")["split"]["threshold"] == 0.5
    assert not [
        path for path in tmp_path.iterdir() if "scratch" in path.name or "partial" in path.name
    ]


def content_of(store: Path) -> dict[Path, bytes]:
    files = [path for path in store.rglob("*") if path.is_file()]
    return {path.relative_to(store): path.read_bytes() for path in files}


def test_an_interrupted_run_does_not_change_the_result_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = write_maps(tmp_path / "maps.zarr", *four_tile_gland())
    expected = stitched(tmp_path, maps, block_px=50)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stitching, "merge_extents", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stitched(tmp_path, maps, block_px=64)
    assert not (tmp_path / "glands-64-1.zarr").exists()
    np.testing.assert_array_equal(stitched(tmp_path, maps, block_px=64), expected)
    one, other = (content_of(tmp_path / f"glands-{side}-1.zarr") for side in (50, 64))
    assert one == other
    assert not list(tmp_path.glob("*.partial"))
