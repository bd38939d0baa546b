"""Metadata of a slide file, and the checks that need no decoding library."""

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tiling.slide_errors import SlideError
from tiling.slides.pixel_size import MPP_RANGE_UM, SHEET, PixelSize
from tiling.slides.slide_files import files_of_slide, is_mirax, mirax_folder

_SAMPLE_BYTES = 1 << 20
# Pixel size times magnification: 10 um for most scanners, 3.5 um to 13 um for others. A size that
# is wrong by a factor of ten lies outside.
_CAMERA_PX_RANGE_UM = (2.0, 30.0)
# Names in JSON where they differ from those of the attributes.
_JSON_NAMES = {"checksum": "fingerprint", "size_bytes": "bytes"}


@dataclass(frozen=True)
class SlideMetadata:
    """Metadata of one slide file.

    Attributes
    ----------
    path : the file, as the caller named it
    reader : libraries that read it: openslide, tiffslide, pillow; "openslide, tiles by tifffile"
        where the tiles are decoded directly
    reader_version : versions of these libraries, in the same order
    vendor : name of the format as the library reports it ("aperio", "generic-tiff", "jpeg", ...)
    level_sizes_px : (width, height) of each level
    downsamples : (x, y) level-0 pixels per pixel of each level; see `level_downsample`
    mpp_x, mpp_y : um per level-0 pixel, None when no place states one; may be implausible, see
        `pixel_size_problem`
    mpp_origin : the place that states it ("sheet", "openslide.mpp-x", "tiff resolution tags", ...),
        "" when none does
    mpp_looked_at : each place where a pixel size may be stated, with the value there
    bounds_level0 : the viewer's crop (x, y, width, height) in level-0 pixels; the whole slide when
        the file names no crop
    objective_power : nominal magnification, or None
    associated : names of the associated images (label, macro, ...)
    colour_profile : name of the embedded ICC profile, "" when there is none
    size_bytes : size of the file
    remarks : what a person should know: images, channels and levels of the file that are not used
    """

    path: str
    reader: str
    reader_version: str
    vendor: str
    level_sizes_px: tuple[tuple[int, int], ...]
    downsamples: tuple[tuple[float, float], ...]
    mpp_x: float | None
    mpp_y: float | None
    mpp_origin: str
    mpp_looked_at: tuple[str, ...]
    bounds_level0: tuple[int, int, int, int]
    objective_power: float | None
    associated: tuple[str, ...]
    colour_profile: str
    size_bytes: int
    remarks: tuple[str, ...] = ()

    @property
    def width_px(self) -> int:
        """Width of level 0."""
        return self.level_sizes_px[0][0]

    @property
    def height_px(self) -> int:
        """Height of level 0."""
        return self.level_sizes_px[0][1]

    @property
    def pixel_size(self) -> PixelSize | None:
        """Size of a level-0 pixel, None when no place states one."""
        if self.mpp_x is None or self.mpp_y is None:
            return None
        return PixelSize(self.mpp_x, self.mpp_y)

    @cached_property
    def checksum(self) -> str:
        """See `slide_checksum`; computed on first use, because it reads up to 3 MB."""
        return slide_checksum(Path(self.path))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `python -m tiling info --json`."""
        values = {**asdict(self), "checksum": self.checksum}
        return {_JSON_NAMES.get(name, name): value for name, value in values.items()}


def usable_pixel_size(metadata: SlideMetadata) -> PixelSize:
    """The pixel size of a slide.

    Raises
    ------
    SlideError
        No pixel size, or an implausible one, by itself or beside the objective; the message
        contains the remedy.
    """
    size = metadata.pixel_size
    remedy = "give the um per pixel at full resolution (in a sheet: column 'mpp')"
    places = "; ".join(metadata.mpp_looked_at)
    if size is None:
        raise SlideError(f"{metadata.path}: no pixel size (looked at {places}); {remedy}")
    if not size.plausible:
        low, high = MPP_RANGE_UM
        raise SlideError(
            f"{metadata.path}: pixel size {size} um from {metadata.mpp_origin} is outside "
            f"{low:g}..{high:g} um (looked at {places}); {remedy}"
        )
    # Only a size of the file is doubtful: a person may know better.
    if metadata.mpp_origin != SHEET and metadata.objective_power is not None:
        camera_px_um = size.mpp_x * metadata.objective_power
        low, high = _CAMERA_PX_RANGE_UM
        if not low <= camera_px_um <= high:
            raise SlideError(
                f"{metadata.path}: pixel size {size} um from {metadata.mpp_origin} does not fit "
                f"the objective of {metadata.objective_power:g}x; {remedy}"
            )
    return size


def pixel_size_problem(metadata: SlideMetadata) -> str | None:
    """Why the pixel size cannot be used, with the remedy; None when it can."""
    try:
        usable_pixel_size(metadata)
    except SlideError as error:
        return str(error)
    return None


def level_downsample(full_px: int, level_px: int) -> float:
    """Level-0 pixels per level pixel on one axis.

    The size of a level is rounded. Where an integer factor explains the size, that integer is the
    result: a slide of 46001 px has 718 px at 1/64, and 46001 / 718 = 64.07 would be wrong by 49 px
    at the far edge.

    >>> level_downsample(46001, 718), level_downsample(46001, 719), level_downsample(300, 90)
    (64.0, 64.0, 3.3333333333333335)
    """
    ratio = full_px / level_px
    power_of_two = 2 ** round(math.log2(max(ratio, 1.0)))
    for k in (power_of_two, round(ratio), math.floor(ratio), math.ceil(ratio)):
        if k >= 1 and level_px in (full_px // k, -(-full_px // k)):
            return float(k)
    return ratio


def slide_checksum(path: Path) -> str:
    """Checksum of parts of a slide; it changes when the file is replaced.

    SHA-256 of the size of the file and of 1 MB at its start, middle and end. For a MIRAX slide,
    also of the names and sizes of the files in its folder. For a DICOM or VMS slide, the same parts
    of all its files: any file of a DICOM series gives the same checksum.

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    digest = hashlib.sha256()
    if not is_mirax(path):
        for file in files_of_slide(path):
            _add_samples(digest, file)
        return digest.hexdigest()
    _add_samples(digest, path)
    folder = mirax_folder(path)
    if folder.is_dir():
        for part in sorted(folder.iterdir()):
            digest.update(f"{part.name} {part.stat().st_size} ".encode())
            if part.suffix.lower() == ".ini":
                _add_samples(digest, part)
    return digest.hexdigest()


def _add_samples(digest: "hashlib._Hash", path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{size} ".encode())
    with path.open("rb") as file:
        for start in (0, max(size // 2 - _SAMPLE_BYTES // 2, 0), max(size - _SAMPLE_BYTES, 0)):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))


def check_is_file(path: Path) -> None:
    """Check that a path is a file with content that this user can read.

    Raises
    ------
    SlideError
        Missing, a folder, empty, or not readable for this user.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SlideError(
                f"{path}: is a folder; name one file of it "
                "(for DICOM any file of the series, for MIRAX the .mrxs file)"
            )
        if size == 0:
            raise SlideError(f"{path}: the file is empty; copy it again")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise SlideError(
            f"{path}: no such file; correct the path (in a sheet: column 'path')"
        ) from None
    except PermissionError:
        raise SlideError(f"{path}: not readable for this user; change its permissions") from None
