"""TIFFs without a vendor's format: tiled and untiled ones, OME-TIFF, QPTIFF, read by tifffile."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import tifffile

from tiling.raster.geometry import Window
from tiling.slides.alpha import UNUSED_CHANNEL, has_unused_channel
from tiling.slides.backend import RESOLUTION_TAGS, FileDescription, Rgb, orientation_remark
from tiling.slides.ome_xml import OME_PIXEL_SIZE
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError, file_read_errors
from tiling.slides.tiff_directories import open_tiff
from tiling.slides.tiff_headers import aperio_number, page_pixel_size, page_profile, rgb_problem
from tiling.slides.tiff_images import TiffImage, slide_image
from tiling.slides.tiff_tiles import TiffTiles

# What OpenSlide names a TIFF that this backend reads: none of a vendor's formats.
GENERIC_TIFF_FORMATS = (None, "generic-tiff")
_WHITE = 255
_MAX_LISTED = 3
# A smaller image beside the slide is a thumbnail.
_SCENE_SHARE = 0.01


class TiffBackend:
    """An open TIFF; a tile that is missing in the file is white.

    Raises
    ------
    NotBrightfieldError, RefusedFileError
        See `tiling.slides.tiff_images.slide_image`.
    """

    def __init__(self, path: Path) -> None:
        with file_read_errors(), ExitStack() as on_error:
            self._tiff = on_error.enter_context(open_tiff(path))
            self._image, self._others = slide_image(self._tiff)
            self._tiles = TiffTiles(path, self._image.levels, missing_value=_WHITE)
            on_error.pop_all()
        self._path = path

    def describe(self) -> FileDescription:
        """See Backend."""
        full = self._image.full
        return FileDescription(
            reader="tifffile",
            reader_version=tifffile.__version__,
            vendor="ome-tiff" if self._tiff.is_ome else "tiff",
            level_sizes_px=self._tiles.level_sizes_px,
            pixel_sizes=self._pixel_sizes(),
            objective_power=aperio_number(full, "AppMag"),
            associated=tuple(self._associated_images),
            icc=page_profile(full),
            remarks=tuple(self._remarks()),
        )

    def _remarks(self) -> Iterator[str]:
        if has_unused_channel(self._image.full):
            yield UNUSED_CHANNEL
        orientation = orientation_remark(self._image.full.tags.valueof("Orientation"))
        if orientation is not None:
            yield orientation
        scenes = [
            str(image)
            for image in self._others
            if not image.is_accessory and image.area_px >= _SCENE_SHARE * self._image.area_px
        ]
        if scenes:
            listed = "; ".join(scenes[:_MAX_LISTED]) + (
                "; ..." if len(scenes) > _MAX_LISTED else ""
            )
            yield f"the slide is {self._image}; other images of the file are not used: {listed}"

    def _pixel_sizes(self) -> dict[str, PixelSize | None]:
        full, sizes = self._image.full, {}
        if self._tiff.is_ome:
            sizes[OME_PIXEL_SIZE] = self._image.ome_pixel_size
        mpp = aperio_number(full, "MPP")
        if mpp is not None:
            sizes["aperio.MPP"] = PixelSize(mpp, mpp)
        return {**sizes, RESOLUTION_TAGS: page_pixel_size(full)}

    @property
    def _associated_images(self) -> dict[str, TiffImage]:
        """The other RGB images of the file; a name that repeats names the first one."""
        images: dict[str, TiffImage] = {}
        for image in self._others:
            if rgb_problem(image.full) is None:
                images.setdefault(image.name, image)
        return images

    def read(self, level: int, window: Window) -> Rgb:
        """See Backend."""
        with file_read_errors():
            pixels = self._tiles.read(level, window)
        assert pixels is not None  # every tile has a value: missing ones are white
        return pixels

    def associated(self, name: str) -> Rgb:
        """See Backend."""
        image = self._associated_images.get(name)
        if image is None:
            raise FileReadError(f"the file has no image {name!r}")
        width, height = image.size_px
        with file_read_errors():
            tiles = TiffTiles(self._path, (image.full,), missing_value=_WHITE)
            try:
                pixels = tiles.read(0, Window(0, 0, height, width))
            finally:
                tiles.close()
        assert pixels is not None
        return pixels

    def close(self) -> None:
        """See Backend."""
        self._tiles.close()
        self._tiff.close()
