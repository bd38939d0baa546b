"""Headers of TIFF files: pixel size, colour profile, and whether the pixels are 8-bit RGB.

Nothing is decoded here.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile

from tiling.messages import counted
from tiling.slides.alpha import has_unused_channel
from tiling.slides.backend import positive_number
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import NotBrightfieldError
from tiling.slides.tiff_directories import open_tiff

# A slide has about 12 pages; a file of thousands would take seconds to open.
MAX_PAGES = 256
_UM_PER_RESOLUTION_UNIT = {2: 25400.0, 3: 10000.0}
_JPEG = tifffile.COMPRESSION.JPEG
_CMYK = "CMYK pixels, not RGB"
# Their colours are not those that the header names.
_UNKNOWN_COLOURS = (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.APERIO_JP2000_YCBC)


def tiff_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """All pages, each before the pages of its SubIFDs (sub-resolutions)."""
    return [part for page in top_pages(tiff) for part in (page, *sub_pages(page))]


def top_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The pages without those of SubIFDs."""
    return _only_pages(tiff.pages[:MAX_PAGES])


def sub_pages(page: tifffile.TiffPage) -> list[tifffile.TiffPage]:
    """The pages of the SubIFDs of a page: sub-resolutions."""
    return [] if page.pages is None else _only_pages(page.pages[:MAX_PAGES])


def _only_pages(pages: Iterable[object]) -> list[tifffile.TiffPage]:
    return [page for page in pages if isinstance(page, tifffile.TiffPage)]


def size_px(page: tifffile.TiffPage) -> tuple[int, int]:
    """(width, height) of a page."""
    return int(page.imagewidth), int(page.imagelength)


def area_px(page: tifffile.TiffPage) -> int:
    """Number of pixels of a page."""
    width, height = size_px(page)
    return width * height


def has_palette(page: tifffile.TiffPage) -> bool:
    """Whether the page holds 8-bit indices into a table of 256 colours."""
    return bool(
        page.photometric == tifffile.PHOTOMETRIC.PALETTE
        and page.dtype == np.uint8
        and page.samplesperpixel == 1
        and page.colormap is not None
        and page.colormap.shape == (3, 256)
    )


def page_profile(page: tifffile.TiffPage) -> bytes | None:
    """The ICC profile of a page."""
    tag = page.tags.get("InterColorProfile")
    return tag.value if tag is not None and isinstance(tag.value, bytes) else None


def page_pixel_size(page: tifffile.TiffPage) -> PixelSize | None:
    """The pixel size of the resolution tags; None when they state none (a denominator of zero)."""
    um = _UM_PER_RESOLUTION_UNIT.get(page.tags.valueof("ResolutionUnit", default=2))
    x, y = (_per_unit(page.tags.valueof(name)) for name in ("XResolution", "YResolution"))
    return None if um is None or x is None or y is None else PixelSize(um / x, um / y)


def _per_unit(value: object) -> float | None:
    """A fraction of a resolution tag as a number; None when it is not a finite number above 0."""
    if not (isinstance(value, tuple) and len(value) == 2):
        return positive_number(value)
    numerator, denominator = (positive_number(part) for part in value)
    return None if numerator is None or denominator is None else numerator / denominator


def aperio_number(page: tifffile.TiffPage, name: str) -> float | None:
    """A number of Aperio's description ("MPP", "AppMag"), None when it states none."""
    if not page.description.startswith("Aperio"):
        return None
    match = re.search(rf"\b{name}\s*=\s*([0-9]+(?:[.,][0-9]+)?)", page.description)
    return None if match is None else positive_number(match[1].replace(",", "."))


def rgb_problem(page: tifffile.TiffPage, *, channels: int | None = None) -> str | None:
    """Why the pixels of a page cannot be read as 8-bit RGB; None when they can.

    Parameters
    ----------
    page : of a TIFF
    channels : number of channels of the image, where it has more than the page
    """
    if has_palette(page):
        return None
    if problem := _sample_problem(page, channels or page.samplesperpixel):
        return problem
    if page.imagedepth != 1:
        return f"{page.imagedepth} planes, not one RGB image"
    return _colour_problem(page)


def _sample_problem(page: tifffile.TiffPage, channels: int) -> str | None:
    if page.dtype != np.uint8:
        return f"pixels are {page.dtype}, not 8-bit RGB"
    if page.samplesperpixel not in (3, 4):
        return f"{counted(channels, 'channel')} of {page.dtype}, not RGB"
    return None


def _colour_problem(page: tifffile.TiffPage) -> str | None:
    photometric, planar = page.photometric, page.planarconfig != tifffile.PLANARCONFIG.CONTIG
    if photometric == tifffile.PHOTOMETRIC.SEPARATED:
        return _CMYK
    if photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression == _JPEG:
        # Decoders convert neither of these to RGB.
        if planar or page.samplesperpixel != 3:
            return "YCBCR colours in separate planes or with a fourth channel, not RGB"
        return None
    if photometric != tifffile.PHOTOMETRIC.RGB:
        name = getattr(photometric, "name", f"code {photometric}")  # an unknown code is a number
        return f"{name} colours outside JPEG, not RGB"
    return None


def check_page_decoder(page: tifffile.TiffPage) -> None:
    """Check that the compression of a page can be decoded to the colours that its header names.

    Raises
    ------
    NotBrightfieldError
        It cannot; the message names the compression.
    """
    code = int(page.compression)
    if page.compression in _UNKNOWN_COLOURS:
        name = tifffile.COMPRESSION(code).name
        raise NotBrightfieldError(f"compression {code} ({name}), whose colours are not known")
    if code != 1 and code not in tifffile.TIFF.DECOMPRESSORS:
        raise NotBrightfieldError(f"compression {code}, which cannot be decoded here")


def check_fourth_channel(pages: Iterable[tifffile.TiffPage]) -> None:
    """Refuse a fourth channel that is no alpha: OpenSlide would use it as one.

    Raises
    ------
    NotBrightfieldError
        A page has such a channel.
    """
    for page in pages:
        if has_unused_channel(page):
            raise NotBrightfieldError("the fourth channel is not alpha")


def check_tiff_for_openslide(path: Path, *, checks_channels: bool) -> None:
    """Refuse TIFF pixels that OpenSlide would convert to RGB without a message: 16-bit, grey.

    Parameters
    ----------
    path : TIFF file of a vendor's format
    checks_channels : whether a fourth channel must be alpha

    Raises
    ------
    NotBrightfieldError
        The message describes the pixels.
    """
    with open_tiff(path) as tiff:
        page = max(top_pages(tiff), key=area_px)
        if problem := _sample_problem(page, page.samplesperpixel):
            raise NotBrightfieldError(problem)
        if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            raise NotBrightfieldError(_CMYK)
        if checks_channels:
            check_fourth_channel([page])
