"""One reader for all slides: OpenSlide first, tiffslide for what it does not open, plain images last.

Regions are asked for in level pixels and come back exact; what cannot be read is an error that names file, level and region,
never white pixels in silence.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiling.slide_errors import SlideError
from tiling.slides.backends import (
    Backend,
    BackendError,
    Described,
    DirectTiles,
    OpenSlideBackend,
    PlainBackend,
    TiffSlideBackend,
    damaged_file,
)
from tiling.slides.colour_profile import Convert, profile_name, to_srgb
from tiling.slides.image_headers import (
    NotBrightfield,
    check_tiff_pixels,
    is_tiff,
    is_tiled,
    suits_tiffslide,
)
from tiling.slides.metadata import (
    PixelSize,
    SlideFacts,
    check_is_file,
    choose_pixel_size,
    fingerprint,
    level_downsample,
)
from tiling.slides.truncation import cut_problem

Icc = Literal["keep", "apply"]

log = logging.getLogger(__name__)


def open_slide(
    path: Path, *, mpp: float | None = None, copy: Path | None = None, icc: Icc = "keep"
) -> "Slide":
    """Open a slide; use it in a `with` block.

    Parameters
    ----------
    path : slide file
    mpp : um per level-0 pixel, where the sheet overrides the file
    icc : "apply" brings the pixels from the file's embedded colour profile, where it has one, to sRGB
    copy : where a copy of it is read (see `tiling.slides.staging`); facts and errors name `path`

    Returns
    -------
    Slide
        An absurd or missing pixel size is no error here: `tiling.slides.metadata.mpp_problem` and `plan_scale` name it.

    Raises
    ------
    SlideError
        Missing, empty, damaged, of an unknown format, or not 8-bit RGB.
    OSError
        The disk or mount fails.
    """
    check_is_file(path)
    there = path if copy is None else copy
    try:
        opener = _opener(there)
        backend = opener(there)
    except NotBrightfield as error:
        raise SlideError(
            f"{path}: not a brightfield RGB image ({error}); export it as 8-bit RGB"
        ) from error
    except BackendError as error:
        told = f"{path}: cannot be read as a slide ({error}); copy it again, or convert it to a tiled pyramidal TIFF"
        raise SlideError(cut_problem(path) or told) from error
    slide = Slide(path, there, opener, backend, mpp)
    if icc == "apply" and (profile := backend.describe().icc) is not None:
        try:
            slide.convert = to_srgb(profile)
        except ValueError as error:
            slide.close()
            raise SlideError(f"{path}: {error}; set tiles.icc to keep") from error
    return slide


def _opener(path: Path) -> Callable[[Path], Backend]:
    import openslide

    with damaged_file():
        detected = openslide.OpenSlide.detect_format(path)
        tiff = is_tiff(path)
        if tiff and (detected is None or (detected == "generic-tiff" and suits_tiffslide(path))):
            check_tiff_pixels(path, converted=False)
            return (
                (lambda path: DirectTiles(TiffSlideBackend(path), path))
                if is_tiled(path)
                else PlainBackend
            )
    if tiff:
        _check_known_tiff(path)
    return (
        PlainBackend if detected is None else lambda path: DirectTiles(OpenSlideBackend(path), path)
    )


def _check_known_tiff(path: Path) -> None:
    try:
        with damaged_file():
            check_tiff_pixels(path, converted=True)
    except BackendError as error:
        # OpenSlide knows its vendors' deviations better than a strict parser.
        log.debug("%s: pixel type not checked (%s)", path, error)


class Slide:
    """An open slide.

    Attributes
    ----------
    facts : SlideFacts
    convert : from the file's colours to those that `read` gives; None: as they are
    """

    def __init__(
        self,
        path: Path,
        there: Path,
        opener: Callable[[Path], Backend],
        backend: Backend,
        mpp: float | None,
    ) -> None:
        self._path = path
        self._there = there
        self._opener = opener
        self._backend = backend
        self._change = threading.Lock()
        self._users: Counter[Backend] = Counter()
        self.facts = _facts(path, backend.describe(), mpp)
        self.convert: Convert | None = None

    def read(self, level: int, y: int, x: int, h: int, w: int) -> NDArray[np.uint8]:
        """Pixels of a region, uint8 (h, w, 3) RGB; safe to call from several threads.

        Parameters
        ----------
        level : 0 = full resolution
        y, x, h, w : region in pixels of that level; must lie inside it

        Raises
        ------
        SlideError
            The region cannot be read, also not after reopening the file.
        ValueError
            The region leaves the level.
        """
        width, height = self.facts.level_sizes_px[level]
        if y < 0 or x < 0 or h < 1 or w < 1 or y + h > height or x + w > width:
            raise ValueError(
                f"{self._path}: region y {y}, x {x}, {h} x {w} leaves level {level} of {height} x {width} (y, x)"
            )
        pixels = self._read(level, y, x, h, w)
        return pixels if self.convert is None else self.convert(pixels)

    def _read(self, level: int, y: int, x: int, h: int, w: int) -> NDArray[np.uint8]:
        with self._used() as backend:
            try:
                return backend.read(level, y, x, h, w)
            except BackendError as error:
                log.warning(
                    "%s: level %d, y %d, x %d: %s; reopening the file and trying once more",
                    self._path,
                    level,
                    y,
                    x,
                    error,
                )
        try:
            with self._used(instead_of=backend) as reopened:
                return reopened.read(level, y, x, h, w)
        except BackendError as error:
            raise SlideError(
                f"{self._path}: level {level}, region y {y}, x {x}, {h} x {w} cannot be read ({error}); "
                "copy the file again, or restrict it by `roi`"
            ) from error

    @contextmanager
    def _used(self, *, instead_of: Backend | None = None) -> Iterator[Backend]:
        """The backend, opened anew where it is still the one that failed: an OpenSlide handle refuses everything after its first error.

        Other threads may still read from the failed one; who leaves it last closes it.
        """
        with self._change:
            if self._backend is instead_of:
                # A lost mount or file shows here as OSError, which fails the job and not the slide.
                with self._there.open("rb"):
                    self._backend = self._opener(self._there)
                self._close_if_left(instead_of)
            backend = self._backend
            self._users[backend] += 1
        try:
            yield backend
        finally:
            with self._change:
                self._users[backend] -= 1
                self._close_if_left(backend)

    def _close_if_left(self, backend: Backend) -> None:
        if backend is not self._backend and not self._users[backend]:
            del self._users[backend]
            backend.close()

    def associated(self, name: str) -> NDArray[np.uint8]:
        """An associated image (label, macro, thumbnail), uint8 (h, w, 3)."""
        try:
            with self._used() as backend:
                return backend.associated(name)
        except BackendError as error:
            raise SlideError(
                f"{self._path}: associated image {name!r} cannot be read ({error})"
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


def _facts(path: Path, found: Described, mpp: float | None) -> SlideFacts:
    sheet = None if mpp is None else PixelSize(mpp, mpp, "sheet")
    chosen, looked_at = choose_pixel_size([("sheet", sheet), *found.pixel_sizes])
    sizes = tuple((int(width), int(height)) for width, height in found.level_sizes_px)
    width, height = sizes[0]
    return SlideFacts(
        path=str(path),
        reader=found.reader,
        reader_version=found.version,
        vendor=found.vendor,
        level_sizes_px=sizes,
        downsamples=tuple(
            (level_downsample(width, w), level_downsample(height, h)) for w, h in sizes
        ),
        mpp_x=chosen.mpp_x if chosen else None,
        mpp_y=chosen.mpp_y if chosen else None,
        mpp_origin=chosen.origin if chosen else "",
        mpp_looked_at=looked_at,
        bounds_level0=found.bounds_level0 or (0, 0, width, height),
        fingerprint=fingerprint(path),
        objective_power=found.objective_power,
        associated=found.associated,
        colour_profile=_profile(found.icc),
        bytes=path.stat().st_size,
    )


def _profile(icc: bytes | None) -> str:
    if icc is None:
        return ""
    try:
        return profile_name(icc)
    except ValueError as error:
        return str(error)
