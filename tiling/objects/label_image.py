"""Labels -> a pyramidal, tiled OME-TIFF, for programs that do not read Zarr."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.raster.atomic_files import partial_file
from tiling.raster.geometry import Block, blocks
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import geometry_of
from tiling.stores.ome_pyramid import level_shapes
from tiling.stores.shards import ShardReader

TILE_PX = 512
_NAMESPACE = uuid.UUID("6f1d1c1e-2f0b-5a55-9c0c-6a2f0f7d8b34")


def write_label_image(glands: Path, out: Path, *, slide: str) -> None:
    """Write the labels of a slide as an OME-TIFF (y, x) at the working resolution.

    The labels are those of the store and of the CSV, 0 is background. Their type is uint8 or uint16
    if the largest label fits, otherwise int32. Levels are SubIFDs; each takes the upper left of
    2 x 2 pixels of the level before, so that labels are never mixed. The memory that is needed does
    not grow with the slide.

    Parameters
    ----------
    glands : gland store
    out : appears when it is complete
    slide : name of the image

    Raises
    ------
    SlideError
        The store records that the slide failed.
    """
    geometry = geometry_of(glands)
    labels = ShardReader(open_array(open_store(glands), "labels"))
    count = len(read_table(glands, "objects", ("first_px",))["first_px"])
    dtype = np.dtype(
        next((kind for kind in (np.uint8, np.uint16) if count <= np.iinfo(kind).max), np.int32)
    )
    shapes = level_shapes(*labels.shape)
    with partial_file(out) as partial, TemporaryFile(dir=out.parent) as scratch:
        # The second level, on disk: the further ones are read from it.
        half_shape = shapes[min(1, len(shapes) - 1)]
        # On a full disk an error here, instead of a signal that ends the process later.
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(scratch.fileno(), 0, half_shape[0] * half_shape[1] * dtype.itemsize)
        half = np.memmap(scratch, dtype, mode="r+", shape=half_shape)
        with tifffile.TiffWriter(partial, bigtiff=True, ome=True) as tiff:
            for level, shape in enumerate(shapes):
                options: dict[str, Any] = {"subfiletype": 1, "metadata": None}
                if level == 0:
                    size = {"PhysicalSizeX": geometry.mpp_x, "PhysicalSizeY": geometry.mpp_y}
                    unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
                    # The default of tifffile depends on the time and on the machine.
                    identity = f"urn:uuid:{uuid.uuid5(_NAMESPACE, slide)}"
                    options = {
                        "subifds": len(shapes) - 1,
                        "metadata": {"axes": "YX", "Name": slide, "UUID": identity, **size, **unit},
                    }
                    # For readers that ignore OME-XML, for example OpenSlide.
                    options |= {
                        "resolution": (1e4 / geometry.mpp_x, 1e4 / geometry.mpp_y),
                        "resolutionunit": "CENTIMETER",
                    }
                tiff.write(
                    _tiles(
                        shape,
                        dtype,
                        _full_resolution(labels, half, dtype)
                        if level == 0
                        else _every_step(half, 1 << (level - 1)),
                    ),
                    shape=shape,
                    dtype=dtype,
                    tile=(TILE_PX, TILE_PX),
                    photometric="minisblack",
                    compression="adobe_deflate",
                    **options,
                )


ReadBlock = Callable[[Block], NDArray[Any]]


def _full_resolution(labels: ShardReader, half: NDArray[Any], dtype: np.dtype[Any]) -> ReadBlock:
    """Reader of full resolution; it stores every second pixel of each block in `half`."""

    def read(block: Block) -> NDArray[Any]:
        pixels = np.asarray(labels[block]).astype(dtype)
        if half.shape != labels.shape:
            rows, columns = block
            half[
                rows.start // 2 : -(-rows.stop // 2), columns.start // 2 : -(-columns.stop // 2)
            ] = pixels[::2, ::2]
        return pixels

    return read


def _every_step(half: NDArray[Any], step: int) -> ReadBlock:
    """Reader of every `step`-th pixel."""

    def read(block: Block) -> NDArray[Any]:
        rows, columns = (slice(side.start * step, side.stop * step, step) for side in block)
        return np.asarray(half[rows, columns])

    return read


def _tiles(shape: tuple[int, int], dtype: np.dtype[Any], read: ReadBlock) -> Iterator[NDArray[Any]]:
    """Tiles of a level in raster order, padded with background at the far edges."""
    for block in blocks(*shape, TILE_PX):
        pixels = read(block)
        tile = np.zeros((TILE_PX, TILE_PX), dtype)
        tile[: pixels.shape[0], : pixels.shape[1]] = pixels
        yield tile
