"""One reader for all slides: OpenSlide for vendor formats, tifffile for other TIFFs, Pillow.

The caller asks for a window of a level and gets exactly these pixels. What cannot be read is an
error that names file, level and window; white pixels never replace it without a message.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.backend import Backend, FileDescription
from tiling.slides.colour_profile import ColourConversion, profile_name, to_srgb
from tiling.slides.direct_tiles import DIRECT_VENDORS, DirectTilesBackend
from tiling.slides.level_checks import check_levels
from tiling.slides.metadata import SlideMetadata, check_is_file, level_downsample
from tiling.slides.openslide_backend import OpenSlideBackend
from tiling.slides.pixel_size import SHEET, PixelSize, choose_pixel_size
from tiling.slides.plain_image import PlainImageBackend
from tiling.slides.read_errors import (
    FileReadError,
    NotBrightfieldError,
    RefusedFileError,
    file_read_errors,
)
from tiling.slides.reopening import ReopeningBackend
from tiling.slides.slide_files import check_companion_files
from tiling.slides.tiff_backend import GENERIC_TIFF_FORMATS, TiffBackend
from tiling.slides.tiff_claims import check_tiff_claims
from tiling.slides.tiff_directories import is_tiff
from tiling.slides.tiff_headers import check_tiff_for_openslide
from tiling.slides.truncation import truncation_problem

# Use of the embedded colour profile: leave the pixels as they are, or convert them to sRGB.
IccMode = Literal["keep", "apply"]

log = logging.getLogger(__name__)


def open_slide(
    path: Path,
    *,
    mpp: float | None = None,
    read_from: Path | None = None,
    icc: IccMode = "keep",
) -> "Slide":
    """Open a slide; use it in a `with` block.

    Parameters
    ----------
    path : slide file
    mpp : um per level-0 pixel, where the sheet overrides the file
    read_from : a copy of the file that is read in its place (see `tiling.slides.local_copy`);
        metadata and errors name `path`
    icc : "apply" converts the pixels to sRGB where the file has a colour profile

    Returns
    -------
    Slide
        A missing or implausible pixel size is not an error here; see `usable_pixel_size`.

    Raises
    ------
    SlideError
        Missing, empty, damaged, of an unknown format, or not 8-bit RGB.
    OSError
        The disk or mount fails.
    """
    check_is_file(path)
    check_companion_files(path)
    file = path if read_from is None else read_from
    try:
        backend = ReopeningBackend(file, _choose_backend(file), name=str(path))
    except (NotBrightfieldError, RefusedFileError, FileReadError) as error:
        # A truncated file lacks pages and tags, so that it seems to be something else.
        raise SlideError(truncation_problem(path) or _opening_problem(path, error)) from error
    description = backend.describe()
    try:
        checked = check_levels(backend, description.level_sizes_px)
    except RefusedFileError as error:
        backend.close()
        raise SlideError(f"{path}: {error}") from error
    description = replace(
        description,
        level_sizes_px=tuple(description.level_sizes_px[level] for level in checked.levels),
        remarks=(*description.remarks, *checked.remarks),
    )
    conversion = None
    if icc == "apply" and description.icc is not None:
        try:
            conversion = to_srgb(description.icc)
        except ValueError as error:
            backend.close()
            raise SlideError(f"{path}: {error}; set tiles.icc to keep") from error
    metadata = _slide_metadata(path, description, mpp)
    return Slide(metadata, backend, checked.levels, conversion)


def _opening_problem(path: Path, error: Exception) -> str:
    """Why a complete file is no slide, with the remedy."""
    if isinstance(error, NotBrightfieldError):
        return f"{path}: not a brightfield RGB image ({error}); export it as one 8-bit RGB image"
    if isinstance(error, RefusedFileError):
        return f"{path}: {error}"
    return (
        f"{path}: cannot be read as a slide ({error}); "
        "copy it again, or convert it to a tiled pyramidal TIFF"
    )


class Slide:
    """An open slide.

    Parameters
    ----------
    metadata : of the slide
    backend : open file
    file_levels : number in the file of each level of the metadata
    conversion : of the colours that are read

    Attributes
    ----------
    metadata : SlideMetadata
    """

    def __init__(
        self,
        metadata: SlideMetadata,
        backend: Backend,
        file_levels: tuple[int, ...],
        conversion: ColourConversion | None,
    ) -> None:
        self.metadata = metadata
        self._backend = backend
        self._file_levels = file_levels
        self._conversion = conversion

    def read(self, level: int, window: Window) -> NDArray[np.uint8]:
        """Pixels of a window, uint8 (h, w, 3) RGB; several threads may call it.

        Parameters
        ----------
        level : 0 = full resolution
        window : in pixels of that level; must lie inside it

        Raises
        ------
        SlideError
            The window cannot be read, also after the file was opened again.
        ValueError
            The window is not inside the level.
        """
        path = self.metadata.path
        width, height = self.metadata.level_sizes_px[level]
        starts_inside = window.y >= 0 and window.x >= 0
        ends_inside = window.bottom <= height and window.right <= width
        if not (starts_inside and ends_inside and window.height >= 1 and window.width >= 1):
            raise ValueError(
                f"{path}: window {_in_words(window)} is not inside level {level} "
                f"of {height} x {width} (y, x)"
            )
        try:
            pixels = self._backend.read(self._file_levels[level], window)
        except FileReadError as error:
            raise SlideError(
                f"{path}: level {level}, window {_in_words(window)} cannot be read ({error}); "
                "copy the file again, or exclude this part with a region "
                "of interest (in a sheet: column 'roi')"
            ) from error
        return pixels if self._conversion is None else self._conversion(pixels)

    def associated(self, name: str) -> NDArray[np.uint8]:
        """An associated image (label, macro, thumbnail), uint8 (h, w, 3).

        Raises
        ------
        SlideError
            It cannot be read.
        """
        try:
            return self._backend.associated(name)
        except FileReadError as error:
            raise SlideError(
                f"{self.metadata.path}: associated image {name!r} cannot be read ({error})"
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._backend.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _in_words(window: Window) -> str:
    return f"y {window.y}, x {window.x}, {window.height} x {window.width}"


def _choose_backend(path: Path) -> Callable[[Path], Backend]:
    """The backend of a file, as a function that opens it; raises NotBrightfieldError."""
    import openslide

    with file_read_errors():
        tiff = is_tiff(path)
        if tiff:
            check_tiff_claims(path)
        format_name = openslide.OpenSlide.detect_format(path)
    # OpenSlide's reader of generic TIFFs uses neither the sub-resolutions of OME-XML nor the
    # declared meaning of a fourth channel, and takes the first page for the slide.
    if tiff and format_name in GENERIC_TIFF_FORMATS:
        return TiffBackend
    if tiff:
        # The tiles of these vendors are decoded here, by the declared meaning of their channels.
        _check_pixels_for_openslide(path, checks_channels=format_name not in DIRECT_VENDORS)
    if format_name is None:
        return PlainImageBackend
    return _open_aperio if format_name == "aperio" else _open_with_openslide


def _open_with_openslide(path: Path) -> Backend:
    return DirectTilesBackend(OpenSlideBackend(path), path)


def _open_aperio(path: Path) -> Backend:
    """OpenSlide refuses an SVS with one odd page, for example a small one before the slide."""
    try:
        return _open_with_openslide(path)
    except FileReadError as error:
        if truncation_problem(path) is not None:
            raise
        log.debug("%s: OpenSlide does not open it (%s)", path, error)
    return TiffBackend(path)


def _check_pixels_for_openslide(path: Path, *, checks_channels: bool) -> None:
    try:
        with file_read_errors():
            check_tiff_for_openslide(path, checks_channels=checks_channels)
    except FileReadError as error:
        # OpenSlide accepts deviations of its vendors' formats that a strict parser refuses.
        log.debug("%s: pixel type not checked (%s)", path, error)


def _slide_metadata(path: Path, description: FileDescription, mpp: float | None) -> SlideMetadata:
    sheet_size = None if mpp is None else PixelSize(mpp, mpp)
    choice = choose_pixel_size({SHEET: sheet_size, **description.pixel_sizes})
    sizes = tuple((int(width), int(height)) for width, height in description.level_sizes_px)
    width, height = sizes[0]
    downsamples = tuple((level_downsample(width, w), level_downsample(height, h)) for w, h in sizes)
    return SlideMetadata(
        path=str(path),
        reader=description.reader,
        reader_version=description.reader_version,
        vendor=description.vendor,
        level_sizes_px=sizes,
        downsamples=downsamples,
        mpp_x=choice.size.mpp_x if choice.size else None,
        mpp_y=choice.size.mpp_y if choice.size else None,
        mpp_origin=choice.place,
        mpp_looked_at=choice.looked_at,
        bounds_level0=description.bounds_level0 or (0, 0, width, height),
        objective_power=description.objective_power,
        associated=description.associated,
        colour_profile=_profile_name(description.icc),
        size_bytes=path.stat().st_size,
        remarks=description.remarks,
    )


def _profile_name(icc: bytes | None) -> str:
    if icc is None:
        return ""
    try:
        return profile_name(icc)
    except ValueError as error:
        return str(error)
