import io
import json
import os
import zipfile
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import shapely
import tifffile
from example_stores import tile_attributes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiling.qupath.tissue_outlines import tissue_to_geojson
from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.manifest import seal_store
from tiling.tissue.mask_files import MaskFiles, mask_from_file


def frame(width=60, height=40, downsample=8.0, bounds=(0, 0)):
    return Geometry.uniform(width, height, downsample=downsample, mpp_um=8.0, bounds_xy=bounds)


def write(path, *polygons):
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(polygon))}
        for polygon in polygons
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def star(points, centre=160.0, radius=150.0):
    angle = np.arange(points) * (points // 2) * 2 * np.pi / points
    x, y = centre + radius * np.cos(angle), centre + radius * np.sin(angle)
    return shapely.Polygon(np.stack([x, y], axis=1))


def centres_inside(polygon, geometry, shift=(0, 0)):
    """Oracle: pixels whose centre lies in the polygon (x, y in level-0 pixels)."""
    x = (np.arange(geometry.width_px) + 0.5) * geometry.downsample_x - shift[0]
    y = (np.arange(geometry.height_px) + 0.5) * geometry.downsample_y - shift[1]
    return shapely.contains_xy(polygon, *np.meshgrid(x, y))


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 1000),
    st.sampled_from([8.0, 5.5, 1.0]),
    st.sampled_from([(0, 0), (37, 101)]),
    st.sampled_from(["bounds", "slide"]),
)
def test_polygons_mark_the_pixels_whose_centre_they_hold(
    tmp_path_factory, seed, downsample, bounds, origin
):
    geometry = frame(downsample=downsample, bounds=bounds)
    shift = bounds if origin == "bounds" else (0, 0)
    side_px = (geometry.slide_width_px, geometry.slide_height_px)
    points = np.random.default_rng(seed).random((6, 2)) * side_px - shift
    polygon = shapely.convex_hull(shapely.MultiPoint(points))
    path = write(tmp_path_factory.mktemp("g") / "roi.geojson", polygon)
    expected = centres_inside(polygon, geometry, shift)
    np.testing.assert_array_equal(mask_from_file(path, geometry, origin=origin), expected)


def test_holes_and_several_polygons_are_kept(tmp_path):
    ring = shapely.Point(150, 150).buffer(100).difference(shapely.Point(150, 150).buffer(40))
    box = shapely.box(300, 200, 400, 300)
    mask = mask_from_file(write(tmp_path / "roi.geojson", ring, box), frame(), origin="slide")
    np.testing.assert_array_equal(
        mask, centres_inside(ring, frame()) | centres_inside(box, frame())
    )


@pytest.mark.parametrize("wrapper", ["list", "feature", "geometry"])
def test_geojson_without_a_feature_collection_is_read(tmp_path, wrapper):
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [80, 0], [80, 80], [0, 80], [0, 0]]]}
    feature = {"type": "Feature", "geometry": geometry}
    (tmp_path / "roi.json").write_text(
        json.dumps({"list": [feature], "feature": feature, "geometry": geometry}[wrapper])
    )
    mask = mask_from_file(tmp_path / "roi.json", frame(), origin="slide")
    assert mask[:10, :10].all()
    assert mask.sum() == 100


def test_mask_image_is_stretched_over_the_slide(tmp_path):
    picture = np.zeros((20, 30), np.uint8)
    picture[5:10, 12:] = 255
    PIL.Image.fromarray(picture).save(tmp_path / "m.png")
    mask = mask_from_file(tmp_path / "m.png", frame(), origin="bounds")
    np.testing.assert_array_equal(mask, np.kron(picture, np.ones((2, 2))) > 0)


def test_mask_image_with_other_proportions_is_refused(tmp_path):
    PIL.Image.fromarray(np.zeros((30, 20), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(
        SlideError,
        match=r"m\.png: 20 x 30 px does not have the proportions of the slide.*at any scale",
    ):
        mask_from_file(tmp_path / "m.png", frame(), origin="bounds")


def test_a_mask_image_that_needs_more_memory_than_the_job_has_is_refused(tmp_path):
    tifffile.memmap(tmp_path / "m.tif", shape=(11_600, 11_600), dtype=np.uint8)
    with pytest.raises(SlideError, match=r"11600 x 11600 px are too many for a mask.*128 MiB"):
        mask_from_file(tmp_path / "m.tif", frame(), origin="bounds")


@pytest.mark.parametrize("keep", [10, 60])
def test_a_truncated_mask_image_fails_the_slide_not_the_job(tmp_path, keep):
    complete = tmp_path / "complete.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 2, (40, 60), np.uint8)).save(complete)
    (tmp_path / "m.png").write_bytes(complete.read_bytes()[:keep])
    with pytest.raises(SlideError, match=r"m\.png: cannot be read as a mask image"):
        mask_from_file(tmp_path / "m.png", frame(), origin="bounds")


def test_points_are_not_an_area(tmp_path):
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "Point", "coordinates": [1, 2]}))
    with pytest.raises(SlideError, match="no polygon in it"):
        mask_from_file(tmp_path / "roi.geojson", frame(), origin="bounds")


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 1000),
    st.sampled_from([2.0, 2.75]),
    st.sampled_from([(0, 0), (16, 24)]),
    st.sampled_from(["bounds", "slide"]),
)
def test_tissue_written_for_qupath_and_read_back_is_the_same_mask(
    tmp_path_factory, seed, downsample, bounds, origin
):
    folder = tmp_path_factory.mktemp("t")
    mask = ndimage.binary_dilation(
        np.random.default_rng(seed).random((40, 60)) < 0.02, iterations=2
    )
    fine = replace(frame(240, 160, downsample, bounds), mpp_x=2.0, mpp_y=2.0)
    group = create_group(folder / "s.zarr")
    create_array(group, "tissue", mask.shape, np.uint8)[...] = mask
    tile_attributes(fine, tissue_stride_px=4).write(group)
    seal_store(folder / "s.zarr")
    count = tissue_to_geojson(folder / "s.zarr", folder / "t.geojson", origin=origin)
    features = json.loads((folder / "t.geojson").read_text())["features"]
    assert count == len(features) == ndimage.label(mask)[1]
    assert all(shapely.geometry.shape(feature["geometry"]).is_valid for feature in features)
    coarse = replace(
        fine, width_px=60, height_px=40, downsample_x=4 * downsample, downsample_y=4 * downsample
    )
    np.testing.assert_array_equal(mask_from_file(folder / "t.geojson", coarse, origin=origin), mask)


CASES = {
    "off_slide": (shapely.box(5000, 5000, 7000, 7000), "100 % of the outlined area lies off"),
    "bowtie": (shapely.Polygon([(10, 10), (90, 90), (90, 10), (10, 90)]), "crosses itself"),
    "between_centres": (shapely.box(10.1, 10.1, 11, 11), "no pixel of the slide is inside"),
    "star": (star(2001), "too many lines"),
}


@pytest.mark.parametrize(("polygon", "message"), CASES.values(), ids=CASES)
def test_geojson_that_would_give_another_tissue_is_refused(tmp_path, polygon, message):
    with pytest.raises(SlideError, match=message):
        mask_from_file(write(tmp_path / "t.geojson", polygon), frame(), origin="slide")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "Polygon", "coordinates": [[[0, 0], [NaN, 1], [1, 1]]]}', "not a place"),
        ("[" * 600 + "]" * 600, "nested too deeply"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1' + "0" * 400 + ", 1], [1, 1]]]}", "401"),
        ('{"type": ["Polygon"], "coordinates": []}', "no GeoJSON feature"),
        ("", "empty"),
        ("<x/>", "XML"),
    ],
)
def test_hostile_tissue_files_fail_the_slide_not_the_job(tmp_path, text, message):
    (tmp_path / "t.geojson").write_text(text)
    with pytest.raises(SlideError, match=message):
        mask_from_file(tmp_path / "t.geojson", frame(), origin="slide", column="roi")


def test_a_pipe_as_mask_is_refused_and_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "t.geojson")
    with pytest.raises(SlideError, match=r"a pipe or a device.*column 'roi'"):
        mask_from_file(tmp_path / "t.geojson", frame(), origin="slide", column="roi")
    with pytest.raises(SlideError, match="a pipe or a device"):
        MaskFiles(tissue=tmp_path / "t.geojson").checksums()


def test_open_rings_and_outlines_over_the_edge_are_repaired_with_a_message(tmp_path, caplog):
    ring = [[0, 0], [80, 0], [80, 80], [0, 80]]
    area = {"type": "Polygon", "coordinates": [ring]}
    over_edge = {"type": "Polygon", "coordinates": [[[400, 0], [500, 0], [500, 80], [400, 80]]]}
    point = {"type": "Point", "coordinates": [1, 1]}
    (tmp_path / "t.zip").write_bytes(zipped([area, over_edge, point]))
    mask = mask_from_file(tmp_path / "t.zip", frame(), origin="slide")
    assert mask.sum() == 200
    messages = "\n".join(caplog.messages)
    for part in ("open outline closed", "over the slide's edge", "1 object without area"):
        assert part in messages


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.geojson", json.dumps(content))
    return buffer.getvalue()


INSIDE = np.zeros((20, 30), np.uint8)
INSIDE[5:10, 12:] = 255
OPAQUE, CLEAR = np.full_like(INSIDE, 255), np.where(INSIDE > 0, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("channels", "suffix"),
    [
        ((INSIDE, OPAQUE), "png"),
        ((INSIDE, INSIDE, INSIDE, OPAQUE), "png"),
        ((INSIDE, 0 * INSIDE, 0 * INSIDE), "png"),
        ((INSIDE, INSIDE, INSIDE, OPAQUE), "tif"),
        ((INSIDE, CLEAR), "png"),
    ],
)
def test_an_alpha_channel_is_not_tissue(tmp_path, channels, suffix):
    PIL.Image.fromarray(np.stack(channels, axis=-1)).save(tmp_path / f"m.{suffix}")
    mask = mask_from_file(tmp_path / f"m.{suffix}", frame(), origin="bounds")
    np.testing.assert_array_equal(mask, np.kron(INSIDE, np.ones((2, 2))) > 0)


def test_a_palette_is_read_as_its_colours(tmp_path):
    image = PIL.Image.fromarray((INSIDE == 0).astype(np.uint8), "L").convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "m.png")
    mask = mask_from_file(tmp_path / "m.png", frame(), origin="bounds")
    np.testing.assert_array_equal(mask, np.kron(INSIDE, np.ones((2, 2))) > 0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.stack([OPAQUE, CLEAR], axis=-1), "transparent pixels have a colour"),
        (np.stack([0 * INSIDE, CLEAR], axis=-1), "the mask in its alpha channel"),
        (0 * INSIDE, "no pixel of the slide is inside"),
        (np.arange(600, dtype=np.uint8).reshape(20, 30) % 31, "saved with losses"),
    ],
)
def test_mask_images_of_two_meanings_are_refused(tmp_path, pixels, message):
    PIL.Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(SlideError, match=message):
        mask_from_file(tmp_path / "m.png", frame(), origin="bounds")


def test_an_image_without_pixels_is_refused(tmp_path):
    PIL.Image.fromarray(INSIDE).save(tmp_path / "m.tif")
    content = bytearray((tmp_path / "m.tif").read_bytes())
    width_tag = content.index(b"\x00\x01\x04\x00\x01\x00\x00\x00")
    content[width_tag + 8 : width_tag + 12] = bytes(4)
    (tmp_path / "m.tif").write_bytes(content)
    with pytest.raises(SlideError, match="no pixels"):
        mask_from_file(tmp_path / "m.tif", frame(), origin="bounds")


def test_a_region_of_interest_without_tissue_is_refused(tmp_path):
    tissue = np.zeros((40, 60), bool)
    tissue[:10] = True
    roi = write(tmp_path / "roi.geojson", shapely.box(0, 160, 480, 320))
    with pytest.raises(SlideError, match="no tissue in this region of interest"):
        MaskFiles(roi=roi, origin="slide").apply(tissue, frame())
    assert not MaskFiles(roi=roi, origin="slide").apply(tissue & False, frame()).any()


def test_a_mask_whose_header_claims_more_tiles_than_it_lists_is_refused(tmp_path) -> None:
    path = tmp_path / "tissue.tiff"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8), tile=(32, 32), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(800_000)
    with pytest.raises(SlideError, match="claims 50000 tiles, it lists 4"):
        mask_from_file(path, Geometry.uniform(60, 50), origin="slide")
