"""The last rules of the workflow on a huge slide: from its maps to one label per gland, GeoJSON and csv, as Snakemake runs them.

python benchmarks/big_slide.py --side 60000 [--cores 2]

The maps are made here from the pattern of blend.py; time and memory (PSS of Snakemake's process tree) are those of the rules alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile
from blend import PERIOD_PX, STRIDE_PX, TILE_PX, answers
from peak_memory import tree_pss

from tiling.raster.geometry import Geometry
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
    """`maps/{slide}.zarr` of the repeated pattern."""
    table, phases = answers(), PERIOD_PX // STRIDE_PX
    pattern = np.zeros((4, PERIOD_PX, PERIOD_PX), np.float32)
    for a in range(phases):
        for b in range(phases):
            side = min(STRIDE_PX, TILE_PX)
            pattern[:, a * STRIDE_PX : (a + 1) * STRIDE_PX, b * STRIDE_PX : (b + 1) * STRIDE_PX] = (
                table[a, b][:, :side, :side]
            )
    codes = quantise_maps(pattern)
    frame = Geometry.uniform(side_px, side_px)
    with write_store(store, {}) as partial:
        group = create_group(partial.folder)
        for name, code in zip(("gland", "sdf", "boundary", "disagreement"), codes, strict=True):
            writer = ShardWriter(create_array(group, name, (side_px, side_px), np.uint8))
            known: dict[
                tuple[int, ...], bytes | None
            ] = {}  # the pattern repeats: most chunks have been encoded before
            for shard in np.ndindex(*(-(-side_px // size) for size in writer.shard_px)):
                chunks = {}
                for place in np.ndindex(
                    *(
                        size // chunk
                        for size, chunk in zip(writer.shard_px, writer.chunk_px, strict=True)
                    )
                ):
                    y, x = (
                        s * size + p * c
                        for s, size, p, c in zip(
                            shard, writer.shard_px, place, writer.chunk_px, strict=True
                        )
                    )
                    h, w = (
                        min(c, side_px - start)
                        for c, start in zip(writer.chunk_px, (y, x), strict=True)
                    )
                    if h <= 0 or w <= 0:
                        continue
                    key = (y % PERIOD_PX, x % PERIOD_PX, h, w)
                    if key not in known:
                        rows, columns = (
                            np.arange(start, start + length) % PERIOD_PX
                            for start, length in ((y, h), (x, w))
                        )
                        known[key] = writer.encode(code[np.ix_(rows, columns)])
                    chunks[place] = known[key]
                writer.write(shard, chunks)
        MapStore(slide=store.stem, geometry=frame, model=_MODEL, version=1).write(group)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=60_000, help="side of the maps, pixels of 1 um")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_maps(folder / "results" / "maps" / "big.zarr", given.side)
        tifffile.imwrite(
            folder / "big.tiff",
            np.zeros((256, 256, 3), np.uint8),
            tile=(256, 256),
            photometric="rgb",
        )
        (folder / "slides.tsv").write_text("slide\tpath\tsplit\nbig\tbig.tiff\tpredict\n")
        (folder / "model").mkdir()
        for file in (
            "model.safetensors",
            "model.json",
        ):  # asked for when the workflow is read, not used by these rules
            (folder / "model" / file).write_text(json.dumps(_UNUSED | _MODEL))
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(REPO / "Snakefile"), "--directory", name, "--cores", str(given.cores),
            "--workflow-profile", str(REPO / "profiles" / "default"), "--quiet", "all",
            "--config", "slides=slides.tsv", "model=model", "results=results", "--allowed-rules", "stitch_slide", "export_slide",
            "--", "results/glands/big.geojson", "results/glands/big.csv",
        ]  # fmt: skip
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(command)
        while process.poll() is None:
            try:
                peak = max(peak, tree_pss(psutil.Process(process.pid)))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.5)
        status = process.wait()
        table, outlines = (
            folder / "results" / "glands" / "big.csv",
            folder / "results" / "glands" / "big.geojson",
        )
        if status:
            return status
        seconds = time.perf_counter() - start
        print(
            f"{given.side} x {given.side} px: status {status}, {sum(1 for _ in table.open()) - 1} glands, ",
            end="",
        )
        print(
            f"{outlines.stat().st_size / 1e6:.0f} MB of GeoJSON, {seconds:.0f} s with the start of all jobs, peak {peak / 2**20:.0f} MiB"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
