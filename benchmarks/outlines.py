"""Labels and outlines of many objects, compared with labelling and tracing in memory.

python benchmarks/outlines.py --side 30000

There is an object of 20 to 60 px every 67 px: 200 000 objects at 30000 px. The other contender has
an easier task: it labels the mask without splitting it, and holds everything in memory.
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
    """One period of the quantised gland, sdf, boundary and disagreement: uint8 (4, P, P)."""
    rng = np.random.default_rng(0)
    side = CELL_PX * CELLS
    y, x = np.mgrid[:side, :side]
    # The edges are as rough as those of a network, but there are no specks.
    noise = 8 * gaussian_filter(rng.normal(0, 1, (side, side)), 2, mode="wrap")
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


def write_maps(side: str, folder: str) -> None:
    """Write the store of the maps."""
    from tiling.raster.geometry import Geometry, blocks
    from tiling.stores.arrays import create_array, create_group
    from tiling.stores.attributes import set_attributes
    from tiling.stores.manifest import seal_store

    side_px, quantised = int(side), pattern()
    group = create_group(Path(folder) / "maps.zarr")
    arrays = [
        create_array(group, name, (side_px, side_px), np.uint8)
        for name in ("gland", "sdf", "boundary", "disagreement")
    ]
    period = quantised.shape[-1]
    for rows, columns in blocks(side_px, side_px, 2048):
        period_rows = np.arange(rows.start, rows.stop) % period
        period_columns = np.arange(columns.start, columns.stop) % period
        part = quantised[:, period_rows][:, :, period_columns]
        for array, values in zip(arrays, part, strict=True):
            array[rows, columns] = values
    geometry = Geometry.uniform(side_px, side_px)
    set_attributes(group, {"status": "ok", "geometry": geometry.to_dict()})
    seal_store(Path(folder) / "maps.zarr")


def stitch_labels(folder: str, workers: str) -> dict[str, float]:
    """`stitch`, as stitch_slide calls it."""
    from tiling.objects.stitch import stitch
    from tiling.parallel import JobSettings
    from tiling.raster.split_parameters import SplitParameters

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


def trace_all(folder: str, workers: str) -> dict[str, float]:
    """`trace_objects` of every object; the area is checked against the number of pixels."""
    import shapely

    from tiling.objects.trace import trace_objects
    from tiling.stores.arrays import open_array, open_store, read_table
    from tiling.stores.shards import ShardReader

    store = Path(folder) / "glands.zarr"
    table = read_table(store, "objects", ("window_px", "area_px"))
    array, count, vertices = ShardReader(open_array(open_store(store), "labels")), 0, 0
    for traced_objects in trace_objects(array, table["window_px"], workers=int(workers)):
        if (shapely.area(traced_objects.shapes) != table["area_px"][traced_objects.rows]).any():
            raise SystemExit("an outline has another area than its object")
        count += len(traced_objects.rows)
        vertices += int(shapely.get_num_coordinates(traced_objects.shapes).sum())
    return {"objects": count, "vertices": vertices}


def in_memory_labels(folder: str) -> dict[str, float]:
    """scipy.ndimage.label of the whole mask."""
    from scipy import ndimage

    from tiling.stores.arrays import open_array, open_store

    mask = np.asarray(open_array(open_store(Path(folder) / "maps.zarr"), "gland")[...]) >= 128
    labels, count = ndimage.label(mask, np.ones((3, 3)), output=np.int32)
    np.save(Path(folder) / "labels.npy", labels)
    return {"objects": count}


def in_memory_outlines(folder: str) -> dict[str, float]:
    """rasterio.features.shapes of the whole label image, then one shapely geometry per object."""
    from rasterio.features import shapes
    from shapely.geometry import shape

    labels = np.load(Path(folder) / "labels.npy")
    polygons = [shape(geometry) for geometry, _ in shapes(labels, mask=labels > 0, connectivity=4)]
    return {"objects": len(polygons)}


CONTENDERS = {
    "make": write_maps,
    "labels": stitch_labels,
    "traced": trace_all,
    "in memory labels": in_memory_labels,
    "in memory outlines": in_memory_outlines,
}


def main() -> None:
    if serve(CONTENDERS):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=30000, help="pixels")
    parser.add_argument("--workers", type=int, default=2, help="threads of ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured(__file__, "make", arguments.side, folder)
        print(f"{arguments.side} x {arguments.side} px")
        slow = measured(__file__, "in memory labels", folder)
        row(
            "label: scipy.ndimage.label, in memory",
            slow,
            note=f"{slow.counted['objects']:.0f} objects, not split",
        )
        fast = measured(__file__, "labels", folder, arguments.workers)
        row(
            "label and split: ours, out of core",
            fast,
            compared_with=slow,
            note=f"{fast.counted['objects']:.0f} objects",
        )
        slow = measured(__file__, "in memory outlines", folder)
        row(
            "outlines: rasterio, in memory",
            slow,
            note=f"{slow.counted['objects']:.0f} polygons",
        )
        fast = measured(__file__, "traced", folder, arguments.workers)
        row(
            "outlines: ours, areas checked",
            fast,
            compared_with=slow,
            note=f"{fast.counted['vertices']:.0f} vertices",
        )


if __name__ == "__main__":
    main()
