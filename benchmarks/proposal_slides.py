"""Slides of `proposals.py`, and label stores of the pool with some regions outlined."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiling.parallel import JobSettings
from tiling.qupath.annotation_checks import Annotated
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.class_names import EMPTY_REGION, GLAND, REGION
from tiling.qupath.label_slide import label_slide
from tiling.raster.geometry import Geometry, Window
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
from workflow.config.configuration import Configuration

_MIN_TISSUE_SHARE = 0.25
_MAX_DRAWS = 100_000
# Slide -> part of GlaS and its images, if the slides are mosaics.
_GLAS_IMAGES = {
    "pool": ("train", "1:60"),
    "validation": ("train", "61:85"),
    "test": ("testA", "1:1000"),
}


class AnnotatedSlide(NamedTuple):
    """A tiled slide of which every gland is known.

    Attributes
    ----------
    tiles : tile store
    truth : label store, annotated as a whole
    glands : GeoJSON features of all glands
    """

    name: str
    tiles: Path
    truth: Path
    glands: list[dict[str, Any]]


def make_slides(
    arguments: argparse.Namespace, configuration: Configuration
) -> dict[str, AnnotatedSlide]:
    """Pool, validation and test slide; what an earlier run made is kept."""
    folder = arguments.out / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    slides = {}
    for number, name in enumerate(_GLAS_IMAGES):
        file, annotation = folder / f"{name}.tiff", folder / f"{name}.geojson"
        if not (file.exists() and annotation.exists()):
            if arguments.glas:
                _make_mosaic(arguments, name, file, annotation)
            else:
                _make_synthetic(arguments, name, number, file, annotation)
        tiles, truth = folder / f"{name}.zarr", folder / f"{name}.labels.zarr"
        if not tiles.exists():
            tile_slide(
                SlideSource(name, file),
                tiles,
                parameters=TileParameters(**configuration.tiles.to_dict()),
                code_version=1,
                job=JobSettings(workers=arguments.threads),
            )
        if not truth.exists():
            _label(annotation, tiles, truth, slide=name, annotated="whole")
        slides[name] = AnnotatedSlide(name, tiles, truth, _gland_features(annotation))
    return slides


def outline_regions(
    pool: AnnotatedSlide, windows: Sequence[Window], folder: Path
) -> tuple[Path, int]:
    """Write a label store of the pool in which these regions are outlined.

    Returns
    -------
    store : Path
    glands : int
        Number of glands that a person would have outlined.
    """
    geometry = geometry_of(pool.tiles)
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    squares = [
        shapely.transform(
            shapely.box(window.x, window.y, window.right, window.bottom),
            lambda points: points * scale,
        )
        for window in windows
    ]
    area = shapely.union_all(squares)
    shapely.prepare(area)
    glands = [
        gland for gland in pool.glands if area.intersects(shapely.geometry.shape(gland["geometry"]))
    ]
    outlines = [shapely.geometry.shape(gland["geometry"]) for gland in glands]
    regions = [_region_feature(square, outlines) for square in squares]
    annotation = folder / "pool.geojson"
    features = {"type": "FeatureCollection", "features": [*regions, *glands]}
    annotation.write_text(json.dumps(features))
    store = folder / "labels" / "pool.zarr"
    _label(annotation, pool.tiles, store, slide="pool", annotated="regions")
    return store, len(glands)


def draw_windows(
    pool: AnnotatedSlide,
    before: Sequence[Window],
    count: int,
    size_um: float,
    rng: np.random.Generator,
) -> list[Window]:
    """Random squares on tissue that overlap neither each other nor the earlier ones."""
    geometry = geometry_of(pool.tiles)
    tissue = np.asarray(open_array(open_store(pool.tiles), "tissue")[...]) > 0
    height, width = (
        min(round(size_um / geometry.mpp), side) for side in (geometry.height_px, geometry.width_px)
    )
    drawn: list[Window] = []
    for _ in range(_MAX_DRAWS):
        if len(drawn) == count:
            break
        y = int(rng.integers(0, geometry.height_px - height + 1))
        x = int(rng.integers(0, geometry.width_px - width + 1))
        window = Window(y, x, height, width)
        if _tissue_share(tissue, geometry, window) < _MIN_TISSUE_SHARE:
            continue
        if not any(window.overlaps(other) for other in (*before, *drawn)):
            drawn.append(window)
    return drawn


def _make_mosaic(arguments: argparse.Namespace, name: str, file: Path, annotation: Path) -> None:
    part, images = _GLAS_IMAGES[name]
    command = [sys.executable, arguments.mosaic, arguments.glas / part, part, file]
    subprocess.run([*command, "--images", images, "--annotate", annotation], check=True)


def _make_synthetic(
    arguments: argparse.Namespace, name: str, number: int, file: Path, annotation: Path
) -> None:
    from tiling.synthetic import SyntheticSettings, make_slide

    width, height = 4400, 3400
    if name == "pool":
        width, height = arguments.side_px, arguments.side_px * 3 // 4
    settings = SyntheticSettings(slide=name, seed=900 + number, width_px=width, height_px=height)
    make_slide(settings, file, annotation=annotation)


def _label(annotation: Path, tiles: Path, store: Path, *, slide: str, annotated: Annotated) -> None:
    file = AnnotationFile(annotation, ReadingRules(annotated, "bounds"))
    label_slide(file, tiles, store, slide=slide, code_version=1)


def _gland_features(annotation: Path) -> list[dict[str, Any]]:
    features = json.loads(annotation.read_text())["features"]
    return [
        feature for feature in features if feature["properties"]["classification"]["name"] == GLAND
    ]


def _region_feature(
    square: shapely.Geometry, outlines: Sequence[shapely.Geometry]
) -> dict[str, Any]:
    is_empty = not any(square.intersection(outline).area for outline in outlines)
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(square),
        "properties": {
            "objectType": "annotation",
            "classification": {"name": EMPTY_REGION if is_empty else REGION},
        },
    }


def _tissue_share(tissue: NDArray[np.bool_], geometry: Geometry, window: Window) -> float:
    rows = _scaled(window.y, window.bottom, tissue.shape[0], geometry.height_px)
    columns = _scaled(window.x, window.right, tissue.shape[1], geometry.width_px)
    return float(tissue[rows, columns].mean())


def _scaled(start: int, stop: int, size: int, stored_px: int) -> slice:
    """Pixels of the tissue mask that touch stored pixels start..stop - 1 of an axis."""
    return slice(start * size // stored_px, -(-stop * size // stored_px))
