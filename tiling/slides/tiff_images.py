"""The images of a TIFF, and which of them is the slide.

A file may hold a macro image, a label, a thumbnail and several scenes, in any order, beside the
pages of the pyramid. The choice depends on sizes, flags and OME-XML, not on the first page.
"""

import math
import re
from dataclasses import dataclass

import tifffile

from tiling.slides.ome_xml import OmeImage, ome_images
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import FileReadError, NotBrightfieldError, RefusedFileError
from tiling.slides.tiff_headers import (
    area_px,
    check_page_decoder,
    page_pixel_size,
    rgb_problem,
    size_px,
    sub_pages,
    top_pages,
)

_ACCESSORY_NAME = re.compile(
    r"(^|[^a-z])(macro|label|overview|thumbnail|barcode)([^a-z]|$)", re.IGNORECASE
)
# An image whose pixels are smaller by this factor shows more detail than a larger macro image.
_FINER = 0.75
# OpenSlide recognises these formats; what it refuses is not one image: tiles overlap, or the
# slide has several areas.
_NOT_ONE_IMAGE = {"is_bif": "Ventana BIF", "is_scn": "Leica SCN"}


@dataclass(frozen=True)
class TiffImage:
    """One image of a TIFF.

    Attributes
    ----------
    name : of OME-XML, else "page N"
    levels : pages, the full resolution first
    channels : samples of all planes at one place
    planes : number of planes
    ome_pixel_size : that OME-XML states for this image
    """

    name: str
    levels: tuple[tifffile.TiffPage, ...]
    channels: int
    planes: int
    ome_pixel_size: PixelSize | None = None

    @property
    def full(self) -> tifffile.TiffPage:
        """The page of the full resolution."""
        return self.levels[0]

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the full resolution."""
        return size_px(self.full)

    @property
    def area_px(self) -> int:
        """Number of pixels of the full resolution."""
        return area_px(self.full)

    @property
    def pixel_size(self) -> PixelSize | None:
        """The pixel size of OME-XML, else of the resolution tags."""
        return self.ome_pixel_size or page_pixel_size(self.full)

    @property
    def is_accessory(self) -> bool:
        """Whether its name is that of a macro image, a label or a thumbnail."""
        return _ACCESSORY_NAME.search(self.name) is not None

    @property
    def problem(self) -> str | None:
        """Why the image is not one of 8-bit RGB; None when it is."""
        problem = rgb_problem(self.full, channels=self.channels)
        if problem is None and self.planes > 1:
            return f"{self.planes} planes of one size, not one RGB image"
        return problem

    def __str__(self) -> str:
        width, height = self.size_px
        size = self.pixel_size
        return f"{self.name!r}, {width} x {height} px" + ("" if size is None else f" of {size} um")


def slide_image(tiff: tifffile.TiffFile) -> tuple[TiffImage, list[TiffImage]]:
    """The image that is the slide, and the others.

    Raises
    ------
    NotBrightfieldError
        It is not 8-bit RGB.
    RefusedFileError
        Several images may be the slide, or it is in another file.
    """
    for attribute, name in _NOT_ONE_IMAGE.items():
        if getattr(tiff, attribute):
            raise RefusedFileError(
                f"it has the header of {name}, but OpenSlide does not recognise it; "
                "export it again as a tiled pyramidal TIFF"
            )
    images = _ome_tiff_images(tiff) or _tiff_images(tiff)
    image = _choose(images)
    if image.problem is not None:
        raise NotBrightfieldError(image.problem)
    for page in image.levels:
        check_page_decoder(page)
    return image, [other for other in images if other is not image]


def _choose(images: list[TiffImage]) -> TiffImage:
    """The largest image; a macro image and a label only if there is nothing else."""
    candidates = [image for image in images if not image.is_accessory] or images
    slide = max(candidates, key=lambda image: image.area_px)
    if not slide.area_px:
        raise FileReadError("no image with pixels in it")
    for other in candidates:
        if other is not slide and _may_be_the_slide(other, slide):
            raise RefusedFileError(
                f"two of its images may be the slide: {slide}; {other}; "
                "export the one that you mean as a file of its own"
            )
    return slide


def _may_be_the_slide(other: TiffImage, largest: TiffImage) -> bool:
    """Whether another image is as large as the largest, is finer, or alone has a pyramid."""
    if other.area_px == largest.area_px:
        return True
    if other.problem is not None:
        return False
    if len(other.levels) > 1 and len(largest.levels) == 1:
        return True
    if other.pixel_size is None or largest.pixel_size is None:
        return False
    return other.pixel_size.mpp_x < _FINER * largest.pixel_size.mpp_x


def _ome_tiff_images(tiff: tifffile.TiffFile) -> list[TiffImage]:
    """The images of OME-XML; none where it does not describe the pages of this file."""
    described = ome_images(tiff.ome_metadata)
    pages = top_pages(tiff)
    images = []
    for number, image in enumerate(described):
        page_number = 0 if image.page is None and len(described) == 1 else image.page
        if page_number is None or not 0 <= page_number < len(pages):
            return []
        page = pages[page_number]
        if size_px(page) != (image.width_px, image.height_px):
            return []
        images.append(_ome_tiff_image(image, f"image {number}", page))
    return images


def _ome_tiff_image(image: OmeImage, default_name: str, page: tifffile.TiffPage) -> TiffImage:
    return TiffImage(
        name=image.name or default_name,
        levels=_levels(page, sub_pages(page)),
        channels=image.channels,
        planes=image.planes,
        ome_pixel_size=image.pixel_size,
    )


def _tiff_images(tiff: tifffile.TiffFile) -> list[TiffImage]:
    """The images of a TIFF without OME-XML; pages that are flagged as reduced may be levels."""
    # By number of the page: the page and its SubIFDs; the largest of them is the full resolution.
    pages_of_image = {
        number: sorted([page, *sub_pages(page)], key=area_px, reverse=True)
        for number, page in enumerate(top_pages(tiff))
        if not page.is_mask
    }
    if not pages_of_image:
        raise FileReadError("no image in it")
    main = max(pages_of_image, key=lambda number: area_px(pages_of_image[number][0]))
    main_size = size_px(pages_of_image[main][0])
    stack = [number for number, pages in pages_of_image.items() if size_px(pages[0]) == main_size]
    reduced = [
        number
        for number, pages in pages_of_image.items()
        if number not in stack and pages[0].is_reduced and len(pages) == 1
    ]
    images = []
    for number, (full, *parts) in pages_of_image.items():
        if number in reduced or (number in stack and number != main):
            continue
        flagged = [pages_of_image[other][0] for other in reduced] if number == main else []
        images.append(
            TiffImage(
                name=f"page {number}",
                levels=_levels(full, parts + flagged),
                channels=int(full.samplesperpixel),
                planes=max(len(stack), _stated_planes(tiff)) if number == main else 1,
            )
        )
    return images


def _stated_planes(tiff: tifffile.TiffFile) -> int:
    """The number of planes in the descriptions of ImageJ and tifffile.

    Such a file may have one page only, with the data of all planes one after the other.
    """
    planes = [1]
    for stated in tiff.shaped_metadata or ():
        shape = stated.get("shape", ())
        planes.append(math.prod(shape) // max(math.prod(tiff.pages.first.shape), 1))
    if tiff.imagej_metadata is not None:
        planes.append(int(tiff.imagej_metadata.get("images", 1)))
    return max(planes)


def _levels(
    full: tifffile.TiffPage, reduced: list[tifffile.TiffPage]
) -> tuple[tifffile.TiffPage, ...]:
    """The full resolution and the pages that may be levels of it, by size.

    Where the full resolution is tiled, levels are: a page without tiles is a thumbnail.
    """
    levels = [
        page
        for page in reduced
        if _is_smaller(page, full)
        and area_px(page)
        and rgb_problem(page) is None
        and (page.is_tiled or not full.is_tiled)
    ]
    return full, *sorted(levels, key=area_px, reverse=True)


def _is_smaller(page: tifffile.TiffPage, full: tifffile.TiffPage) -> bool:
    sides = list(zip(size_px(page), size_px(full), strict=True))
    return all(side <= full_side for side, full_side in sides) and size_px(page) != size_px(full)
