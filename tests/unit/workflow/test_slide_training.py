"""What is held out is never trained on."""

from pathlib import Path

import numpy as np
import pytest
from example_stores import label_attributes, tile_attributes

from tiling.raster.geometry import Geometry, Window
from tiling.stores.arrays import create_array, create_group
from tiling.stores.layout import StoredRegion
from workflow.stages.slide_training import Store, _hold_out

SIDE = 900


def slide(folder: Path, regions: list[tuple[int, int, int, int]]) -> Store:
    geometry = Geometry.uniform(SIDE, SIDE)
    region = np.zeros((SIDE, SIDE), np.uint16)
    for number, (y, x, h, w) in enumerate(regions, start=1):
        region[y : y + h, x : x + w] = number
    tiles, labels = create_group(folder / "t.zarr"), create_group(folder / "l.zarr")
    create_array(labels, "weight", region.shape, np.uint8)[...] = region > 0
    tile_attributes(geometry).write(tiles)
    stored = [StoredRegion(str(number), Window(*window)) for number, window in enumerate(regions)]
    label_attributes(geometry, stored).write(labels)
    return Store("s", folder / "t.zarr", folder / "l.zarr")


def covered(source) -> np.ndarray:
    seen = np.zeros((SIDE, SIDE), bool)
    for part in source.sources:
        for y, x, h, w in part.windows_px:
            seen[max(y, 0) : y + h, max(x, 0) : x + w] = True
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_no_training_window_touches_a_held_out_region(tmp_path: Path, seed: int) -> None:
    # The second lies in the notch of the first's bounding box's neighbourhood; the last two are far from all others.
    store = slide(
        tmp_path, [(20, 20, 120, 120), (150, 60, 60, 60), (600, 20, 100, 100), (600, 600, 150, 150)]
    )
    training, held, told = _hold_out([store], 64, 0.3, seed)
    assert held is not None
    assert len(training) > 0
    assert "optimistic" in told
    assert not (covered(training) & covered(held)).any()


def test_a_single_region_is_not_split(tmp_path: Path) -> None:
    training, held, told = _hold_out([slide(tmp_path, [(20, 20, 120, 120)])], 64, 0.2, 0)
    assert held is None
    assert len(training) > 0
    assert told.startswith("none")
