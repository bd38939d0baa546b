"""Instance mask images as annotations: one whole number per gland, 0 = background.

They are read block by block.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.objects.components import BlockGrid, join_components, label_block
from tiling.outlines.regular_file import open_regular_file
from tiling.raster.geometry import Block, Geometry, halo
from tiling.raster.mask_rules import mask_problem, shares_one_number, solid_numbers
from tiling.slide_errors import AnnotationError
from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.stores.arrays import SHARD_PX

TIFF_SUFFIXES = (".tif", ".tiff")
MASK_SUFFIXES = (".png", *TIFF_SUFFIXES, ".bmp")
# Stored pixels a side that are sampled at a time: the pixels of the mask under them fit in memory.
_SAMPLED_PX = 512


class InstanceMask:
    """Reads the blocks of the stored grid (`BlockGrid` of `block_px`) as labels 1..N.

    See `open_instance_mask`.

    Attributes
    ----------
    count : N
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
        self._pixel_yx = _pixels_under_centres(path, tuple(image.shape), geometry)
        self._grid = BlockGrid(stored_shape, block_px)
        values = self._checked_values()
        self._values = values[values > 0]
        self._component_numbers: list[NDArray[np.int32]] = []
        self.count = len(self._values)
        if self.count and shares_one_number(values):
            self._number_components()

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
            values.update(np.unique(pixels).tolist())
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

    def _number_components(self) -> None:
        """Number the 8-connected components of a mask of one value by their first pixel."""
        width_px = self._grid.shape[1]
        pieces = [
            label_block(self._sampled(block) > 0, block, width_px)[1] for block in self._grid.blocks
        ]
        joined = join_components(self._grid, pieces)
        self._component_numbers, self.count = joined.numbers, len(joined.first_px)

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
        try:
            with file_read_errors():
                pixels = np.asarray(self._image[window])
        except FileReadError as error:
            raise AnnotationError(
                f"{self._path}: damaged near row {rows[0]} ({error}); export or copy it again"
            ) from error
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


@contextmanager
def open_mask_image(path: Path) -> Iterator[Any]:
    """The image as a numpy array, or as a zarr array that is read on demand if it is a TIFF.

    Raises
    ------
    AnnotationError
        The file is missing or cannot be read as an image.
    """
    with ExitStack() as files:
        try:
            image = _image_of(path, files)
        except FileNotFoundError:
            raise AnnotationError(
                f"{path}: no such file; correct the path (in a sheet: column 'annotation')"
            ) from None
        except FileReadError as error:
            raise AnnotationError(
                f"{path}: cannot be read as a mask image ({error}); export or copy it again"
            ) from error
        yield image


def mask_shape(path: Path) -> tuple[int, int]:
    """Height and width of a mask image, from its header; pixels are not read.

    Raises
    ------
    AnnotationError
        The file is missing, cannot be read as an image, or has several channels or fractions.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        with open_mask_image(path) as image:
            check_label_image(image, path)
            return image.shape[0], image.shape[1]
    from PIL import Image

    with open_regular_file(path) as file:
        try:
            with file_read_errors(), Image.open(file) as picture:
                bands, mode, (width, height) = picture.getbands(), picture.mode, picture.size
        except FileReadError as error:
            raise AnnotationError(
                f"{path}: cannot be read as a mask image ({error}); export or copy it again"
            ) from error
    if len(bands) > 1 or mode == "F":
        raise AnnotationError(
            f"{path}: an image of mode {mode} is not an instance mask; "
            "give one channel of whole numbers, one per gland"
        )
    return height, width


def check_mask_size(path: Path, geometry: Geometry) -> None:
    """Refuse a mask image that has neither the size of level 0 nor that of the stored grid.

    Raises
    ------
    AnnotationError
        With both sizes; also if the header cannot be read.
    """
    _pixels_under_centres(path, mask_shape(path), geometry)


def check_label_image(image: Any, path: Path) -> None:  # noqa: ANN401  # numpy or zarr array
    """Refuse an image that has several channels, or fractions.

    Raises
    ------
    AnnotationError
        With the type and shape of the image.
    """
    if len(image.shape) != 2 or image.dtype.kind not in "uib":
        raise AnnotationError(
            f"{path}: {image.dtype} {tuple(image.shape)} is not an instance mask; "
            "give one channel of whole numbers, one per gland"
        )


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


def _image_of(path: Path, files: ExitStack) -> Any:  # noqa: ANN401  # numpy or zarr array
    import tifffile
    import zarr
    from PIL import Image

    with file_read_errors():
        if path.suffix.lower() not in TIFF_SUFFIXES:
            return np.asarray(files.enter_context(Image.open(path)))
        tiff = files.enter_context(tifffile.TiffFile(path))
        pages = zarr.open(tiff.aszarr(level=0), mode="r")
        return pages if isinstance(pages, zarr.Array) else pages["0"]
