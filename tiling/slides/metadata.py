"""What a slide file says about itself, and how sure we are of its pixel size."""

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiling.slide_errors import SlideError

MPP_RANGE_UM = (0.05, 20.0)
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True)
class SlideFacts:
    """Facts of one slide file.

    Attributes
    ----------
    path : the file as it was given
    reader : libraries that read it: openslide, tiffslide, pillow; "openslide, tiles by tifffile" where tiles are decoded directly
    reader_version : their versions, in the same order
    vendor : format name the reader gives ("aperio", "generic-tiff", "jpeg", ...)
    level_sizes_px : (width, height) of each level
    downsamples : (x, y) level-0 pixels per pixel of each level; see `level_downsample`
    mpp_x, mpp_y : um per level-0 pixel, or None when no place names one; may be absurd, see `mpp_problem`
    mpp_origin : the place it comes from ("sheet", "openslide.mpp-x", "tiff resolution tags", ...), "" when none
    mpp_looked_at : each place that was looked at, with what was found there
    bounds_level0 : the viewer's crop (x, y, width, height) in level-0 pixels; the whole slide when the file names none
    fingerprint : sha256 over size and samples of the bytes: changes when the file is replaced
    objective_power : nominal magnification, or None
    associated : names of the associated images (label, macro, ...)
    colour_profile : name of the embedded ICC profile, "" when there is none
    bytes : size of the file
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
    fingerprint: str
    objective_power: float | None
    associated: tuple[str, ...]
    colour_profile: str
    bytes: int

    @property
    def width_px(self) -> int:
        """Width of level 0."""
        return self.level_sizes_px[0][0]

    @property
    def height_px(self) -> int:
        """Height of level 0."""
        return self.level_sizes_px[0][1]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PixelSize:
    """A pixel size that some place names: um per level-0 pixel, and the place."""

    mpp_x: float
    mpp_y: float
    origin: str

    @property
    def plausible(self) -> bool:
        """Both axes inside the range a light microscope gives."""
        return all(
            MPP_RANGE_UM[0] <= value <= MPP_RANGE_UM[1] for value in (self.mpp_x, self.mpp_y)
        )


def choose_pixel_size(
    places: list[tuple[str, PixelSize | None]],
) -> tuple[PixelSize | None, tuple[str, ...]]:
    """The first plausible pixel size, else the first found, and what every place said.

    >>> choose_pixel_size([("sheet", None), ("tags", PixelSize(0.5, 0.5, "tags"))])
    (PixelSize(mpp_x=0.5, mpp_y=0.5, origin='tags'), ('sheet: none', 'tags: 0.5'))
    """
    looked_at = tuple(
        f"{name}: {'none' if found is None else _show(found)}" for name, found in places
    )
    candidates = [found for _, found in places if found is not None]
    # What the sheet says is an order, even when it is absurd: falling back to the file would hide the mistake.
    if candidates and candidates[0].origin == "sheet":
        return candidates[0], looked_at
    return next(
        (found for found in candidates if found.plausible), candidates[0] if candidates else None
    ), looked_at


def _show(size: PixelSize) -> str:
    return (
        f"{size.mpp_x:.6g}"
        if math.isclose(size.mpp_x, size.mpp_y, rel_tol=1e-3)
        else f"{size.mpp_x:.6g} x {size.mpp_y:.6g}"
    )


def mpp_problem(facts: SlideFacts) -> str | None:
    """Why the pixel size cannot be used, with the remedy; None when it can."""
    remedy = "set column 'mpp' in the sheet (um per pixel at full resolution)"
    places = "; ".join(facts.mpp_looked_at)
    if facts.mpp_x is None or facts.mpp_y is None:
        return f"{facts.path}: no pixel size (looked at {places}); {remedy}"
    size = PixelSize(facts.mpp_x, facts.mpp_y, facts.mpp_origin)
    if not size.plausible:
        low, high = MPP_RANGE_UM
        return (
            f"{facts.path}: pixel size {_show(size)} um from {facts.mpp_origin} is outside {low:g}..{high:g} um "
            f"(looked at {places}); {remedy}"
        )
    return None


def level_downsample(full_px: int, level_px: int) -> float:
    """Level-0 pixels per level pixel on one axis: the integer behind the rounded level size where there is one.

    A 46001 px wide slide has 718 px at 1/64; 46001 / 718 = 64.07 would drift by 49 px at the far edge.

    >>> level_downsample(46001, 718), level_downsample(46001, 719), level_downsample(300, 90)
    (64.0, 64.0, 3.3333333333333335)
    """
    ratio = full_px / level_px
    power_of_two = 2 ** round(math.log2(max(ratio, 1.0)))
    for k in (power_of_two, round(ratio), math.floor(ratio), math.ceil(ratio)):
        if k >= 1 and level_px in (full_px // k, -(-full_px // k)):
            return float(k)
    return ratio


def fingerprint(path: Path) -> str:
    """Quick fingerprint of a slide: sizes, and the bytes at head, middle and tail of the file (and MIRAX's folder beside it).

    Raises
    ------
    OSError
        The disk or mount fails.
    """
    digest = hashlib.sha256()
    _add_samples(digest, path)
    beside = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and beside.is_dir():
        for part in sorted(beside.iterdir()):
            digest.update(f"{part.name} {part.stat().st_size} ".encode())
            if part.suffix.lower() == ".ini":
                _add_samples(digest, part)
    return digest.hexdigest()


def _add_samples(digest: "hashlib._Hash", path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{size} ".encode())
    with path.open("rb") as handle:
        for start in (0, max(size // 2 - _SAMPLE_BYTES // 2, 0), max(size - _SAMPLE_BYTES, 0)):
            handle.seek(start)
            digest.update(handle.read(_SAMPLE_BYTES))


def check_is_file(path: Path) -> None:
    """Refuse what cannot be a slide before any library sees it.

    Raises
    ------
    SlideError
        Missing, a folder, empty, or not readable for this user.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SlideError(
                f"{path}: is a folder; name one file of it (for DICOM any .dcm file, for MIRAX the .mrxs file)"
            )
        if size == 0:
            raise SlideError(f"{path}: the file is empty; copy it again")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise SlideError(f"{path}: no such file; correct column 'path' in the sheet") from None
    except PermissionError:
        raise SlideError(f"{path}: not readable for this user; change its permissions") from None
