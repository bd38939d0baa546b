"""Blending of overlapping tiles into the maps of a slide, compared with dask.array; then stitching.

python benchmarks/blend.py --side 60000 [--maps 1 4] [--tissue 0.4] [--skip dask]

Other programs blend one map (the probability); predict_slide blends four. Both contenders have the
same tiles, weights, quantisation, chunks (512 px, zstd 1) and number of threads. Stitching makes
the labelled glands from four maps.

A table of outputs with a period of 768 px replaces the network and takes no time. The time is that
of blending, encoding and writing. `--tissue` is the share of the tiles that are predicted (a disc
in the middle of the slide); 1 means all.
"""

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
from contenders import bytes_in, measured, row, serve
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tiling.raster.split_parameters import SplitRule

PERIOD_PX = 768
TILE_PX, STRIDE_PX = 256, 192
PHASES = PERIOD_PX // STRIDE_PX
MPP_UM = 1.0
NAMES = ("gland", "sdf", "boundary", "disagreement")


def network_outputs() -> NDArray[np.float32]:
    """Output of the network for a tile at each phase of the pattern.

    The pattern has sixteen glands with a rough edge, 30 to 100 um across. Some of them touch.

    Returns
    -------
    float32 (phase y, phase x, 4, T, T)
    """
    rng = np.random.default_rng(0)
    cell = PERIOD_PX // 4
    y, x = np.mgrid[:PERIOD_PX, :PERIOD_PX].astype(np.float32)
    depth = np.full((PERIOD_PX, PERIOD_PX), -20, np.float32)  # um inside the nearest gland
    for index in range(16):
        centre = (np.array(divmod(index, 4)) + 0.5) * cell + rng.uniform(-12, 12, 2)
        dy, dx = (
            (axis - position + PERIOD_PX / 2) % PERIOD_PX - PERIOD_PX / 2
            for axis, position in zip((y, x), centre, strict=True)
        )
        depth = np.maximum(depth, rng.uniform(45, 92) - np.hypot(dy * rng.uniform(0.9, 1.3), dx))
    # The edges are as rough as those of a network, but there are no specks.
    logit = depth + 8 * gaussian_filter(rng.normal(0, 1, depth.shape), 2, mode="wrap")
    gland = 1 / (1 + np.exp(-np.clip(logit, -12, 12)))
    maps = np.stack(
        [gland, np.clip(logit / 20, -1, 1), np.exp(-((logit / 3) ** 2)), gland * (1 - gland)]
    ).astype(np.float32)
    tiled = np.pad(maps, ((0, 0), (0, TILE_PX), (0, TILE_PX)), mode="wrap")
    starts = range(0, PERIOD_PX, STRIDE_PX)
    tiles = [tiled[:, y : y + TILE_PX, x : x + TILE_PX] for y in starts for x in starts]
    return np.stack(tiles).reshape(PHASES, PHASES, len(NAMES), TILE_PX, TILE_PX)


def origins(side_px: int, tissue: float) -> NDArray[np.int64]:
    """Tiles whose centre is inside a disc that covers this share of the slide: int64 (N, 2)."""
    axis = np.arange(0, max(side_px - TILE_PX + STRIDE_PX, 1), STRIDE_PX)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    if tissue >= 1:
        return grid
    return grid[
        np.hypot(*(grid + TILE_PX / 2 - side_px / 2).T) <= side_px * np.sqrt(tissue / np.pi)
    ]


class Source:
    """Tiles whose image is only their phase: neither contender reads images."""

    def __init__(self, tile_origins: NDArray[np.int64]) -> None:
        self.phases = tile_origins // STRIDE_PX % PHASES

    def __len__(self) -> int:
        return len(self.phases)

    def __getitem__(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(image=self.phases[index].astype(np.uint8))


def ours(side: str, tissue: str, maps: str, workers: str, folder: str) -> dict[str, float]:
    """`blend_to_store`, as predict_slide calls it on a GPU."""
    from tiling.maps.blend_tiles import (
        MapProvenance,
        SlideTiles,
        TilePrediction,
        blend_to_store,
    )
    from tiling.parallel import JobSettings
    from tiling.raster.geometry import Geometry

    side_px, table = int(side), network_outputs()
    tile_origins = origins(side_px, float(tissue))
    geometry = Geometry.uniform(side_px, side_px, mpp_um=MPP_UM)

    def predict(images: NDArray[np.uint8]) -> Any:  # noqa: ANN401  # a list of views costs nothing
        return [table[a, b, : int(maps)] for a, b in images]

    blend_to_store(
        Path(folder) / "maps.zarr",
        SlideTiles("bench", geometry, Source(tile_origins), tile_origins, TILE_PX),
        TilePrediction(predict, batch=16, names=NAMES[: int(maps)]),
        MapProvenance(parameters={}, model={}, code_version=1),
        job=JobSettings(workers=int(workers)),
    )
    return {"tiles": len(tile_origins), "mb": bytes_in(Path(folder) / "maps.zarr") / 1e6}


def with_dask(side: str, tissue: str, maps: str, workers: str, folder: str) -> dict[str, float]:
    """dask.array: every output chunk sums the weighted tiles over it, and zarr writes it."""
    import dask
    import dask.array as da
    import zarr
    from zarr.codecs import ZstdCodec

    side_px, table = int(side), network_outputs()
    tile_origins = origins(side_px, float(tissue))
    chunk, count = 1536, int(maps)
    ramp = (np.arange(TILE_PX) + 0.5) / TILE_PX
    tent = (2 * np.minimum(ramp, 1 - ramp)).astype(np.float32)
    weights = tent[:, None] * tent
    predicted = {(int(a), int(b)) for a, b in tile_origins}

    def block(block_info: Any = None) -> NDArray[np.uint8]:  # noqa: ANN401  # dask has no types
        (_, _), (top, bottom), (left, right) = block_info[None]["array-location"]
        sums = np.zeros((count + 1, bottom - top, right - left), np.float32)
        for y in range(max(top // STRIDE_PX - 1, 0) * STRIDE_PX, bottom, STRIDE_PX):
            for x in range(max(left // STRIDE_PX - 1, 0) * STRIDE_PX, right, STRIDE_PX):
                if (y, x) not in predicted:
                    continue
                tile = table[y // STRIDE_PX % PHASES, x // STRIDE_PX % PHASES]
                y0, y1 = max(y, top), min(y + TILE_PX, bottom)
                x0, x1 = max(x, left), min(x + TILE_PX, right)
                if y1 > y0 and x1 > x0:
                    in_tile = np.s_[..., y0 - y : y1 - y, x0 - x : x1 - x]
                    in_block = np.s_[..., y0 - top : y1 - top, x0 - left : x1 - left]
                    sums[:count][in_block] += tile[:count][in_tile] * weights[in_tile]
                    sums[-1][in_block] += weights[in_tile]
        means = sums[:-1] / np.where(sums[-1] > 0, sums[-1], 1)
        if count > 1:
            means[1] = (means[1] + 1) / 2
        return np.where(sums[-1] > 0, np.clip(np.rint(means * 255), 0, 255), 0).astype(np.uint8)

    axis = da.core.normalize_chunks((count, chunk, chunk), (count, side_px, side_px))
    blended = da.map_blocks(block, chunks=axis, dtype=np.uint8, meta=np.zeros((0, 0, 0), np.uint8))
    target = zarr.create_array(
        Path(folder) / "dask.zarr",
        shape=blended.shape,
        dtype="uint8",
        chunks=(count, 512, 512),
        shards=(count, chunk, chunk),
        compressors=ZstdCodec(level=1),
        fill_value=0,
    )
    with dask.config.set(scheduler="threads", num_workers=int(workers)):
        da.store(blended, target, lock=False)
    return {"tiles": len(tile_origins), "mb": bytes_in(Path(folder) / "dask.zarr") / 1e6}


def stitched(side: str, workers: str, folder: str, rule: str) -> dict[str, float]:
    """`stitch`, as stitch_slide calls it."""
    from tiling.objects.stitch import stitch
    from tiling.parallel import JobSettings
    from tiling.raster.split_parameters import SplitParameters

    parameters = SplitParameters(
        threshold=0.5,
        seed_depth_um=4,
        boundary_level=0.5,
        growth_um=8,
        min_area_um2=500,
        sdf_um=20,
        rule="prominence" if rule == "prominence" else "depth",
        prominence_um=4,
        seed_threshold=0.9,
    )
    count = stitch(
        Path(folder) / "maps.zarr",
        Path(folder) / f"glands-{rule}.zarr",
        parameters=parameters,
        slide="bench",
        code_version=1,
        job=JobSettings(int(workers)),
    )
    return {"glands": count, "mb": bytes_in(Path(folder) / f"glands-{rule}.zarr") / 1e6}


CONTENDERS = {"ours": ours, "dask": with_dask, "stitch": stitched}


def main() -> None:
    if serve(CONTENDERS):
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, nargs="+", default=[60000], help="pixels")
    parser.add_argument("--tissue", type=float, default=1.0, help="share of tiles predicted")
    parser.add_argument("--maps", type=int, nargs="+", default=[1, 4], choices=(1, 2, 3, 4))
    parser.add_argument("--workers", type=int, default=2, help="threads of each contender")
    parser.add_argument("--skip", nargs="*", default=[], choices=list(CONTENDERS))
    arguments = parser.parse_args()
    for side in arguments.side:
        for maps in arguments.maps:
            with tempfile.TemporaryDirectory() as folder:
                compare(side, maps, arguments.tissue, arguments.workers, folder, arguments.skip)


def compare(
    side: int, maps: int, tissue: float, workers: int, folder: str, skip: list[str]
) -> None:
    """Time both contenders, and stitching where all four maps were blended."""
    print(
        f"{side} x {side} px, {tissue:.0%} of the tiles; maps: {maps}, "
        f"{maps * side**2 / 1e6:.0f} M values"
    )
    slow = None
    if "dask" not in skip:
        slow = measured(__file__, "dask", side, tissue, maps, workers, folder)
        row("blend: dask.array, gather per chunk", slow, note=f"{slow.counted['mb']:.0f} MB")
    fast = measured(__file__, "ours", side, tissue, maps, workers, folder)
    row(
        "blend: ours",
        fast,
        compared_with=slow,
        note=f"{fast.counted['mb']:.0f} MB, {1e6 * fast.seconds / side**2:.4f} s per Mpx",
    )
    if maps == len(NAMES) and "stitch" not in skip:
        for rule in get_args(SplitRule):
            stitching = measured(__file__, "stitch", side, workers, folder, rule)
            row(
                f"stitch: ours, rule {rule}",
                stitching,
                note=f"{stitching.counted['glands']:.0f} glands, "
                f"{1e6 * stitching.seconds / side**2:.4f} s per Mpx",
            )


if __name__ == "__main__":
    main()
