"""Whole shards from pixels."""

from typing import Any

from numpy.typing import NDArray

from tiling.store.shards import ShardWriter


def write_shard(writer: ShardWriter, shard: tuple[int, int], pixels: NDArray[Any]) -> None:
    """Encode and write one shard of an array.

    Parameters
    ----------
    shard : (row, column) on the grid of shards
    pixels : (h, w), the shard, cut at the array's far edges
    """
    height, width = writer.chunk_px
    chunks = {}
    for row in range(-(-pixels.shape[0] // height)):
        for column in range(-(-pixels.shape[1] // width)):
            chunk = writer.encode(pixels[row * height : (row + 1) * height, column * width : (column + 1) * width])
            if chunk is not None:
                chunks[row, column] = chunk
    writer.write(shard, chunks)
