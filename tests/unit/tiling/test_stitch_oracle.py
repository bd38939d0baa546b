"""Stitching block by block gives the glands of the split rule in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.objects.stitch import stitch
from tiling.parallel import JobSettings
from tiling.raster.geometry import Geometry
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import split_glands
from tiling.stores.arrays import create_array, create_group, open_array, open_store
from tiling.stores.attributes import set_attributes
from tiling.stores.manifest import seal_store

PARAMETERS = SplitParameters(
    threshold=0.5,
    seed_depth_um=3.0,
    boundary_level=0.5,
    growth_um=4.0,
    min_area_um2=0.0,
    sdf_um=20.0,
)


Shape = tuple[int, int]


def check_stitched(
    folder: Path, maps: list[np.ndarray], mpp_um: float, parameters: SplitParameters, block_px: int
) -> np.ndarray:
    """Compare the glands of a slide with those of the rule in memory; returns them."""
    gland, sdf, boundary = maps
    height, width = gland.shape
    group = create_group(folder / "maps.zarr")
    for name, values in (("gland", gland), ("sdf", sdf), ("boundary", boundary)):
        create_array(group, name, gland.shape, np.uint8)[...] = values
    frame = Geometry.uniform(width, height, mpp_um=mpp_um)
    set_attributes(group, {"status": "ok", "geometry": frame.to_dict()})
    seal_store(folder / "maps.zarr")
    stitch(
        folder / "maps.zarr",
        folder / "glands.zarr",
        parameters=parameters,
        slide="s",
        block_px=block_px,
        code_version=1,
        job=JobSettings(2),
    )
    expected = split_glands(
        gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=frame.um2_per_px, parameters=parameters
    )
    labels = np.asarray(open_array(open_store(folder / "glands.zarr"), "labels")[...])
    np.testing.assert_array_equal(labels, expected)
    return labels


def smooth_maps(rng: np.random.Generator, shape: Shape) -> list[np.ndarray]:
    """Smooth random fields: blobs that touch, with necks, islands and holes."""
    fields = [
        128 + 60 * width * ndimage.gaussian_filter(rng.standard_normal(shape), width)
        for width in (3.0, 4.0, 2.0)
    ]
    return [np.clip(field, 0, 255).astype(np.uint8) for field in fields]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    mpp=st.sampled_from([0.5, 1.0, 1.3]),
    least=st.sampled_from([0.0, 20.0, 33.8]),
    use_sdf=st.booleans(),
    block_px=st.integers(20, 80),
    growth=st.sampled_from([0.0, 2.5, 9.0]),
    hole=st.sampled_from([0.0, 8.0, 60.0, 2000.0]),
)
def test_stitched_glands_are_those_of_the_rule_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    mpp: float,
    least: float,
    use_sdf: bool,
    block_px: int,
    growth: float,
    hole: float,
) -> None:
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(seed)
    maps = smooth_maps(rng, (rng.integers(30, 130), rng.integers(30, 130)))
    parameters = replace(
        PARAMETERS, min_area_um2=least, use_sdf=use_sdf, growth_um=growth, min_hole_um2=hole
    )
    check_stitched(folder, maps, mpp, parameters, block_px)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    mpp=st.sampled_from([0.7, 1.0, 2.5]),
    levels=st.sampled_from([2, 5, 40, 256]),
    block_px=st.integers(1, 90),
    height=st.sampled_from([0.01, 0.8, 3.0, 8.0]),
    seed_threshold=st.sampled_from([0.0, 0.7, 0.95]),
    weight=st.sampled_from([0.0, 0.0, 7.0]),
    hole=st.sampled_from([0.0, 60.0]),
)
def test_the_rule_prominence_is_exact_with_plateaus_ties_and_any_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    mpp: float,
    levels: int,
    block_px: int,
    height: float,
    seed_threshold: float,
    weight: float,
    hole: float,
) -> None:
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(seed)
    gland, sdf, boundary = smooth_maps(rng, (rng.integers(1, 100), rng.integers(1, 100)))
    # The distance belongs to the probability, with a dense mask; few levels make plateaus.
    step = 256 / levels
    sdf = (np.floor((gland * 0.7 + sdf * 0.3) / step) * step).astype(np.uint8)
    parameters = replace(
        PARAMETERS,
        threshold=0.35,
        rule="prominence",
        prominence_um=height,
        seed_threshold=seed_threshold,
        boundary_weight_um=weight,
        min_hole_um2=hole,
    )
    # Blocks are made of whole reduced pixels; very small ones take long.
    least = 12 if min(gland.shape) > 30 else 1
    check_stitched(folder, [gland, sdf, boundary], mpp, parameters, max(block_px, least))


def test_a_gland_over_many_blocks_is_cut_at_its_saddle_only(tmp_path: Path) -> None:
    """One component over 30 blocks: two hills, whose saddle and maxima are far from all sides."""
    y, x = np.mgrid[:60, :200]
    distance_um = 14 - np.abs(y - 30) / 4 - np.minimum(np.abs(x - 55), np.abs(x - 142)) / 5
    sdf = np.rint((np.clip(distance_um / 20, -1, 1) + 1) * 127.5).astype(np.uint8)
    gland = np.where(sdf > 128, 255, 0).astype(np.uint8)
    for number, height in enumerate((4.0, 9.5)):
        folder = tmp_path / str(number)
        folder.mkdir()
        parameters = replace(PARAMETERS, rule="prominence", prominence_um=height)
        labels = check_stitched(folder, [gland, sdf, sdf], 1.0, parameters, 20)
        if number == 0:
            assert labels.max() == 2
            assert set(np.unique(labels[:, :96])) == {0, 1}
            assert set(np.unique(labels[:, 101:])) == {0, 2}
        else:
            assert labels.max() == 1
