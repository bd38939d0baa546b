"""The last rules of the workflow on a huge slide: maps -> one label per gland, GeoJSON and csv.

python benchmarks/big_slide.py --side 60000 [--cores 2]

Snakemake runs the rules as in a real run. The maps are made here from the pattern of blend.py,
before the measurement; memory is the PSS of Snakemake's process tree.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from blend import PERIOD_PX, STRIDE_PX, TILE_PX, network_outputs
from numpy.typing import NDArray
from peak_memory import run_and_measure

from tiling.raster.geometry import Geometry, blocks
from tiling.raster.quantise import quantise_maps
from tiling.stores.arrays import create_array, create_group
from tiling.stores.atomic_store import write_store
from tiling.stores.layout import MapStore
from tiling.stores.shards import ShardWriter

REPO = Path(__file__).parents[1]
_SPLIT = {"seed_depth_um": 4.0, "boundary_level": 0.5, "growth_um": 8.0}
_UNUSED = {"method": "semimoe", "network": {}, "tile_px": 256, "normalisation": {}}
_MODEL = {"mpp_um": 1.0, "threshold": 0.5, "split": _SPLIT, "sdf_um": 20.0, "sdf_scale": "um"}


def make_maps(store: Path, side_px: int) -> None:
    """Write `maps/{slide}.zarr`: one pattern, repeated."""
    geometry = Geometry.uniform(side_px, side_px)
    with write_store(store, {}) as unfinished:
        group = create_group(unfinished.folder)
        for (name, dtype), pattern in zip(
            MapStore.ARRAYS.items(), quantised_pattern(), strict=True
        ):
            write_repeated(
                ShardWriter(create_array(group, name, (side_px, side_px), dtype)), pattern
            )
        MapStore(slide=store.stem, geometry=geometry, model=_MODEL, version=1).write(group)


def quantised_pattern() -> NDArray[np.uint8]:
    """The maps of one period, uint8 (4, y, x)."""
    table, phases = network_outputs(), PERIOD_PX // STRIDE_PX
    pattern = np.zeros((4, PERIOD_PX, PERIOD_PX), np.float32)
    side = min(STRIDE_PX, TILE_PX)
    for a in range(phases):
        for b in range(phases):
            y, x = a * STRIDE_PX, b * STRIDE_PX
            pattern[:, y : y + STRIDE_PX, x : x + STRIDE_PX] = table[a, b][:, :side, :side]
    return quantise_maps(pattern)


def write_repeated(writer: ShardWriter, pattern: NDArray[np.uint8]) -> None:
    """Fill an array with a pattern, uint8 (y, x); each different chunk is encoded once."""
    encoded: dict[tuple[int, int, int, int], bytes | None] = {}
    shard_px, chunk_px = writer.shard_px[0], writer.chunk_px[0]
    for rows, columns in blocks(*writer.shape_px, shard_px):
        chunks = {}
        size = rows.stop - rows.start, columns.stop - columns.start
        for inner_y, inner_x in blocks(*size, chunk_px):
            y, x = rows.start + inner_y.start, columns.start + inner_x.start
            height, width = inner_y.stop - inner_y.start, inner_x.stop - inner_x.start
            key = (y % PERIOD_PX, x % PERIOD_PX, height, width)
            if key not in encoded:
                pattern_rows = np.arange(y, y + height) % PERIOD_PX
                pattern_columns = np.arange(x, x + width) % PERIOD_PX
                encoded[key] = writer.encode(pattern[np.ix_(pattern_rows, pattern_columns)])
            chunks[inner_y.start // chunk_px, inner_x.start // chunk_px] = encoded[key]
        writer.write((rows.start // shard_px, columns.start // shard_px), chunks)


def write_inputs(folder: Path) -> None:
    """Files that Snakemake requires when it reads the workflow; these rules do not use them."""
    slide = np.zeros((256, 256, 3), np.uint8)
    tifffile.imwrite(folder / "big.tiff", slide, tile=(256, 256), photometric="rgb")
    (folder / "slides.tsv").write_text("slide\tpath\tsplit\nbig\tbig.tiff\tpredict\n")
    (folder / "model").mkdir()
    for name in ("model.safetensors", "model.json"):
        (folder / "model" / name).write_text(json.dumps(_UNUSED | _MODEL))


def snakemake_command(folder: Path, cores: int) -> list[str]:
    """The command that runs the two rules in a folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPO / "Snakefile")]
    command += ["--directory", str(folder), "--cores", str(cores)]
    command += ["--workflow-profile", str(REPO / "profiles" / "default"), "--quiet", "all"]
    command += ["--config", "slides=slides.tsv", "model=model", "results=results"]
    command += ["--allowed-rules", "stitch_slide", "export_slide"]
    return [*command, "--", "results/glands/big.geojson", "results/glands/big.csv"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=60_000, help="side of the maps, pixels of 1 um")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_maps(folder / "results" / "maps" / "big.zarr", arguments.side)
        write_inputs(folder)
        status, seconds, peak = run_and_measure(snakemake_command(folder, arguments.cores))
        if status:
            return status
        results = folder / "results" / "glands"
        with (results / "big.csv").open() as table:
            glands = sum(1 for _ in table) - 1
        geojson_mb = (results / "big.geojson").stat().st_size / 1e6
        print(
            f"{arguments.side} x {arguments.side} px: {glands} glands, "
            f"{geojson_mb:.0f} MB of GeoJSON, {seconds:.0f} s with the start of all jobs, "
            f"peak {peak / 2**20:.0f} MiB"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
