"""Maps -> labels -> outlines of many objects, beside labelling and tracing the whole array in memory.

python benchmarks/outlines.py --side 30000

An object of 20 to 60 px every 67 px: 200k of them at 30000 px. The peer has an easier task: it labels the mask without splitting it,
and holds everything in memory.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from contenders import measured, row, serve
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tiling.raster.quantise import quantise_sdf

CELL_PX, CELLS = 67, 16


def pattern() -> NDArray[np.uint8]:
    """Codes of gland, sdf, boundary and disagreement with a period: uint8 (4, P, P)."""
    rng = np.random.default_rng(0)
    side = CELL_PX * CELLS
    y, x = np.mgrid[:side, :side]
    noise = 8 * gaussian_filter(
        rng.normal(0, 1, (side, side)), 2, mode="wrap"
    )  # edges as rough as a network's, without specks
    radius = rng.uniform(10, 30, (CELLS, CELLS))[y // CELL_PX, x // CELL_PX]
    depth = radius - np.hypot(y % CELL_PX - 33, x % CELL_PX - 33) + noise
    hole = rng.random((CELLS, CELLS))[y // CELL_PX, x // CELL_PX] < 0.3
    depth = np.where(
        hole, np.minimum(depth, np.hypot(y % CELL_PX - 33, x % CELL_PX - 33) - 4), depth
    )
    sdf = quantise_sdf(np.clip(depth / 20, -1, 1))
    return np.stack(
        [
            np.where(depth > 0, 230, 10),
            sdf,
            np.where(abs(depth) < 1, 200, 0),
            np.where(abs(depth) < 2, 99, 0),
        ]
    ).astype(np.uint8)


def make(side: str, folder: str) -> None:
    """The maps' store."""
    from tiling.raster.geometry import Geometry, blocks
    from tiling.stores.arrays import create_array, create_group
    from tiling.stores.attributes import set_attributes

    side_px, codes = int(side), pattern()
    group = create_group(Path(folder) / "maps.zarr")
    arrays = [
        create_array(group, name, (side_px, side_px), np.uint8)
        for name in ("gland", "sdf", "boundary", "disagreement")
    ]
    period = codes.shape[-1]
    for rows, columns in blocks(side_px, side_px, 2048):
        part = codes[:, np.arange(rows.start, rows.stop) % period][
            :, :, np.arange(columns.start, columns.stop) % period
        ]
        for array, values in zip(arrays, part, strict=True):
            array[rows, columns] = values
    geometry = Geometry.uniform(side_px, side_px)
    set_attributes(group, {"status": "ok", "geometry": geometry.to_dict()})


def labels(folder: str, workers: str) -> dict[str, float]:
    """`stitch`: seeds, growth, what is left, numbers, table."""
    from tiling.objects.stitch import stitch
    from tiling.parallel import JobSettings
    from tiling.raster.split_rule import SplitParameters

    parameters = SplitParameters(
        threshold=0.5, seed_depth_um=4, boundary_level=0.5, growth_um=8, min_area_um2=20, sdf_um=20
    )
    maps, glands = Path(folder) / "maps.zarr", Path(folder) / "glands.zarr"
    return {
        "objects": stitch(
            maps,
            glands,
            slide="bench",
            parameters=parameters,
            code_version=1,
            job=JobSettings(int(workers)),
        )
    }


def traced(folder: str, workers: str) -> dict[str, float]:
    """`trace_objects` of every object; the area is checked against the number of pixels."""
    import shapely

    from tiling.objects.trace import trace_objects
    from tiling.stores.arrays import open_array, open_store, read_table
    from tiling.stores.shards import ShardReader

    store = Path(folder) / "glands.zarr"
    table = read_table(store, "objects", ("window_px", "area_px"))
    array, count, vertices = ShardReader(open_array(open_store(store), "labels")), 0, 0
    for found in trace_objects(array, table["window_px"], workers=int(workers)):
        if (shapely.area(found.shapes) != table["area_px"][found.rows]).any():
            raise SystemExit("an outline has another area than its object")
        count += len(found.rows)
        vertices += int(shapely.get_num_coordinates(found.shapes).sum())
    return {"objects": count, "vertices": vertices}


def in_memory_labels(folder: str) -> dict[str, float]:
    """scipy.ndimage.label of the whole mask."""
    from scipy import ndimage

    from tiling.stores.arrays import open_array, open_store

    mask = np.asarray(open_array(open_store(Path(folder) / "maps.zarr"), "gland")[...]) >= 128
    found, count = ndimage.label(mask, np.ones((3, 3)), output=np.int32)
    np.save(Path(folder) / "labels.npy", found)
    return {"objects": count}


def in_memory_outlines(folder: str) -> dict[str, float]:
    """rasterio.features.shapes of the whole label image, one shapely geometry each."""
    from rasterio.features import shapes
    from shapely.geometry import shape

    found = np.load(Path(folder) / "labels.npy")
    polygons = [shape(geometry) for geometry, _ in shapes(found, mask=found > 0, connectivity=4)]
    return {"objects": len(polygons)}


CONTENDERS = {
    "make": make, "labels": labels, "traced": traced, "in memory labels": in_memory_labels, "in memory outlines": in_memory_outlines,
}  # fmt: skip


def main() -> None:
    if serve(CONTENDERS):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=30000, help="pixels")
    parser.add_argument("--workers", type=int, default=2, help="threads of ours")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured(__file__, "make", given.side, folder)
        print(f"{given.side} x {given.side} px")
        slow = measured(__file__, "in memory labels", folder)
        row(
            "label: scipy.ndimage.label, in memory",
            slow,
            note=f"{slow.counted['objects']:.0f} objects, not split",
        )
        fast = measured(__file__, "labels", folder, given.workers)
        row(
            "label and split: ours, out of core",
            fast,
            beside=slow,
            note=f"{fast.counted['objects']:.0f} objects",
        )
        slow = measured(__file__, "in memory outlines", folder)
        row(
            "outlines: rasterio of the whole, in memory",
            slow,
            note=f"{slow.counted['objects']:.0f} polygons",
        )
        fast = measured(__file__, "traced", folder, given.workers)
        row(
            "outlines: ours, areas checked",
            fast,
            beside=slow,
            note=f"{fast.counted['vertices']:.0f} vertices",
        )


if __name__ == "__main__":
    main()
