"""Annotations, tissue and regions of interest, masks: changed GeoJSON, archives and images."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from changed_inputs import changed_bytes, changed_json_text
from fuzzed_parser import FuzzedParser
from PIL import Image

from semimoe.datasets.image_files import image_size, read_image, read_labels
from semimoe.model_errors import DataError
from tiling.outlines.mask_image import mask_shape
from tiling.qupath.annotation_source import ReadingRules, open_annotation
from tiling.qupath.file_check import check_file
from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError, SlideError
from tiling.tissue.mask_files import mask_from_file

_GEOMETRY = Geometry.uniform(60, 50)
_RULES = ReadingRules("regions", "slide")
_HEADER_BYTES = 300


def _box(x: float, y: float, side: float) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {"type": "Polygon", "coordinates": [ring]}


def _feature(geometry: dict[str, Any], class_name: str, **more: Any) -> dict[str, Any]:  # JSON
    properties = {"objectType": "annotation", "classification": {"name": class_name}}
    return {"type": "Feature", "id": "a", "geometry": geometry, "properties": properties, **more}


def collection() -> dict[str, Any]:
    """Annotations with every kind of object that QuPath writes."""
    bowtie = [[10, 10], [20, 20], [20, 10], [10, 20], [10, 10]]
    parts = [_box(30, 30, 5)["coordinates"], _box(38, 30, 5)["coordinates"]]
    child = _feature(_box(12, 12, 6), "Gland", childObjects=[_feature(_box(13, 13, 2), "Ignore*")])
    return {
        "type": "FeatureCollection",
        "viewer": {"width": 60, "height": 50},
        "features": [
            _feature(_box(5, 5, 40), "Region*", childObjects=[child]),
            _feature({"type": "MultiPolygon", "coordinates": parts}, "Gland: benign"),
            _feature({"type": "Polygon", "coordinates": [bowtie]}, "Gland"),
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
        ],
    }


def _packed(text: bytes, kind: int) -> bytes:
    if kind == 0:
        return gzip.compress(text, 1, mtime=0)
    file = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(file, "w", methods[kind - 1]) as archive:
        archive.writestr("a.geojson", text)
    return file.getvalue()


def _read_annotation(path: Path) -> None:
    check_file(path, annotated="regions")
    with ExitStack() as files:
        open_annotation(path, _GEOMETRY, files, _RULES)


def _prepare_geojson(folder: Path) -> Callable[[random.Random], None]:
    valid, path = collection(), folder / "a.geojson"

    def input_from(rng: random.Random) -> None:
        path.write_text(changed_json_text(valid, rng), encoding="utf-8")
        _read_annotation(path)

    return input_from


def _prepare_archives(folder: Path) -> Callable[[random.Random], None]:
    path, whole = folder / "a.geojson", json.dumps(collection()).encode()
    valid = [_packed(whole, kind) for kind in range(5)]

    def input_from(rng: random.Random) -> None:
        if rng.random() < 0.7:
            content = changed_bytes(rng.choice(valid), rng)
        else:
            content = _packed(changed_bytes(whole, rng), rng.randrange(5))
        path.write_bytes(content)
        _read_annotation(path)

    return input_from


def _prepare_tissue(folder: Path) -> Callable[[random.Random], None]:
    valid, path, images = collection(), folder / "t.geojson", mask_examples()
    valid["features"] = valid["features"][:2]  # an outline that crosses itself is refused

    def input_from(rng: random.Random) -> None:
        if rng.random() < 0.7:
            path.write_text(changed_json_text(valid, rng), encoding="utf-8")
        else:
            path.write_bytes(changed_bytes(rng.choice(images), rng, first=_HEADER_BYTES))
        mask_from_file(path, _GEOMETRY, origin="slide")

    return input_from


def mask_examples() -> list[bytes]:
    """Mask images in the formats and modes that masks have."""
    labels = np.zeros((50, 60), np.uint8)
    labels[5:20, 5:30], labels[25:40, 30:55] = 1, 2
    picture = Image.fromarray(labels)
    colours = Image.fromarray(np.dstack([labels * 90] * 3))
    palette = colours.quantize(4)
    alpha = colours.copy()
    alpha.putalpha(255)
    examples = []
    for image, kind in (
        (picture, "PNG"), (colours, "PNG"), (palette, "PNG"), (alpha, "PNG"), (picture, "BMP"),
        (Image.fromarray(labels > 0), "PNG"), (picture, "GIF"),
        (Image.fromarray(labels.astype(np.int32)), "TIFF"),
    ):  # fmt: skip
        file = io.BytesIO()
        image.save(file, kind)
        examples.append(file.getvalue())
    for options in ({"tile": (32, 32)}, {"compression": "deflate"}, {"compression": "lzw"}):
        file = io.BytesIO()
        tifffile.imwrite(file, labels.astype(np.uint16), metadata=None, **options)  # type: ignore[arg-type]
        examples.append(file.getvalue())
    return examples


def _prepare_masks(folder: Path) -> Callable[[random.Random], None]:
    valid, path = mask_examples(), folder / "m.png"

    def input_from(rng: random.Random) -> None:
        path.write_bytes(changed_bytes(rng.choice(valid), rng, first=_HEADER_BYTES))
        mask_shape(path)
        with ExitStack() as files:
            open_annotation(path, _GEOMETRY, files, _RULES)

    return input_from


def _prepare_image_folder(folder: Path) -> Callable[[random.Random], None]:
    valid, path = mask_examples(), folder / "m.png"

    def input_from(rng: random.Random) -> None:
        path.write_bytes(changed_bytes(rng.choice(valid), rng, first=_HEADER_BYTES))
        for read in rng.sample((image_size, read_image, read_labels), 3):
            read(path)

    return input_from


PARSERS = [
    FuzzedParser("geojson", "GeoJSON annotations", _prepare_geojson, (AnnotationError,), 100_000),
    FuzzedParser("archive", "annotations in gzip and zip", _prepare_archives, (AnnotationError,)),
    FuzzedParser("tissue", "tissue and region files", _prepare_tissue, (SlideError,)),
    FuzzedParser("mask", "mask images of slides", _prepare_masks, (AnnotationError,)),
    FuzzedParser("folder", "images and masks of folders", _prepare_image_folder, (DataError,)),
]
