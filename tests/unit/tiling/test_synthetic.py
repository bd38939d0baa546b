import hashlib
import json
import uuid
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from colour_scores import at_two_um, best_by_colour
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import box, shape

from tiling.synthetic import DEMO_SLIDES, SyntheticSettings, make_demo_slide, make_slide
from tiling.synthetic.section_plan import plan_section
from tiling.synthetic.smooth_noise import smooth_noise
from tiling.synthetic.synthetic_annotation import choose_regions

pytestmark = pytest.mark.xdist_group("synthetic_slides")

WIDTH, HEIGHT = 2802, 1803


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small slides: one with regions, one on which every gland is outlined."""
    out = tmp_path_factory.mktemp("synthetic")
    for name, regions, pen in (("regions", 2, False), ("whole", None, True)):
        settings = SyntheticSettings(
            slide=name, seed=5, width_px=WIDTH, height_px=HEIGHT, regions=regions, pen=pen
        )
        make_slide(
            settings,
            out / f"{name}.tiff",
            annotation=out / f"{name}.geojson",
            truth=out / f"{name}_truth.tiff",
        )
    return out


def features(path: Path, name: str):
    collection = json.loads(path.read_text())
    return [f for f in collection["features"] if f["properties"]["classification"]["name"] == name]


def test_openslide_reads_levels_and_pixel_size(folder):
    with openslide.OpenSlide(folder / "regions.tiff") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.dimensions == (WIDTH, HEIGHT)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        assert slide.level_dimensions == ((2802, 1803), (1401, 902), (701, 451))


def test_no_temporary_files_remain(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{end}"
        for name in ("regions", "whole")
        for end in (".tiff", ".geojson", "_truth.tiff")
    )


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    digests = []
    for number, seed in enumerate((1, 1, 2)):
        paths = [tmp_path / f"{number}{end}" for end in (".tiff", ".geojson", "_truth.tiff")]
        settings = SyntheticSettings(slide="s", seed=seed, width_px=1001, height_px=1002, pen=True)
        make_slide(settings, paths[0], annotation=paths[1], truth=paths[2])
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    assert digests[0] == digests[1]
    assert all(a != b for a, b in zip(digests[0], digests[2], strict=True))


def test_whole_annotation_is_the_truth_mask(folder):
    truth = tifffile.imread(folder / "whole_truth.tiff")
    assert truth.shape == (HEIGHT, WIDTH)
    outlines = [shape(f["geometry"]) for f in features(folder / "whole.geojson", "Gland")]
    drawn = rasterize(
        [(outline, i + 1) for i, outline in enumerate(outlines)],
        out_shape=truth.shape,
        dtype="int32",
    )
    assert len(outlines) == truth.max() > 4
    np.testing.assert_array_equal(drawn, truth)
    assert [outline.area for outline in outlines] == np.bincount(truth.ravel())[1:].tolist()
    assert not features(folder / "whole.geojson", "Region*")


def test_each_gland_is_one_solid_piece_with_a_valid_outline(folder):
    truth = tifffile.imread(folder / "whole_truth.tiff")
    for number, window in enumerate(ndimage.find_objects(truth), start=1):
        body = np.pad(truth[window] == number, 1)
        assert ndimage.label(body)[1] == 1
        assert ndimage.label(~body, np.ones((3, 3)))[1] == 1
    assert all(shape(f["geometry"]).is_valid for f in features(folder / "whole.geojson", "Gland"))


def test_features_look_like_an_export_of_qupath(folder):
    for feature in json.loads((folder / "regions.geojson").read_text())["features"]:
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        assert feature["properties"]["objectType"] == "annotation"
        assert len(feature["properties"]["classification"]["color"]) == 3
        assert feature["geometry"]["coordinates"][0][0] == feature["geometry"]["coordinates"][0][-1]


def test_glands_that_overlap_a_region_are_outlined_completely(folder):
    truth = tifffile.imread(folder / "regions_truth.tiff")
    path = folder / "regions.geojson"
    regions = [shape(f["geometry"]) for f in features(path, "Region*")]
    assert len(regions) == 2
    assert regions[0].disjoint(regions[1])
    expected = set()
    for region in regions:
        left, top, right, bottom = map(int, region.bounds)
        assert box(*region.bounds).equals(region)
        assert 1000 <= right - left <= 1400
        assert 1000 <= bottom - top <= 1400
        expected |= set(np.unique(truth[top:bottom, left:right]).tolist()) - {0}
    areas = sorted(shape(f["geometry"]).area for f in features(path, "Gland"))
    assert areas == sorted(np.bincount(truth.ravel())[sorted(expected)].tolist())
    (ignored,) = features(path, "Ignore*")
    assert regions[-1].contains(shape(ignored["geometry"]))


def test_regions_do_not_change_the_tissue(folder):
    np.testing.assert_array_equal(
        tifffile.imread(folder / "regions_truth.tiff"), tifffile.imread(folder / "whole_truth.tiff")
    )


def test_neighbouring_glands_are_at_least_six_um_apart():
    plan = plan_section((900, 1000), np.random.default_rng(2), tissue_share=0.6)
    nearest = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(plan.labels), start=1):
        # All pixels within 15 um of the gland.
        near = plan.labels[max(rows.start - 15, 0) : rows.stop + 15, max(columns.start - 15, 0) :
                           columns.stop + 15]  # fmt: skip
        away = ndimage.distance_transform_edt(near != number)
        nearest.append(away[(near > 0) & (near != number)].min(initial=15))
    assert min(nearest) > 6
    assert (np.array(nearest) < 13).mean() > 0.3


@pytest.fixture(scope="module")
def plan():
    return plan_section((1600, 1500), np.random.default_rng(4), tissue_share=0.6)


def test_glands_cover_a_quarter_to_a_third_of_the_tissue_and_stay_inside(plan):
    gland = plan.labels > 0
    assert 0.25 < gland.sum() / plan.tissue.sum() < 0.35
    assert plan.tissue[gland].all()
    assert not plan.kind[gland].any()


def test_glands_are_hollow_branching_and_of_the_size_of_glands(plan):
    hollow = [bool((g.depth_um > g.height_um).any()) for g in plan.glands]
    area = np.bincount(plan.labels.ravel())[1:]
    solidity = [
        _solidity(plan.labels[window] == number)
        for number, window in enumerate(ndimage.find_objects(plan.labels), start=1)
    ]
    assert 0.5 < np.mean(hollow) <= 1
    assert area.min() >= 5000
    assert area.max() < 42_000
    assert np.mean(np.array(solidity) < 0.88) > 0.15  # lobes and bends


def test_pen_marks_are_mostly_on_glass(folder):
    plain, marked = (
        np.asarray(openslide.OpenSlide(folder / f"{name}.tiff").get_thumbnail((650, 650)))
        for name in ("regions", "whole")
    )
    ink = (plain.astype(int) - marked).max(axis=2) > 60
    dark = plain.min(axis=2) < 215
    assert ink.mean() > 0.005
    assert ink[dark].mean() < 0.1


def test_a_small_slide_and_too_many_regions_are_errors(tmp_path):
    with pytest.raises(ValueError, match="tiny: 800 x 1200 px is too small"):
        make_slide(
            SyntheticSettings(slide="tiny", seed=0, width_px=800, height_px=1200),
            tmp_path / "x.tiff",
        )
    labels = np.ones((1600, 1600), np.uint16)
    with pytest.raises(ValueError, match="crowded: no place for 9 regions"):
        choose_regions(labels, 9, np.random.default_rng(0), slide="crowded")
    assert not list(tmp_path.iterdir())


def test_smooth_noise_has_unit_variance_at_its_scale():
    noise = smooth_noise(np.random.default_rng(0), (400, 300), 10.0)
    assert noise.shape == (400, 300)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(noise, axis=0)).max() < 1


def test_the_demo_has_every_split_and_different_slides():
    assert sorted(s.split for s in DEMO_SLIDES) == sorted(
        [
            "labelled",
            "labelled",
            "unlabelled",
            "unlabelled",
            "validation",
            "test",
            "predict",
            "predict",
        ]
    )
    assert len({s.slide for s in DEMO_SLIDES}) == len({s.seed for s in DEMO_SLIDES}) == 8
    assert sum(s.regions or 0 for s in DEMO_SLIDES if s.split == "labelled") in (5, 6)


def test_the_error_of_an_unknown_demo_slide_lists_all_slides(tmp_path):
    with pytest.raises(
        ValueError, match=r"demo-9: the demo has no such slide; it has demo-labelled-1, "
    ):
        make_demo_slide("demo-9", tmp_path / "x.tiff")


# Colour alone must not be enough to find glands. The tests measure the score of a threshold and
# of a linear model on colour (blurred at several scales), both fitted on the slide itself.


def test_colour_alone_does_not_find_glands(folder):
    image, labels, tissue = at_two_um(folder / "regions.tiff", folder / "regions_truth.tiff")
    dice, f1 = best_by_colour(image, labels, tissue)
    assert 0.4 < dice <= 0.75
    assert f1 <= 0.5


def test_the_colour_test_gives_full_scores_where_colour_is_enough():
    labels = np.zeros((60, 60), np.int64)
    labels[5:25, 5:25], labels[30:50, 30:50] = 1, 2
    image = np.full((60, 60, 3), 0.9, np.float32)
    image[labels > 0] = (0.4, 0.2, 0.6)
    assert best_by_colour(image, labels, np.ones(labels.shape, bool)) == (1.0, 1.0)


def _solidity(mask):
    rows, columns = np.nonzero(mask)
    from scipy.spatial import ConvexHull

    return len(rows) / ConvexHull(np.column_stack([rows, columns]).astype(float)).volume
