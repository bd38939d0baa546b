"""Exported outlines: rules of QuPath, exact positions and areas, and reading them again."""

import csv
import gzip
import json
import math
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tiling.objects.measure import mean_probabilities, measure
from tiling.objects.stitch import stitch
from tiling.objects.trace import trace_mask
from tiling.qupath.annotations import read_annotations
from tiling.qupath.export_glands import export_glands
from tiling.qupath.geojson_writer import OutlineStyle
from tiling.qupath.level0_labels import geojson_to_labels, labels_to_geojson
from tiling.raster.geometry import Geometry
from tiling.raster.split_parameters import SplitParameters
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import create_array, create_group, open_array, open_store, read_table
from tiling.stores.attributes import set_attributes
from tiling.stores.manifest import seal_store

SPLIT = SplitParameters(
    threshold=0.5,
    seed_depth_um=0.0,
    boundary_level=2.0,
    growth_um=0.0,
    min_area_um2=0.0,
    sdf_um=20.0,
    use_sdf=False,
)


def stores(
    folder: Path, gland: np.ndarray, d: float = 2.0, bounds: tuple[int, int] = (7, 11)
) -> tuple[Path, Path]:
    height, width = gland.shape
    geometry = Geometry.uniform(width, height, downsample=d, mpp_um=0.5 * d, bounds_xy=bounds)
    maps = folder / "maps.zarr"
    group = create_group(maps)
    for name, values in (
        ("gland", gland),
        ("sdf", gland),
        ("boundary", gland // 4),
        ("disagreement", gland // 2),
    ):
        create_array(group, name, gland.shape, np.uint8)[...] = values
    set_attributes(group, {"status": "ok", "geometry": geometry.to_dict()})
    seal_store(maps)
    stitch(maps, folder / "glands.zarr", parameters=SPLIT, slide="s", code_version=1)
    return folder / "glands.zarr", maps


def exported(
    folder: Path,
    gland: np.ndarray,
    name: str = "g.geojson",
    *,
    slide: str = "s",
    origin: str = "bounds",
    d: float = 2.0,
    bounds: tuple[int, int] = (7, 11),
    **style: Any,
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Write stores and export them; the GeoJSON and the rows of the table."""
    glands, maps = stores(folder, gland, d, bounds)
    count = export_glands(
        glands,
        maps,
        folder / name,
        folder / "g.csv",
        slide=slide,
        style=OutlineStyle(**{"colour": (1, 2, 3), **style}),
        origin=origin,
    )
    data = (folder / name).read_bytes()
    collection = json.loads(gzip.decompress(data) if name.endswith("gz") else data)
    rows = list(csv.DictReader((folder / "g.csv").read_text().splitlines()))
    assert len(collection["features"]) == len(rows) == count
    names = [feature["properties"]["name"] for feature in collection["features"]]
    assert names == [f"gland {row['label']}" for row in rows]
    return collection, rows


def random_gland_map(
    seed: int = 0, shape: tuple[int, int] = (70, 90), density: float = 0.55
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < density, rng.integers(128, 256, shape), 0).astype(np.uint8)


def check_for_qupath(collection: dict[str, Any], object_type: str) -> None:
    """The rules of QuPath's reader, which refuses a whole file for one feature."""
    assert collection["type"] == "FeatureCollection"
    ids = [feature["id"] for feature in collection["features"]]
    assert len(set(ids)) == len(ids)
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert uuid.UUID(feature["id"]).version == 5
        properties = feature["properties"]
        assert properties["objectType"] == object_type
        assert set(properties["classification"]) == {"name", "color"}
        color = properties["classification"]["color"]
        assert len(color) == 3
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in color)
        for value in properties.get("measurements", {}).values():
            assert isinstance(value, int | float)
            assert math.isfinite(value)
        geometry = feature["geometry"]
        assert geometry["type"] in ("Polygon", "MultiPolygon")
        polygons = (
            [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        )
        assert geometry["type"] == "Polygon" or len(polygons) > 1, (
            "a MultiPolygon of one part throws"
        )
        for ring in (ring for polygon in polygons for ring in polygon):
            assert len(ring) > 4
            assert ring[0] == ring[-1]
            assert all(round(x, 2) == x and round(y, 2) == y for x, y in ring)
        shape = shapely.geometry.shape(geometry)
        assert shape.is_valid
        assert shapely.set_precision(shape, 0.01).is_valid
        as_float32 = shapely.transform(
            shape, lambda points: points.astype(np.float32).astype(np.float64)
        )
        assert shapely.set_precision(as_float32, 0.01).is_valid


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999),
    density=st.sampled_from([0.3, 0.6, 0.85]),
    d=st.sampled_from([1.0, 2.0, 4.0003, 16.37]),
)
def test_every_feature_follows_the_rules_of_qupath(
    tmp_path_factory: pytest.TempPathFactory, seed: int, density: float, d: float
) -> None:
    collection, _ = exported(
        tmp_path_factory.mktemp("e"), random_gland_map(seed, (40, 50), density), d=d
    )
    check_for_qupath(collection, "detection")


def test_object_type_and_suffix_select_annotations_and_gzip(tmp_path: Path) -> None:
    collection, _ = exported(
        tmp_path,
        random_gland_map(),
        "g.geojson.gz",
        object_type="annotation",
        class_name='<Gland "x">',
    )
    check_for_qupath(collection, "annotation")
    assert collection["features"][0]["properties"]["classification"] == {
        "name": '<Gland "x">',
        "color": [1, 2, 3],
    }
    assert {path.name for path in tmp_path.iterdir()} >= {"g.geojson.gz", "g.csv"}
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize(("origin", "shift"), [("bounds", (7, 11)), ("slide", (0, 0))])
def test_outlines_lie_at_level_0_of_the_viewer_with_exact_areas(
    tmp_path: Path, origin: str, shift: tuple[int, int]
) -> None:
    gland = np.zeros((30, 40), np.uint8)
    gland[5:12, 6:16], gland[8, 10] = 255, 0
    collection, [row] = exported(tmp_path, gland, origin=origin)
    [feature] = collection["features"]
    shape = shapely.geometry.shape(feature["geometry"])
    assert shape.bounds == (12 - shift[0], 10 - shift[1], 32 - shift[0], 24 - shift[1])
    assert shape.area == 69 * 4
    assert collection["viewer"] == {
        "width": 80 - shift[0],
        "height": 60 - shift[1],
        "origin": origin,
    }
    assert float(row["area_um2"]) == 69
    assert (row["holes"], row["touches_border"], row["label"]) == ("1", "0", "1")
    place = np.argwhere(gland) + 0.5
    assert float(row["centroid_x_level0"]) == pytest.approx(2 * place[:, 1].mean(), abs=0.006)
    assert float(row["centroid_y_level0"]) == pytest.approx(2 * place[:, 0].mean(), abs=0.006)
    assert float(row["mean_probability"]) == 1
    assert float(row["mean_disagreement"]) == pytest.approx(127 / 255)
    assert feature["properties"]["measurements"]["area um2"] == 69


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999),
    d=st.sampled_from([1.0, 2.0, 16.37]),
    simplify_um=st.sampled_from([0.4, 1.0, 3.0]),
)
def test_simplified_outlines_follow_the_rules_and_keep_the_exact_measurements(
    tmp_path_factory: pytest.TempPathFactory, seed: int, d: float, simplify_um: float
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(90, 110)), 3)
    gland = np.where(noise > 0.6 * noise.std(), 200, 0).astype(np.uint8)
    folder = tmp_path_factory.mktemp("f")
    exact, rows = exported(folder, gland, d=d)
    (folder / "again").mkdir()
    result, again = exported(folder / "again", gland, d=d, simplify_um=simplify_um)
    check_for_qupath(result, "detection")
    assert rows == again
    for one, other in zip(exact["features"], result["features"], strict=True):
        assert {**one, "geometry": None} == {**other, "geometry": None}
        lines = [
            shapely.boundary(shapely.geometry.shape(each["geometry"])) for each in (one, other)
        ]
        assert shapely.hausdorff_distance(*lines) * 0.5 <= simplify_um + 0.01


def test_the_exact_outline_is_written_if_rounding_makes_the_simplified_one_cross_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossing = shapely.Polygon([(8, 11), (6, 7), (11, 9), (7, 6), (7, 11)])
    monkeypatch.setattr(
        "tiling.qupath.export_glands.simplify_outlines",
        lambda shapes, **_: np.array([crossing] * len(shapes), object),
    )
    gland = np.zeros((20, 20), np.uint8)
    gland[5:12, 5:12] = 255
    collection, _ = exported(tmp_path, gland, simplify_um=1.0, bounds=(0, 0))
    assert shapely.from_geojson(json.dumps(collection["features"][0]["geometry"])).equals(
        shapely.box(10, 10, 24, 24)
    )


def test_ids_depend_on_the_slide_and_the_first_pixel_only(tmp_path: Path) -> None:
    one = [feature["id"] for feature in exported(tmp_path, random_gland_map())[0]["features"]]
    again = [
        feature["id"]
        for feature in exported(tmp_path, random_gland_map(), origin="slide", colour=(9, 9, 9))[0][
            "features"
        ]
    ]
    other = [
        feature["id"]
        for feature in exported(tmp_path, random_gland_map(), slide="t")[0]["features"]
    ]
    assert one == again
    assert not set(one) & set(other)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    exported(tmp_path, random_gland_map(), "a.geojson.gz")
    exported(tmp_path, random_gland_map(), "b.geojson.gz")
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    exported(tmp_path, random_gland_map(), "a.geojson")
    assert (
        gzip.decompress((tmp_path / "a.geojson.gz").read_bytes())
        == (tmp_path / "a.geojson").read_bytes()
    )


def test_a_slide_without_glands_gives_an_empty_collection_and_a_header(tmp_path: Path) -> None:
    collection, rows = exported(tmp_path, np.zeros((20, 20), np.uint8))
    assert collection["features"] == rows == []
    assert "area_um2" in (tmp_path / "g.csv").read_text()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999))
def test_exported_glands_read_back_are_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("r")
    gland = random_gland_map(seed, (50, 64))
    exported(folder, gland, d=1.0, bounds=(0, 0))
    Image.new("RGB", (64, 50)).save(folder / "s.png")
    assert read_annotations(folder / "g.geojson").glands == [], (
        "exported predictions must not be read as annotated glands"
    )
    assert (
        geojson_to_labels(folder / "g.geojson", folder / "s.png", folder / "l.tiff", objects="all")
        == []
    )
    labels = np.asarray(open_array(open_store(folder / "glands.zarr"), "labels")[...])
    np.testing.assert_array_equal(tifffile.imread(folder / "l.tiff"), labels)
    # A label image with any numbers is exported and read again.
    numbers = np.concatenate(
        [[0], np.random.default_rng(seed).permutation(5000)[: labels.max()] + 1]
    ).astype(np.uint16)
    tifffile.imwrite(folder / "n.tiff", numbers[labels], tile=(16, 16))
    assert labels_to_geojson(folder / "n.tiff", folder / "n.geojson.gz") == labels.max()
    geojson_to_labels(folder / "n.geojson.gz", folder / "s.png", folder / "l2.tiff")
    np.testing.assert_array_equal(tifffile.imread(folder / "l2.tiff"), labels)
    check_for_qupath(
        json.loads(gzip.decompress((folder / "n.geojson.gz").read_bytes())), "annotation"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.arange(192, dtype=np.uint8).reshape(8, 8, 3),  # a picture
        np.zeros((8, 8), np.float32),
        np.full((8, 8), -2, np.int16),
    ],
)
def test_images_that_hold_no_labels_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "x.tiff", values)
    with pytest.raises(AnnotationError, match="whole number"):
        labels_to_geojson(tmp_path / "x.tiff", tmp_path / "x.geojson")
    assert not (tmp_path / "x.geojson").exists()


GEOMETRY = Geometry.uniform(100, 100, mpp_um=0.5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), density=st.sampled_from([0.02, 0.4, 0.97]))
def test_measures_agree_with_sums_over_pixels(seed: int, density: float) -> None:
    from skimage.measure import perimeter_crofton

    inside = np.random.default_rng(seed).random((14, 17)) < density
    if not inside.any():
        return
    [area, perimeter, _, eccentricity, angle, _, lumen], [centre] = measure(
        np.array([trace_mask(inside)], object), GEOMETRY
    )
    assert area == pytest.approx(0.25 * inside.sum())
    parts, count = ndimage.label(inside)
    enclosed = np.any(
        [ndimage.binary_fill_holes(parts == part) for part in range(1, count + 1)], axis=0
    )
    assert lumen == pytest.approx(1 - inside.sum() / enclosed.sum())
    y, x = np.nonzero(inside)
    assert centre == pytest.approx([x.mean() + 0.5, y.mean() + 0.5])
    spread = np.cov(np.stack([x, -y]), bias=True) + np.eye(2) / 12 if len(x) > 1 else np.eye(2) / 12
    (minor, major), axes = np.linalg.eigh(spread)
    assert eccentricity**2 == pytest.approx(1 - minor / major, abs=1e-9)
    if major > minor * 1.01:
        angle_difference = math.radians(float(angle[0])) - math.atan2(axes[1, 1], axes[0, 1])
        assert math.sin(angle_difference) == pytest.approx(0, abs=1e-9)
    a, b, c, d = (
        np.pad(inside, 1)[rows, columns]
        for rows in (slice(1, None), slice(-1))
        for columns in (slice(1, None), slice(-1))
    )
    # Pixels that touch at a corner only: Crofton joins them, the outline separates them.
    touches_at_corner = (a & d & ~b & ~c) | (b & c & ~a & ~d)
    if not touches_at_corner.any():
        assert perimeter == pytest.approx(0.5 * perimeter_crofton(np.pad(inside, 1), directions=4))


def test_a_smooth_shape_has_its_true_perimeter_solidity_and_axes() -> None:
    y, x = np.mgrid[:400, :400] - 199.5
    disc = np.hypot(y, x) < 150
    turned = np.deg2rad(30)
    ellipse = ((x * np.cos(turned) - y * np.sin(turned)) / 180) ** 2 + (
        (x * np.sin(turned) + y * np.cos(turned)) / 60
    ) ** 2 < 1
    measured, _ = measure(
        np.array(
            [trace_mask(disc), trace_mask(ellipse), trace_mask(disc & (np.hypot(y, x) > 75))],
            object,
        ),
        GEOMETRY,
    )
    assert measured.perimeter_um[0] == pytest.approx(math.pi * 150, rel=0.01)
    assert measured.perimeter_um[2] == pytest.approx(math.pi * 225, rel=0.01)
    assert measured.solidity[:2] == pytest.approx(1, abs=0.02)
    assert measured.solidity[2] == pytest.approx(0.75, abs=0.01)
    assert measured.eccentricity[0] == pytest.approx(0, abs=0.05)
    assert measured.eccentricity[1] == pytest.approx(math.sqrt(1 - (60 / 180) ** 2), abs=0.001)
    assert measured.orientation_deg[1] == pytest.approx(30, abs=0.1), "anticlockwise on the slide"
    assert measured.holes.tolist() == [0, 0, 1]


@pytest.mark.parametrize("block_px", [7, 33, 200])
def test_means_over_objects_do_not_depend_on_blocks(block_px: int) -> None:
    rng = np.random.default_rng(1)
    labels, count = ndimage.label(rng.random((80, 90)) < 0.5)
    quantised = rng.integers(0, 256, (80, 90), np.uint8)
    [mean] = mean_probabilities(labels, [quantised], count, block_px=block_px)
    assert mean == pytest.approx(ndimage.mean(quantised, labels, np.arange(1, count + 1)) / 255)


def test_the_table_in_the_store_and_the_csv_agree(tmp_path: Path) -> None:
    _, rows = exported(tmp_path, random_gland_map(3, density=0.3))
    table = read_table(tmp_path / "glands.zarr", "objects", ("area_px", "touches_border"))
    assert [float(row["area_um2"]) for row in rows] == table["area_px"].tolist()
    assert [int(row["touches_border"]) for row in rows] == table["touches_border"].tolist()
    assert [int(row["label"]) for row in rows] == list(range(1, len(rows) + 1))


def test_docs_of_the_outputs_list_every_column_in_order(tmp_path: Path) -> None:
    collection, rows = exported(tmp_path, random_gland_map())
    text = (Path(__file__).parents[3] / "docs" / "outputs.md").read_text().split("\n## ")[1]
    lines = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")][1:]
    named = [name.strip() for line in lines for name in line.split(",")]
    assert named == list(rows[0])
    measured = {name.replace("_", " ") for name in named} - {
        "id",
        "label",
        "centroid x level0",
        "centroid y level0",
    }
    assert set(collection["features"][0]["properties"]["measurements"]) == measured


@pytest.mark.parametrize("density", [0.52, 0.8])
def test_smoothed_outlines_follow_the_rules_of_qupath_and_cover_the_same_pixels(
    tmp_path: Path, density: float
) -> None:
    noise = ndimage.gaussian_filter(random_gland_map(3, density=density).astype(float), 2)
    gland = np.where(noise > 255 * density * 0.8, 255, 0).astype(np.uint8)
    exact, rows = exported(tmp_path, gland)
    shutil.rmtree(tmp_path / "maps.zarr")
    shutil.rmtree(tmp_path / "glands.zarr")
    smooth, rows_again = exported(tmp_path, gland, "smooth.geojson", smooth_um=0.4)
    check_for_qupath(smooth, "detection")
    assert rows_again == rows, "measurements are those of the exact outlines"
    assert smooth["features"] != exact["features"]
    for before, after in zip(exact["features"], smooth["features"], strict=True):
        a, b = (shapely.geometry.shape(one["geometry"]) for one in (before, after))
        assert b.area == pytest.approx(a.area, rel=0.01)
        # 0.4 um are 0.8 level-0 pixels; rounding adds at most 0.01.
        assert shapely.hausdorff_distance(a, b) <= 0.8 + 0.01


def test_labels_to_geojson_writes_exact_pixel_edges(tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[(np.mgrid[:40, :40] - 20).__pow__(2).sum(axis=0) < 150] = 1
    Image.fromarray(labels).save(tmp_path / "labels.png")
    labels_to_geojson(tmp_path / "labels.png", tmp_path / "out.geojson")
    [feature] = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).area == labels.sum()
