from pathlib import Path

import numpy as np
from example_stores import tile_attributes
from scipy import ndimage

from tiling.raster.geometry import Geometry
from tiling.stores.arrays import create_array, create_group
from tiling.stores.manifest import seal_store
from tiling.tiles.tissue_store import StoredTissue


def test_tissue_is_read_on_the_stored_grid_and_false_outside_the_slide(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    group = create_group(tmp_path / "t.zarr")
    create_array(group, "tissue", mask.shape, np.uint8)[...] = mask
    tile_attributes(Geometry.uniform(12, 8), tissue_stride_px=4).write(group)
    seal_store(tmp_path / "t.zarr")
    expected = np.pad(np.kron(mask, np.ones((4, 4), np.uint8)), 3)
    read = StoredTissue(tmp_path / "t.zarr").read((-3, -3, 14, 18))
    np.testing.assert_array_equal(read, expected[:14, :18] > 0)


def test_glass_within_the_margin_counts_as_tissue_except_under_ink(tmp_path: Path) -> None:
    """Compared with distances in the complete mask."""
    rng = np.random.default_rng(0)
    mask, pen = (rng.random((30, 40)) < share for share in (0.02, 0.1))
    group = create_group(tmp_path / "t.zarr")
    for name, values in (("tissue", mask), ("pen", pen)):
        create_array(group, name, mask.shape, np.uint8)[...] = values
    frame = Geometry.uniform(160, 120, mpp_um=2.0)
    tile_attributes(frame, tissue_stride_px=4).write(group)
    seal_store(tmp_path / "t.zarr")
    close = ndimage.distance_transform_edt(~mask) <= 36 / (2.0 * 4)
    close = close & ~pen | mask  # tissue that a person drew under ink stays tissue
    expected = np.pad(np.kron(close, np.ones((4, 4), bool)), 50)
    tissue = StoredTissue(tmp_path / "t.zarr", margin_um=36)
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
