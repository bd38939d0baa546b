"""The images that the OME-XML of a TIFF describes."""

from dataclasses import dataclass
from xml.etree import ElementTree

from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import RefusedFileError

OME_PIXEL_SIZE = "OME PhysicalSizeX"
_UM_PER_UNIT = {
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25400.0,
}


@dataclass(frozen=True)
class OmeImage:
    """One image of OME-XML.

    Attributes
    ----------
    name : of the image, "" without
    width_px, height_px : of the full resolution
    channels : samples of all planes at one place, 3 for RGB
    planes : number of planes; more than one: a stack, a time series, or separate channels
    page : number of the page that holds the first plane; None: not stated
    pixel_size : None when it is not stated, or not a number
    """

    name: str
    width_px: int
    height_px: int
    channels: int
    planes: int
    page: int | None
    pixel_size: PixelSize | None


def ome_images(xml: str | None) -> list[OmeImage]:
    """The images of OME-XML; none where it cannot be used.

    Raises
    ------
    RefusedFileError
        The pixels are in another file.
    """
    # Entities can make a parser use unlimited memory.
    if xml is None or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        return []
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return []
    images = []
    for image in _children(root, "Image"):
        pixels = next(iter(_children(image, "Pixels")), None)
        if pixels is None:
            continue
        try:
            images.append(_ome_image(root, image, pixels))
        except (KeyError, ValueError):
            return []
    return images


def _ome_image(
    root: ElementTree.Element, image: ElementTree.Element, pixels: ElementTree.Element
) -> OmeImage:
    channels = int(pixels.get("SizeC", "1"))
    samples = max(
        (int(channel.get("SamplesPerPixel", "1")) for channel in _children(pixels, "Channel")),
        default=1,
    )
    depth, times = (int(pixels.get(name, "1")) for name in ("SizeZ", "SizeT"))
    name = image.get("Name", "")
    return OmeImage(
        name=name,
        width_px=int(pixels.attrib["SizeX"]),
        height_px=int(pixels.attrib["SizeY"]),
        channels=channels,
        planes=-(-channels // max(samples, 1)) * depth * times,
        page=_first_page(root, name, _children(pixels, "TiffData")),
        pixel_size=_pixel_size(pixels),
    )


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Child elements of that name, in any version of the schema."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _first_page(
    root: ElementTree.Element, name: str, blocks: list[ElementTree.Element]
) -> int | None:
    """Number of the page that holds the first plane of an image."""
    own_id = root.get("UUID")
    own_blocks = [block for block in blocks if own_id is None or _file_id(block) in (None, own_id)]
    if blocks and not own_blocks:
        other = next(iter(_children(blocks[0], "UUID"))).get("FileName", "another file")
        raise RefusedFileError(
            f"the pixels of image {name!r} are in another file ({other}); use that file"
        )
    pages = [int(block.attrib["IFD"]) for block in own_blocks if "IFD" in block.attrib]
    return min(pages, default=None)


def _file_id(block: ElementTree.Element) -> str | None:
    ids = _children(block, "UUID")
    return (ids[0].text or "").strip() if ids else None


def _pixel_size(pixels: ElementTree.Element) -> PixelSize | None:
    """The stated pixel size; a value without a unit is in um, as the OME schema defines."""
    try:
        x, y = (
            float(pixels.attrib[f"PhysicalSize{axis}"])
            * _UM_PER_UNIT[pixels.get(f"PhysicalSize{axis}Unit", "um")]
            for axis in "XY"
        )
    except (KeyError, ValueError):
        return None
    return PixelSize(x, y) if x > 0 and y > 0 else None
