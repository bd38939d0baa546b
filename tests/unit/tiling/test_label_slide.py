"""Outlines on the grid of a slide: a pixel belongs to the outline that contains its centre."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile
from example_stores import tile_attributes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from tiling.objects.components import BlockGrid
from tiling.outlines import outline_raster
from tiling.outlines.outline_raster import OutlineRaster, to_stored_px
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.qupath.label_slide import label_slide
from tiling.qupath.level0_labels import geojson_to_labels
from tiling.qupath.mask_images import open_instance_mask
from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError, SlideError
from tiling.stores.arrays import create_array, create_group, open_array, open_store
from tiling.stores.attributes import geometry_of, record_failure, stored_json
from tiling.stores.manifest import seal_store

HEIGHT, WIDTH = 60, 80


def geometry(
    height: int = HEIGHT, width: int = WIDTH, d: float = 2.0, bounds: tuple[int, int] = (0, 0)
) -> Geometry:
    return Geometry.uniform(width, height, downsample=d, bounds_xy=bounds)


def tiles_of(path: Path, frame: Geometry) -> Path:
    """A tile store of a slide that is tissue everywhere."""
    group = create_group(path)
    shape = (-(-frame.height_px // 8), -(-frame.width_px // 8))
    create_array(group, "tissue", shape, np.uint8)[...] = 1
    tile_attributes(frame, fingerprint="f").write(group)
    seal_store(path)
    return path


def box(
    left: float, top: float, right: float, bottom: float, kind: str = "Gland", /, **properties: Any
) -> dict[str, Any]:
    return shape_of(shapely.box(left, top, right, bottom), kind, **properties)


def shape_of(shape: Any, kind: str = "Gland", /, **properties: Any) -> dict[str, Any]:
    all_properties = {"objectType": "annotation", "classification": {"name": kind}, **properties}
    geometry = shapely.geometry.mapping(shape)
    return {"type": "Feature", "geometry": geometry, "properties": all_properties}


def labelled(
    tmp_path: Path,
    features: list[dict[str, Any]] | Path,
    frame: Geometry | None = None,
    **options: Any,
) -> Path:
    annotation = tmp_path / "a.geojson"
    if isinstance(features, Path):
        annotation = features
    else:
        annotation.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    tiles, store = tiles_of(tmp_path / "tiles.zarr", frame or geometry()), tmp_path / "labels.zarr"
    rules = ReadingRules(**{"annotated": "regions", "origin": "bounds", **options})
    label_slide(AnnotationFile(annotation, rules), tiles, store, slide="s", code_version=1)
    return store


def arrays(store: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(
        np.asarray(open_array(open_store(store), name)[...])
        for name in ("labels", "weight", "region")
    )  # type: ignore[return-value]


def test_regions_glands_and_ignored_areas_have_the_pixels_of_their_outlines(tmp_path: Path) -> None:
    features = [
        box(20, 20, 100, 80, "Region*", name="A"),
        box(30, 30, 50, 50),
        box(90, 30, 120, 50),
        box(140, 100, 150, 110),
        box(60, 60, 70, 70, "Ignore*"),
    ]
    store = labelled(tmp_path, features)
    labels, weight, region = arrays(store)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[15:25, 15:25], expected[15:25, 45:60], expected[50:55, 70:75] = 1, 2, 3
    np.testing.assert_array_equal(labels, expected)
    inside = np.zeros((HEIGHT, WIDTH), int)
    inside[10:40, 10:50] = 1
    np.testing.assert_array_equal(region, inside)
    inside[30:35, 30:35] = 0
    np.testing.assert_array_equal(weight, inside)
    values = stored_json(store)
    assert values["regions"] == [{"name": "A", "window": [10, 10, 30, 40]}]
    assert values["counts"] == {
        "annotated_px": 1175,
        "gland_px": 150,
        "glands": 2,
        "glands_outside": 1,
    }
    assert (labels.dtype, weight.dtype, region.dtype) == (np.int32, np.uint8, np.uint16)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    d=st.sampled_from([1.0, 2.0, 3.0, 1.37]),
    block_px=st.integers(3, 40),
)
def test_a_pixel_belongs_to_the_smallest_outline_that_contains_its_centre(
    seed: int, d: float, block_px: int
) -> None:
    rng = np.random.default_rng(seed)
    shapes = [shapely.Polygon(rng.uniform(-5, 35 * d, (5, 2))).convex_hull for _ in range(6)]
    shapes[0] = (
        shapes[0].difference(shapely.affinity.scale(shapes[0], 0.5, 0.5))
        if shapes[0].area
        else shapes[0]
    )
    stored = [to_stored_px(shape, geometry(d=d), (3, 4)) for shape in shapes]
    raster, whole = OutlineRaster(stored), np.zeros((30, 32), int)
    centres = shapely.points(
        *((np.mgrid[:30, :32][::-1] + 0.5) * d - np.array([3, 4])[:, None, None])
    )
    for index in sorted(range(len(shapes)), key=lambda index: -stored[index].area):
        whole[shapely.contains(shapes[index], centres)] = index + 1
    result = np.zeros_like(whole)
    for y in range(0, 30, block_px):
        for x in range(0, 32, block_px):
            block = (slice(y, min(y + block_px, 30)), slice(x, min(x + block_px, 32)))
            result[block] = raster[block]
    is_near_an_edge = (
        shapely.distance(shapely.union_all([shape.boundary for shape in shapes]), centres)
        < 1e-6 * d
    )
    np.testing.assert_array_equal(result[~is_near_an_edge], whole[~is_near_an_edge])


@pytest.mark.parametrize(("origin", "shift"), [("bounds", 10), ("slide", 0)])
def test_the_offset_of_the_viewer_is_added(tmp_path: Path, origin: str, shift: int) -> None:
    store = labelled(
        tmp_path,
        [box(0, 0, 40, 40, "Region*"), box(0, 0, 20, 20)],
        geometry(bounds=(20, 20)),
        origin=origin,
    )
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[shift : shift + 10, shift : shift + 10] = 1
    np.testing.assert_array_equal(arrays(store)[0], expected)


def test_a_whole_slide_is_one_region_inside_the_viewer(tmp_path: Path) -> None:
    store = labelled(
        tmp_path,
        [box(0, 0, 20, 20), box(40, 40, 50, 50, "Ignore*")],
        geometry(bounds=(20, 10)),
        annotated="whole",
    )
    _, weight, region = arrays(store)
    inside = np.zeros((HEIGHT, WIDTH), int)
    inside[5:, 10:] = 1
    np.testing.assert_array_equal(region, inside)
    inside[25:30, 30:35] = 0
    np.testing.assert_array_equal(weight, inside)
    assert stored_json(store)["regions"] == [{"name": "whole", "window": [5, 10, 55, 70]}]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([box(0, 0, 20, 20)], "no area of class 'Region"),
        ([box(0, 0, 20, 20, "Region*")], "a region that has no gland has the class"),
        (
            [box(1000, 1000, 1100, 1100, "Region*"), box(1000, 1000, 1020, 1020)],
            "check the file, its origin, and the level it was drawn at",
        ),
        (
            [box(0, 0, 20, 20, "Region*"), box(0, 0, 10, 10), box(0, 0, 20, 20, "Ignore*")],
            r"no annotated pixel is left.*; move a region onto the slide, or make `Ignore\*`",
        ),
    ],
)
def test_an_unusable_annotation_is_recorded_not_raised(
    tmp_path: Path, features: list[dict[str, Any]], message: str
) -> None:
    store = labelled(tmp_path, features)
    assert stored_json(store)["status"] == "failed"
    with pytest.raises(SlideError, match=message):
        geometry_of(store)
    assert not (store.parent / "labels.zarr.partial").exists()


def test_an_unusable_annotation_that_is_required_is_raised(tmp_path: Path) -> None:
    annotation, tiles = tmp_path / "a.geojson", tiles_of(tmp_path / "tiles.zarr", geometry())
    annotation.write_text(json.dumps([box(0, 0, 20, 20)]))
    file, store = AnnotationFile(annotation, ReadingRules("regions", "bounds")), tmp_path / "l.zarr"
    with pytest.raises(AnnotationError, match="no area of class 'Region"):
        label_slide(file, tiles, store, slide="s", required=True, code_version=1)
    assert not store.exists()


def test_the_error_of_a_failed_slide_is_recorded_again(tmp_path: Path) -> None:
    record_failure(tmp_path / "t.zarr", SlideError("no pixel size"), {})
    annotation = AnnotationFile(tmp_path / "no.geojson", ReadingRules("whole", "slide"))
    label_slide(
        annotation,
        tmp_path / "t.zarr",
        tmp_path / "l.zarr",
        slide="s",
        required=True,
        code_version=1,
    )
    assert stored_json(tmp_path / "l.zarr")["error"] == "no pixel size"


def test_overlaps_covered_glands_and_clipped_outlines_are_reported(tmp_path: Path) -> None:
    features = [
        box(0, 0, 160, 120, "Region*"),
        box(20, 20, 40, 40),
        box(20, 20, 30, 40),
        box(30, 20, 40, 40),
        box(150, 100, 180, 110),
        box(60, 60, 60.5, 60.5),
    ]
    store = labelled(tmp_path, features)
    labels, messages = arrays(store)[0], "\n".join(stored_json(store)["messages"])
    assert sorted(np.unique(labels)) == [0, 1, 2, 3], "numbers without gaps"
    assert (labels[10:20, 10:15] == 1).all()
    assert (labels[10:20, 15:20] == 2).all()
    assert "2 pairs of glands overlap, by up to 50 px" in messages
    assert "2 glands without a pixel" in messages
    assert "1 outlines reach over the slide's edge" in messages


def test_regions_in_regions_and_glands_across_their_edges_are_reported(tmp_path: Path) -> None:
    features = [
        box(0, 0, 80, 80, "Region*", name="outer"),
        box(40, 40, 60, 60, "Region*", name="inner"),
        box(50, 50, 90, 90),
    ]
    store = labelled(tmp_path, features)
    _, weight, region = arrays(store)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:40, :40], expected[20:30, 20:30] = 1, 2
    np.testing.assert_array_equal(region, expected)
    np.testing.assert_array_equal(weight, expected > 0)
    messages = "\n".join(stored_json(store)["messages"])
    assert "1 pairs of regions overlap, by up to 100 px; " in messages
    assert "1 gland across the edge of a region" in messages


def test_the_place_of_a_refused_outline_is_neither_gland_nor_background(tmp_path: Path) -> None:
    bowtie = {
        **box(0, 0, 1, 1),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[20, 20], [40, 40], [40, 20], [20, 40], [20, 20]]],
        },
    }
    store = labelled(tmp_path, [box(0, 0, 80, 80, "Region*"), box(50, 50, 60, 60), bowtie])
    labels, weight, _ = arrays(store)
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:40, :40], expected[10:20, 10:20] = 1, 0
    np.testing.assert_array_equal(weight, expected)
    assert not labels[10:20, 10:20].any()
    assert any("crosses itself" in message for message in stored_json(store)["messages"])


def test_a_file_written_for_another_slide_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.geojson"
    features = [box(0, 0, 40, 40, "Region*"), box(0, 0, 20, 20)]
    path.write_text(
        json.dumps(
            {"type": "FeatureCollection", "viewer": {"width": 7, "height": 8}, "features": features}
        )
    )
    with pytest.raises(SlideError, match="written for a slide of 7 x 8 px"):
        geometry_of(labelled(tmp_path, path))


def mask_file(path: Path, values: np.ndarray, tile: bool = True) -> Path:
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values, tile=(16, 16) if tile else None, compression="zlib")
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("d", [1.0, 2.0, 2.5])
def test_a_mask_image_is_sampled_under_the_pixel_centres(
    tmp_path: Path, suffix: str, d: float
) -> None:
    frame = geometry(d=d)
    values = (
        np.random.default_rng(0)
        .choice([0, 3, 7, 200], (frame.slide_height_px, frame.slide_width_px))
        .astype(np.uint8)
    )
    store = labelled(
        tmp_path, mask_file(tmp_path / f"m{suffix}", values, tile=suffix == ".tif"), frame
    )
    y, x = ((np.arange(n) + 0.5) * d for n in (HEIGHT, WIDTH))
    picked = values[np.ix_(y.astype(int), x.astype(int))]
    labels, weight, region = arrays(store)
    np.testing.assert_array_equal(labels, np.searchsorted([0, 3, 7, 200], picked))
    assert weight.all()
    assert (region == 1).all()
    assert stored_json(store)["regions"] == [{"name": "whole", "window": [0, 0, HEIGHT, WIDTH]}]


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999), dense=st.sampled_from([0.2, 0.45, 0.7]), block_px=st.integers(4, 70)
)
def test_components_of_a_binary_mask_do_not_depend_on_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dense: float, block_px: int
) -> None:
    values = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < dense).astype(np.uint8) * 255
    path = mask_file(tmp_path_factory.mktemp("m") / "m.tif", values)
    result = np.zeros((HEIGHT, WIDTH), int)
    with open_instance_mask(path, geometry(d=1.0), block_px=block_px) as mask:
        for block in BlockGrid((HEIGHT, WIDTH), block_px).blocks:
            result[block] = mask[block]
    expected, count = ndimage.label(values, np.ones((3, 3)))
    assert mask.count == count == result.max()
    pairs = {(int(a), int(b)) for a, b in zip(result.ravel(), expected.ravel(), strict=True)}
    assert len(pairs) == count + (values == 0).any(), "one to one"
    numbers, first = np.unique(result, return_index=True)
    assert (np.diff(first[numbers > 0]) > 0).all()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.tif", np.zeros((10, 10), np.uint8), "10 x 10 px, but the slide has 160 x 120"),
        ("a.tif", np.eye(3, dtype=np.uint8)[np.ones((HEIGHT, WIDTH), int)], "not an instance mask"),
        ("a.tif", np.zeros((HEIGHT, WIDTH), np.float32), "not an instance mask"),
        ("a.tif", np.full((HEIGHT, WIDTH), -1, np.int16), "negative numbers"),
        ("a.png", np.eye(3, dtype=np.uint8)[np.ones((HEIGHT, WIDTH), int)], "not an instance mask"),
    ],
)
def test_other_images_are_refused(
    tmp_path: Path, name: str, values: np.ndarray, message: str
) -> None:
    with (
        pytest.raises(AnnotationError, match=message),
        open_instance_mask(mask_file(tmp_path / name, values, tile=False), geometry()),
    ):
        pass


@pytest.mark.parametrize("block_px", [7, 64, 1024])
def test_a_mask_with_resampled_edges_is_refused_whatever_the_blocks(
    tmp_path: Path, block_px: int
) -> None:
    small = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    small[10:30, 12:50] = 255
    resized = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    path = mask_file(tmp_path / "m.tif", np.asarray(resized))
    with (
        pytest.raises(AnnotationError, match=r"m\.tif.*resized or saved with losses"),
        open_instance_mask(path, geometry(d=1.0), block_px=block_px),
    ):
        pass


@pytest.mark.parametrize("block_px", [7, 64, 1024])
def test_a_mask_of_classes_is_refused_whatever_the_blocks(tmp_path: Path, block_px: int) -> None:
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    for index in range(4):
        classes[5:50, 4 + 19 * index : 16 + 19 * index] = 1 + index % 2
    path = mask_file(tmp_path / "m.tif", classes)
    with (
        pytest.raises(AnnotationError, match="2 of its 2 numbers have several pieces"),
        open_instance_mask(path, geometry(d=1.0), block_px=block_px),
    ):
        pass
    classes[:, 16:41] = np.where(classes[:, 16:41], 7, 0)
    classes[:, 61:] = np.where(classes[:, 61:], 9, 0)
    path = mask_file(tmp_path / "m.tif", classes)
    with open_instance_mask(path, geometry(d=1.0), block_px=block_px) as mask:
        assert mask.count == 3
        assert "1 numbers of several pieces (1: 2 pieces)" in mask.messages[0]


def test_the_content_of_a_file_says_that_it_is_a_mask(tmp_path: Path) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[10:30, 10:50] = 255
    jpeg, png = tmp_path / "a.geojson", tmp_path / "b.geojson"
    Image.fromarray(values).save(jpeg, "JPEG", quality=30)
    Image.fromarray(np.stack([values, np.full_like(values, 255)], 2)).save(png, "PNG")
    failed = stored_json(labelled(tmp_path, jpeg))
    assert failed["status"] == "failed"
    assert "saved with losses" in failed["error"]
    labels, _, _ = arrays(labelled(tmp_path, png))
    np.testing.assert_array_equal(labels, values > 0)


@pytest.mark.parametrize("name", ["a.geojson", "a.png"])
def test_a_pipe_as_annotation_is_recorded_and_does_not_wait(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    failed = stored_json(labelled(tmp_path, tmp_path / name))
    assert failed["status"] == "failed"
    assert "a pipe or a device" in failed["error"]


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_truncated_mask_fails_its_slide_only(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    path = mask_file(tmp_path / name, values)
    path.write_bytes(path.read_bytes()[:-2500])
    assert stored_json(labelled(tmp_path, path))["status"] == "failed"


def test_geojson_becomes_labels_at_level_0(tmp_path: Path) -> None:
    slide, annotation, out = tmp_path / "s.png", tmp_path / "a.geojson", tmp_path / "out.tiff"
    Image.new("RGB", (70, 50)).save(slide)
    features = [
        box(10, 10, 20, 20),
        box(60, 40, 90, 45),
        box(30, 30, 40, 40, objectType="detection"),
    ]
    annotation.write_text(json.dumps(features))
    messages = geojson_to_labels(annotation, slide, out)
    expected = np.zeros((50, 70), np.int32)
    expected[10:20, 10:20], expected[40:45, 60:70] = 1, 2
    result = tifffile.imread(out)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.int32
    assert any("reach over" in message for message in messages)
    assert any("1 detections" in message for message in messages)
    geojson_to_labels(annotation, slide, out, objects="all")
    assert tifffile.imread(out)[35, 35] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"s.png", "a.geojson", "out.tiff"}


def test_of_many_outlines_on_each_other_the_first_pairs_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outline_raster, "_MIN_MEASURED_POINTS", 1000)
    squares = [shapely.box(0, 0, 9 + index / 1000, 9) for index in range(100)]
    overlaps = OutlineRaster(squares).overlaps()
    assert not overlaps.is_complete
    assert overlaps.pairs == (1000 + 20 * 500) // 10  # two squares have ten points
    assert overlaps.text("glands").startswith(f"at least {overlaps.pairs} pairs of glands overlap")
    assert OutlineRaster(squares[:3]).overlaps()[::2] == (3, True)
