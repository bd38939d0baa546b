"""Slide files with changed bytes: TIFF, OME-XML, PNG, JPEG, BMP, DICOM."""

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from changed_inputs import changed_bytes, changed_text
from fuzzed_parser import FuzzedParser
from PIL import Image

from tiling.raster.geometry import Window
from tiling.slide_errors import SlideError
from tiling.slides.dicom_series import is_dicom, series_uid
from tiling.slides.ome_xml import ome_images
from tiling.slides.pixel_size import PixelSize
from tiling.slides.read_errors import RefusedFileError
from tiling.slides.slide_reader import open_slide
from tiling.slides.truncation import truncation_problem

_RGB = np.random.default_rng(0).integers(90, 250, (96, 112, 3), np.uint8)
_OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
    'UUID="urn:uuid:1"><Image ID="Image:0" Name="macro"><Pixels ID="Pixels:0" SizeX="112" '
    'SizeY="96" SizeC="3" SizeZ="1" SizeT="1" Type="uint8" PhysicalSizeX="0.5" '
    'PhysicalSizeXUnit="\u00b5m" PhysicalSizeY="0.5"><Channel ID="Channel:0:0" '
    'SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"><UUID FileName="a.tif">urn:uuid:1'
    "</UUID></TiffData></Pixels></Image></OME>"
)
_XML_PIECES = (
    "", "<", ">", "/>", '"', "0", "-1", "1e9", "9" * 30, "nan", "<!DOCTYPE x>", "<!ENTITY a 'b'>",
    "<Image>", "<Pixels/>", "</Pixels>", "IFD=", "x", "\u00b5", "\0", "&a;", "<TiffData/>", "mm",
    "UUID", "SizeX=", " ", "\u0661",
)  # fmt: skip
_HEADER_BYTES = 700


def _tiff(rgb: np.ndarray, **options: Any) -> bytes:  # of tifffile
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=options.pop("bigtiff", False)) as tiff:
        levels = options.pop("levels", ())
        settings: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32)} | options
        tiff.write(rgb, subifds=len(levels), **settings)
        for level in levels:
            tiff.write(level, subfiletype=1, **settings)
    return file.getvalue()


def tiff_examples() -> list[bytes]:
    """Small TIFFs of the layouts that slides have."""
    half = _RGB[::2, ::2]
    alpha = np.dstack([_RGB, _RGB[..., :1]])
    size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    return [
        _tiff(_RGB, metadata=None, **size),
        _tiff(_RGB, metadata=None, bigtiff=True, compression="deflate", predictor=True),
        _tiff(_RGB, metadata=None, compression="jpeg", levels=(half,)),
        _tiff(_RGB, metadata=None, compression="lzw", tile=None, rowsperstrip=16, **size),
        _tiff(np.moveaxis(_RGB, 2, 0), metadata=None, planarconfig="separate"),
        _tiff(alpha, metadata=None, extrasamples=["unassalpha"], compression="deflate"),
        _tiff(_RGB, description=_OME.encode(), metadata=None, levels=(half,)),
        _tiff(_RGB, metadata=None, compression="jpeg2000"),
        _tiff(_RGB[..., 0], metadata=None, photometric="minisblack"),
        _tiff(_RGB, metadata=None, description="Aperio Image Library v1\n112x96|MPP = 0.5|AppMag="),
    ]


def plain_examples() -> list[bytes]:
    """Small pictures in the formats that Pillow reads."""
    image, examples = Image.fromarray(_RGB), []
    palette = image.quantize(32)
    alpha = image.copy()
    alpha.putalpha(120)
    for picture, kind, options in (
        (image, "PNG", {"dpi": (50800, 50800)}), (palette, "PNG", {"transparency": 1}),
        (alpha, "PNG", {}), (image.convert("L"), "PNG", {}), (image, "JPEG", {}),
        (image, "JPEG", {"progressive": True}), (image, "BMP", {}), (image, "JPEG", {"quality": 1}),
    ):  # fmt: skip
        file = io.BytesIO()
        picture.save(file, kind, **options)
        examples.append(file.getvalue())
    return examples


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    if kind in (b"SQ", b"OB"):
        length = 0xFFFFFFFF if kind == b"SQ" else len(value)
        return struct.pack("<HH2s2xI", group, number, kind, length) + value
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom_examples() -> list[bytes]:
    """Headers of DICOM files, with a sequence before the identifier of the series."""
    inner = _element(0x20, 0x0E, b"UI", b"9.9\0")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    item += struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    head = bytes(128) + b"DICM" + _element(2, 1, b"OB", b"\0\1")
    head += _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    body = _element(8, 0x1115, b"SQ", item) + _element(0x20, 0x0E, b"UI", b"1.2.3\0")
    return [head + body + _element(0x28, 2, b"US", b"\3\0"), head + body[-12:], head]


def _open_and_read(path: Path) -> None:
    with open_slide(path) as slide:
        width, height = slide.metadata.level_sizes_px[0]
        y, x = height // 3, width // 3
        slide.read(0, Window(y, x, min(height - y, 16), min(width - x, 16)))
    truncation_problem(path)


def _slides(name: str, examples: Callable[[], list[bytes]]) -> Callable[[Path], Any]:
    def prepare(folder: Path) -> Callable[[random.Random], None]:
        valid, path = examples(), folder / name

        def input_from(rng: random.Random) -> None:
            content = rng.choice(valid)
            # The directory of a TIFF is at its start or at its end.
            path.write_bytes(changed_bytes(content, rng, first=_HEADER_BYTES))
            _open_and_read(path)

        return input_from

    return prepare


def _prepare_ome_xml(folder: Path) -> Callable[[random.Random], None]:
    del folder  # no file

    def input_from(rng: random.Random) -> None:
        for image in ome_images(changed_text(_OME, rng, _XML_PIECES)):
            assert image.pixel_size is None or isinstance(image.pixel_size, PixelSize)

    return input_from


def _prepare_dicom(folder: Path) -> Callable[[random.Random], None]:
    valid, path = dicom_examples(), folder / "s.dcm"

    def input_from(rng: random.Random) -> None:
        path.write_bytes(changed_bytes(rng.choice(valid), rng))
        if is_dicom(path):
            series_uid(path)
        if rng.random() < 0.1:
            _open_and_read(path)

    return input_from


PARSERS = [
    FuzzedParser(
        "tiff", "TIFF, BigTIFF, OME-TIFF and SVS slides", _slides("s.tiff", tiff_examples),
        (SlideError,), 30_000,
    ),
    FuzzedParser(
        "picture", "PNG, JPEG and BMP slides", _slides("s.png", plain_examples), (SlideError,)
    ),
    FuzzedParser("dicom", "DICOM headers", _prepare_dicom, (SlideError,)),
    FuzzedParser("ome-xml", "OME-XML", _prepare_ome_xml, (RefusedFileError,), 250_000),
]  # fmt: skip
