"""Very large annotations are refused with count, limit and remedy; large outlines draw fast."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from example_stores import tile_attributes
from PIL import Image
from rasterio.features import rasterize

from tiling.__main__ import main
from tiling.outlines import shape_pieces
from tiling.outlines.outline_raster import OutlineRaster
from tiling.outlines.shape_pieces import drawing_pieces
from tiling.qupath import annotation_limits
from tiling.qupath.annotation_limits import check_drawing
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.annotations import read_annotations
from tiling.qupath.class_names import Reading
from tiling.qupath.file_check import check_file
from tiling.qupath.label_slide import label_slide
from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.manifest import seal_store


def square(x: float, kind: str) -> dict[str, Any]:
    ring = [[x, 0], [x + 5, 0], [x + 5, 5], [x, 5], [x, 0]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": kind}},
    }


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.geojson"
    features = [square(7.0 * i, kind) for i in range(4) for kind in ("Region*", "Gland")]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def tiles_of(folder: Path) -> Path:
    path, frame = folder / "tiles.zarr", Geometry.uniform(40, 10)
    group = create_group(path)
    create_array(group, "tissue", (2, 5), np.uint8)[...] = 1
    tile_attributes(frame, fingerprint="f").write(group)
    seal_store(path)
    return path


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_OUTLINES", 7, "more than 7 annotations; annotate a part of the slide"),
        ("MAX_POINTS", 39, "more than 39 points of outlines; simplify the outlines"),
        ("MAX_REGIONS", 3, "more than 3 areas of class Region*; join them"),
    ],
)
def test_a_file_above_a_limit_is_refused_when_the_run_is_planned_and_by_the_job(
    large_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
) -> None:
    assert check_file(large_file, annotated="regions").problem is None
    monkeypatch.setattr(annotation_limits, limit, value)
    problem = check_file(large_file, annotated="regions").problem
    assert problem is not None
    assert problem.startswith(message)
    file = AnnotationFile(large_file, ReadingRules("regions", "bounds"))
    with pytest.raises(AnnotationError, match=f"more than {value}"):
        label_slide(
            file, tiles_of(tmp_path), tmp_path / "l.zarr", slide="s", required=True, code_version=1
        )
    assert len(read_annotations(large_file).glands) == 4  # of a conversion, without limits
    monkeypatch.setattr(annotation_limits, limit, value + 1)
    assert check_file(large_file, annotated="regions").problem is None


def test_outlines_in_very_many_blocks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    line = shapely.LineString([(10, 10), (9000, 9000)]).buffer(1)  # 5 x 5 blocks of 2048 px
    raster = OutlineRaster([line])
    assert raster.drawn_points(2048) == 25 * shapely.get_num_coordinates(line)
    assert OutlineRaster([]).drawn_points(2048) == 0
    monkeypatch.setattr(annotation_limits, "MAX_DRAWN_POINTS", 1000)
    with pytest.raises(AnnotationError, match=r"points to draw, .* more than 1000; simplify"):
        check_drawing({Reading.GLAND: raster}, Path("a.geojson"))


@pytest.mark.parametrize("seed", range(6))
def test_pieces_contain_the_same_pixels_as_their_outline(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(shape_pieces, "_MAX_POINTS", 50)
    monkeypatch.setattr(shape_pieces, "_MAX_PIECE_POINTS", 20)
    monkeypatch.setattr(shape_pieces, "_MIN_PIECE_PX", 8)
    rng = np.random.default_rng(seed)
    angle, radius = np.sort(rng.uniform(0, 2 * np.pi, 300)), rng.uniform(20, 140, 300)
    points = 150 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    shape = shapely.Polygon(points).difference(shapely.Point(150, 150).buffer(60))
    pieces = drawing_pieces(shape)
    assert len(pieces) > 10
    whole, cut = (
        rasterize([(part, 1) for part in parts], out_shape=(300, 300))
        for parts in ([shape], pieces)
    )
    assert whole.any()
    np.testing.assert_array_equal(cut, whole)


def test_many_glands_of_a_conversion_have_no_limit(
    large_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotation_limits, "MAX_OUTLINES", 2)
    Image.new("RGB", (40, 10)).save(tmp_path / "s.png")
    out = tmp_path / "o.tif"
    assert main(["geojson-to-labels", str(large_file), str(tmp_path / "s.png"), str(out)]) == 0


def test_a_spiral_is_drawn_in_linear_time() -> None:
    """It took minutes when each block was cut out of the whole outline."""
    turn = np.linspace(0, 800, 20_000)
    radius = np.linspace(10, 1900, len(turn))
    line = 2000 + np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    inner = 2000 + np.stack([(radius - 3) * np.cos(turn), (radius - 3) * np.sin(turn)], axis=1)
    shape = shapely.Polygon(np.concatenate([line, inner[::-1]]))
    raster = OutlineRaster([shape])
    assert raster.drawn_points(256) < 10 * shapely.get_num_coordinates(shape)
    block = (slice(1000, 1128), slice(3000, 3128))
    rows, columns = np.mgrid[1000:1128, 3000:3128] + 0.5
    np.testing.assert_array_equal(raster[block] > 0, shapely.contains_xy(shape, columns, rows))
