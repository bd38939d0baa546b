"""Stitching block by block gives the glands of the split rule in memory."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.objects.stitch import stitch
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
    shape = (rng.integers(30, 130), rng.integers(30, 130))
    # Smooth random fields: blobs that touch, with necks, islands and holes.
    gland, sdf, boundary = (
        np.clip(
            128 + 60 * width * ndimage.gaussian_filter(rng.standard_normal(shape), width), 0, 255
        ).astype(np.uint8)
        for width in (3.0, 4.0, 2.0)
    )
    parameters = replace(
        PARAMETERS, min_area_um2=least, use_sdf=use_sdf, growth_um=growth, min_hole_um2=hole
    )
    maps = folder / "maps.zarr"
    group = create_group(maps)
    for name, values in (("gland", gland), ("sdf", sdf), ("boundary", boundary)):
        create_array(group, name, gland.shape, np.uint8)[...] = values
    height, width = (int(side) for side in shape)
    frame = Geometry.uniform(width, height, mpp_um=mpp)
    set_attributes(group, {"status": "ok", "geometry": frame.to_dict()})
    seal_store(maps)
    stitch(
        maps,
        folder / "glands.zarr",
        parameters=parameters,
        slide="s",
        block_px=block_px,
        code_version=1,
    )
    expected = split_glands(
        gland,
        sdf,
        boundary,
        mpp_um=mpp,
        um2_per_px=frame.um2_per_px,
        parameters=parameters,
    )
    np.testing.assert_array_equal(
        np.asarray(open_array(open_store(folder / "glands.zarr"), "labels")[...]), expected
    )
