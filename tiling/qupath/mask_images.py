"""Instance mask images as annotations: one whole number per gland, 0 = background.

They are read block by block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import BlockGrid, join_components, label_block
from tiling.outlines.mask_image import (
    check_label_image,
    mask_errors,
    mask_shape,
    open_mask_image,
)
from tiling.raster.geometry import Block, Geometry, halo
from tiling.raster.mask_rules import (
    MaskPieces,
    different_numbers,
    mask_problem,
    merge_pieces,
    one_channel,
    pieces,
    shares_one_number,
    solid_numbers,
)
from tiling.slide_errors import AnnotationError
from tiling.slides.read_errors import file_read_errors
from tiling.stores.arrays import SHARD_PX

# Stored pixels a side that are sampled at a time: the pixels of the mask under them fit in memory.
_SAMPLED_PX = 512


class InstanceMask:
    """Reads the blocks of the stored grid (`BlockGrid` of `block_px`) as labels 1..N.

    See `open_instance_mask`.

    Attributes
    ----------
    count : N
    messages : what a person should know about the mask
    """

    def __init__(
        self,
        path: Path,
        image: Any,  # noqa: ANN401  # numpy or zarr array
        geometry: Geometry,
        *,
        block_px: int,
    ) -> None:
        self._path = path
        self._image = image
        check_label_image(image, path)
        stored_shape = (geometry.height_px, geometry.width_px)
        self._pixel_yx = _pixels_under_centres(path, tuple(image.shape[:2]), geometry)
        self._grid = BlockGrid(stored_shape, block_px)
        values = self._checked_values()
        self._values = values[values > 0]
        self._component_numbers: list[NDArray[np.int32]] = []
        self.count = len(self._values)
        self.messages: list[str] = []
        if self.count:
            component_numbers, component_count = self._components()
            if shares_one_number(values):
                self._component_numbers, self.count = component_numbers, component_count
            else:
                self._check_pieces(component_numbers)

    def __getitem__(self, block: Block) -> NDArray[np.int32]:
        sampled = self._sampled(block)
        if self._component_numbers:
            # The components of a block are labelled again, with the same result every time: only
            # their numbers are kept in memory.
            numbers = self._component_numbers[self._grid.blocks.index(block)]
            return numbers[label_block(sampled > 0, block, self._grid.shape[1])[0]]
        numbers = (np.searchsorted(self._values, sampled) + 1).astype(np.int32)
        return np.where(sampled > 0, numbers, 0).astype(np.int32)

    def _checked_values(self) -> NDArray[np.int64]:
        """The different values of the mask, ascending; refuses those that no mask may have."""
        values: set[int] = set()
        solid: set[int] = set()
        for block in self._grid.blocks:
            pixels = self._with_neighbours(block)
            values.update(different_numbers(pixels).tolist())
            solid.update(solid_numbers(pixels).tolist())
        numbers = np.array(sorted(values), np.int64)
        problem = mask_problem(numbers, np.array(sorted(solid), np.int64))
        if problem is not None:
            raise AnnotationError(f"{self._path}: {problem}")
        return numbers

    def _with_neighbours(self, block: Block) -> NDArray[np.int64]:
        """The values of a block and one pixel around it; the edge repeated where the mask ends."""
        outer, inner = halo(block, 1, *self._grid.shape)
        margins = []
        for side, place in zip(outer, inner, strict=True):
            size = side.stop - side.start
            margins.append((1 - place.start, 1 - (size - place.stop)))
        return np.pad(self._sampled(outer), margins, mode="edge")

    def _components(self) -> tuple[list[NDArray[np.int32]], int]:
        """Numbers of the 8-connected components by block, in the order of their first pixels."""
        width_px = self._grid.shape[1]
        parts = [
            label_block(self._sampled(block) > 0, block, width_px)[1] for block in self._grid.blocks
        ]
        joined = join_components(self._grid, parts)
        return joined.numbers, len(joined.first_px)

    def _check_pieces(self, component_numbers: list[NDArray[np.int32]]) -> None:
        """Refuse a mask of classes; a message if single numbers have several pieces."""
        parts: list[MaskPieces] = []
        for block, numbers in zip(self._grid.blocks, component_numbers, strict=True):
            sampled = self._sampled(block)
            components = numbers[label_block(sampled > 0, block, self._grid.shape[1])[0]]
            parts.append(pieces(sampled, components))
        total = merge_pieces(parts)
        problem, message = total.problem(), total.message()
        if problem is not None:
            raise AnnotationError(f"{self._path}: {problem}")
        if message is not None:
            self.messages.append(f"{self._path}: {message}")

    def _sampled(self, block: Block) -> NDArray[np.int64]:
        """The values of the image under the centres of a block's stored pixels."""
        out = np.zeros(tuple(side.stop - side.start for side in block), np.int64)
        for top in range(0, out.shape[0], _SAMPLED_PX):
            rows = self._pixel_yx[0][block[0]][top : top + _SAMPLED_PX]
            for left in range(0, out.shape[1], _SAMPLED_PX):
                columns = self._pixel_yx[1][block[1]][left : left + _SAMPLED_PX]
                pixels = self._read(rows, columns)
                out[top : top + _SAMPLED_PX, left : left + _SAMPLED_PX] = pixels
        return out

    def _read(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.integer]:
        """The pixels at these rows and columns (ascending) of the image."""
        window = (
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
        )
        with mask_errors(self._path, f"damaged near row {rows[0]}"):
            with file_read_errors():
                pixels = np.asarray(self._image[window])
            pixels = one_channel(pixels)
        return np.asarray(pixels[np.ix_(rows - rows[0], columns - columns[0])])


@contextmanager
def open_instance_mask(
    path: Path, geometry: Geometry, *, block_px: int = SHARD_PX
) -> Iterator[InstanceMask]:
    """A mask image on the stored grid.

    The image has the size of level 0 or of the stored grid. Of an image of level 0, the pixel under
    the centre of each stored pixel is taken, so that numbers are never mixed. A mask of one value
    is split into its 8-connected components, numbered by their first pixel; the labels of other
    masks follow the order of their values.

    Raises
    ------
    AnnotationError
        The image cannot be read, has another size, several channels, or fractions.
    """
    with open_mask_image(path) as image:
        yield InstanceMask(path, image, geometry, block_px=block_px)


def check_mask_size(path: Path, geometry: Geometry) -> None:
    """Refuse a mask image that has neither the size of level 0 nor that of the stored grid.

    Raises
    ------
    AnnotationError
        With both sizes; also if the header cannot be read.
    """
    _pixels_under_centres(path, mask_shape(path), geometry)


def _pixels_under_centres(
    path: Path, image_shape: tuple[int, ...], geometry: Geometry
) -> list[NDArray[np.int64]]:
    """Rows and columns of the image that lie under the centres of the stored pixels."""
    stored_shape = (geometry.height_px, geometry.width_px)
    level0_shape = (geometry.slide_height_px, geometry.slide_width_px)
    if image_shape not in (stored_shape, level0_shape):
        raise AnnotationError(
            f"{path}: {image_shape[1]} x {image_shape[0]} px, but the slide has "
            f"{level0_shape[1]} x {level0_shape[0]} (and {stored_shape[1]} x {stored_shape[0]} at "
            "the working resolution); export the mask at one of these sizes"
        )
    scale = (geometry.downsample_y, geometry.downsample_x)
    if image_shape == stored_shape:
        scale = (1.0, 1.0)
    return [
        np.minimum(((np.arange(count) + 0.5) * factor).astype(np.int64), side - 1)
        for count, factor, side in zip(stored_shape, scale, image_shape, strict=True)
    ]
