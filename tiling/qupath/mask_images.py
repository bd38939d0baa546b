"""Instance mask images as truth: one whole number per gland, 0 = background; read block by block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import Grid, join, label_block
from tiling.raster.geometry import Block, Geometry
from tiling.slide_errors import AnnotationError
from tiling.slides.backends import BackendError, damaged_file
from tiling.stores.arrays import SHARD_PX

MASK_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
# Of a mask at level 0 this many stored pixels a side are picked at once: the window under them fits in memory.
_PICKED_PX = 512


@contextmanager
def open_mask(path: Path, geometry: Geometry, *, block_px: int = SHARD_PX) -> Iterator["Mask"]:
    """A mask image on the stored grid.

    The image has the size of level 0 or of the stored grid. Of a larger one the pixel under each stored pixel's centre is taken: numbers
    stay numbers. A mask of one value is split into its 8-connected components, by first pixel; others keep the order of their values.

    Raises
    ------
    AnnotationError
        Not readable, another size, several channels, or fractions.
    """
    with opened_image(path) as image:
        yield Mask(path, image, geometry, block_px=block_px)


class Mask:
    """Reads the blocks of the stored grid (`Grid` of `block_px`) as labels 1..N; `count` is N. See `open_mask`."""

    def __init__(self, path: Path, image: Any, geometry: Geometry, *, block_px: int) -> None:  # noqa: ANN401  # numpy or zarr array
        self._path = path
        self._image = image
        if len(self._image.shape) != 2 or self._image.dtype.kind not in "uib":
            raise AnnotationError(
                f"{path}: {self._image.dtype} {tuple(self._image.shape)} is not an instance mask; "
                "give one channel of whole numbers, one per gland"
            )
        size, stored = tuple(self._image.shape), (geometry.height_px, geometry.width_px)
        level0 = (geometry.slide_height_px, geometry.slide_width_px)
        if size not in (stored, level0):
            raise AnnotationError(
                f"{path}: {size[1]} x {size[0]} px, but the slide has {level0[1]} x {level0[0]} "
                f"(and {stored[1]} x {stored[0]} at the working resolution); export the mask at one of these sizes"
            )
        scale = (1.0, 1.0) if size == stored else (geometry.downsample_y, geometry.downsample_x)
        self._places = [
            np.minimum(((np.arange(n) + 0.5) * d).astype(np.int64), limit - 1)
            for n, d, limit in zip(stored, scale, size, strict=True)
        ]
        grid = Grid(stored, block_px)
        values: set[int] = set()
        for block in grid.blocks:
            values.update(np.unique(self._picked(block)).tolist())
        if min(values) < 0:
            raise AnnotationError(
                f"{path}: negative numbers in it; give one positive whole number per gland, 0 for background"
            )
        self._values = np.array(sorted(values - {0}), np.int64)
        self._grid = grid
        self._numbers: list[NDArray[np.int32]] = []
        self.count = len(self._values)
        if self.count == 1:
            joined = join(
                grid,
                [
                    label_block(self._picked(block) > 0, block, stored[1])[1]
                    for block in grid.blocks
                ],
            )
            self._numbers, self.count = joined.numbers, len(joined.first_px)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        picked = self._picked(block)
        if self._numbers:
            # A block's pieces are labelled again, the same every time: nothing is kept but the numbers.
            return self._numbers[self._grid.blocks.index(block)][
                label_block(picked > 0, block, self._grid.shape[1])[0]
            ]
        return np.where(picked > 0, np.searchsorted(self._values, picked) + 1, 0).astype(np.int32)

    def _picked(self, block: Block) -> NDArray[np.int64]:
        """The image's numbers under the centres of a block's stored pixels."""
        out = np.zeros(tuple(part.stop - part.start for part in block), np.int64)
        for top in range(0, out.shape[0], _PICKED_PX):
            rows = self._places[0][block[0]][top : top + _PICKED_PX]
            for left in range(0, out.shape[1], _PICKED_PX):
                columns = self._places[1][block[1]][left : left + _PICKED_PX]
                try:
                    with damaged_file():
                        part = np.asarray(
                            self._image[
                                int(rows[0]) : int(rows[-1]) + 1,
                                int(columns[0]) : int(columns[-1]) + 1,
                            ]
                        )
                except BackendError as error:
                    raise AnnotationError(
                        f"{self._path}: damaged near row {rows[0]} ({error}); export or copy it again"
                    ) from error
                out[top : top + _PICKED_PX, left : left + _PICKED_PX] = part[
                    np.ix_(rows - rows[0], columns - columns[0])
                ]
        return out


@contextmanager
def opened_image(path: Path) -> Iterator[Any]:
    """The image, numpy or zarr; lazily where it is a TIFF."""
    with ExitStack() as files:
        try:
            image = _lazily(path, files)
        except FileNotFoundError:
            raise AnnotationError(
                f"{path}: no such file; correct column 'annotation' of the sheet"
            ) from None
        except BackendError as error:
            raise AnnotationError(
                f"{path}: cannot be read as a mask image ({error}); export or copy it again"
            ) from error
        yield image


def _lazily(path: Path, files: ExitStack) -> Any:  # noqa: ANN401  # numpy or zarr array
    import tifffile
    import zarr
    from PIL import Image

    with damaged_file():
        if path.suffix.lower() not in (".tif", ".tiff"):
            return np.asarray(files.enter_context(Image.open(path)))
        found = zarr.open(files.enter_context(tifffile.TiffFile(path)).aszarr(level=0), mode="r")
        return found if isinstance(found, zarr.Array) else found["0"]
