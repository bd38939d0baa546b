"""Speed and size of the store: codecs, chunk and shard sizes, our writer of shards and Zarr's.

python benchmarks/store_codec.py --slide REAL.svs
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from slide_to_zarr import make_motif
from zarr.codecs import ZstdCodec

from tiling.raster.geometry import blocks
from tiling.stores.arrays import create_array, create_group
from tiling.stores.shards import ShardWriter

_WINDOW_PX = 320  # of a training tile with its margin
_WINDOWS = 200

Encode = Callable[[NDArray[np.uint8]], bytes]
Decode = Callable[[bytes], object]


def _zstd(level: int) -> tuple[Encode, Decode]:
    return lambda chunk: imagecodecs.zstd_encode(chunk.data, level=level), imagecodecs.zstd_decode


CODECS: dict[str, tuple[Encode, Decode]] = {
    "zstd 1": _zstd(1),
    "zstd 3": _zstd(3),
    "zstd 9": _zstd(9),
    "lz4": (
        lambda chunk: imagecodecs.lz4_encode(chunk.data),
        lambda data: imagecodecs.lz4_decode(data, out=3 * 512 * 512),
    ),
    "JPEG XL lossless": (
        lambda chunk: imagecodecs.jpegxl_encode(np.moveaxis(chunk, 0, -1), lossless=True, effort=1),
        imagecodecs.jpegxl_decode,
    ),
}


def seconds(work: Callable[[], object]) -> float:
    """Shortest of three times."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def map_all(function: Callable[[Any], object], items: list[Any]) -> None:
    for item in items:
        function(item)


def codecs(image: NDArray[np.uint8]) -> None:
    """Speed and size of chunks of 512 px, one thread."""
    chunks = [np.ascontiguousarray(image[:, y, x]) for y, x in blocks(*image.shape[1:], 512)]
    mb = image.nbytes / 1e6
    print("codec, chunks of 512 px       ratio  write MB/s  read MB/s")
    for name, (encode, decode) in CODECS.items():
        encoded = [encode(chunk) for chunk in chunks]
        wrote = seconds(partial(map_all, encode, chunks))
        read = seconds(partial(map_all, decode, encoded))
        ratio = image.nbytes / sum(map(len, encoded))
        print(f"{name:28s} {ratio:6.2f} {mb / wrote:11.0f} {mb / read:10.0f}", flush=True)


def chunks_and_shards(image: NDArray[np.uint8], folder: Path) -> None:
    """Zarr's writer with several chunks and shards, random windows read back, and our writer."""
    mb, corners = image.nbytes / 1e6, random.Random(0)
    windows = [
        (
            corners.randrange(image.shape[1] - _WINDOW_PX),
            corners.randrange(image.shape[2] - _WINDOW_PX),
        )
        for _ in range(_WINDOWS)
    ]

    def read(array: zarr.Array) -> float:
        return (
            seconds(lambda: [array[:, y : y + _WINDOW_PX, x : x + _WINDOW_PX] for y, x in windows])
            / _WINDOWS
            * 1e3
        )

    print(f"chunk  shard  write MB/s  ms per window of {_WINDOW_PX} px  files of 100k x 100k px")
    for chunk, shard in ((256, 2048), (512, 2048), (512, 4096), (1024, 4096)):
        group = zarr.open_group(folder / f"{chunk}-{shard}", mode="w", zarr_format=3)
        array = group.create_array(
            "0",
            shape=image.shape,
            dtype="u1",
            chunks=(3, chunk, chunk),
            shards=(3, shard, shard),
            compressors=ZstdCodec(level=1),
        )

        def write(array: zarr.Array = array, shard: int = shard) -> None:
            for y, x in blocks(*image.shape[1:], shard):
                array[:, y, x] = image[:, y, x]

        files = sum((-(-(100_000 >> level) // shard)) ** 2 for level in range(9))
        print(
            f"{chunk:5d} {shard:6d} {mb / seconds(write):11.0f} {read(array):24.2f} {files:23d}",
            flush=True,
        )

    array = create_array(
        create_group(folder / "ours"), "0", image.shape, np.uint8, fill=255, shard_px=4096
    )
    writer = ShardWriter(array)

    def write_ours() -> None:
        for row, column in np.ndindex(image.shape[1] // 4096, image.shape[2] // 4096):
            part = image[:, row * 4096 : (row + 1) * 4096, column * 4096 : (column + 1) * 4096]
            encoded = {
                (y.start // 512, x.start // 512): writer.encode(part[:, y, x])
                for y, x in blocks(4096, 4096, 512)
            }
            writer.write((row, column), encoded)

    print(f"ours, 512 in 4096 {mb / seconds(write_ours):6.0f} {read(array):24.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--slide",
        type=Path,
        help="real slide whose tissue is mirrored; without it, synthetic tissue",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        motif = np.moveaxis(make_motif(arguments.slide, Path(folder)), -1, 0)
        image = np.ascontiguousarray(np.tile(motif, (1, 1, 2)))
        codecs(image)
        chunks_and_shards(image, Path(folder))


if __name__ == "__main__":
    main()
