import matplotlib
import numpy as np
import pytest
from example_stores import tile_attributes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from semimoe.evaluation.metrics import object_scores
from tiling.pictures import overview_page
from tiling.pictures.canvas import (
    ANNOTATED_COLOUR,
    IGNORED_COLOUR,
    MISSED_COLOUR,
    OUTLINE_COLOUR,
    REGION_COLOUR,
    SCALE_BAR_FONT_PX,
    round_length_um,
    slide_thumbnail,
    text_width,
    with_scale_bar,
)
from tiling.pictures.close_ups import CloseUpPlaces, choose_close_ups, draw_close_up
from tiling.pictures.heat_maps import draw_heat_map, reduced_mean
from tiling.pictures.label_scan import scan_labels
from tiling.pictures.overview import write_overview
from tiling.pictures.truth_comparison import compare_glands
from tiling.raster.edges import inner_edges
from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_array, create_group, create_table, open_array, open_store
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import record_failure, set_attributes
from tiling.stores.manifest import seal_store
from tiling.stores.slide_stores import SlideStores

HEIGHT, WIDTH = 600, 900


def geometry(height=HEIGHT, width=WIDTH):
    return Geometry.uniform(width, height, downsample=2.0)


def store(path, arrays, *, table=None, **values):
    shape = next(iter(arrays.values())).shape[-2:]
    with write_store(path, {}, resume=False) as partial:
        group = create_group(partial.folder)
        for name, array in arrays.items():
            create_array(group, name, array.shape, array.dtype)[...] = array
        if table is not None:
            create_table(group, "objects", table)
        set_attributes(
            group, {"status": "ok", "slide": "s", "geometry": geometry(*shape).to_dict(), **values}
        )
    return path


def tile_store(path, arrays, origins=None):
    """A tile store with tiles at these origins; without any, with tiles everywhere."""
    height, width = arrays["0"].shape[1:]
    if origins is None:
        origins = [(y, x) for y in range(0, height, 128) for x in range(0, width, 128)]
    group = create_group(path)
    for name, array in arrays.items():
        create_array(group, name, array.shape, array.dtype)[...] = array
    create_table(group, "tiles", {"origin_yx_px": np.array(origins, np.int64)})
    tile_attributes(geometry(height, width), overlap_px=0).write(group)
    seal_store(path)
    return path


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def objects_of(labels):
    windows = [
        (y.start, x.start, y.stop - y.start, x.stop - x.start)
        for y, x in ndimage.find_objects(labels)
    ]
    return {
        "window_px": np.array(windows, np.int64).reshape(-1, 4),
        "area_px": np.bincount(labels.ravel())[1:].astype(np.int64),
    }


def make_stores(folder, labels, disagreement, image=None):
    if image is None:
        image = np.full((3, *labels.shape), 200, np.uint8)
    levels = {"0": image, "1": image[:, ::2, ::2], "2": image[:, ::4, ::4]}
    tissue = np.ones([-(-side // 8) for side in labels.shape], np.uint8)
    return {
        "tiles": tile_store(folder / "tiles.zarr", {**levels, "tissue": tissue}),
        "glands": store(folder / "glands.zarr", {"labels": labels}, table=objects_of(labels)),
        "maps": store(
            folder / "maps.zarr",
            {"gland": (labels > 0).astype(np.uint8) * 255, "disagreement": disagreement},
        ),
    }


@pytest.fixture
def glands():
    """Four glands: a large one, two that touch, and a small one where the experts disagree."""
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[40:300, 60:400] = 1
    labels[350:450, 500:600], labels[350:450, 600:700] = 2, 3
    labels[100:180, 700:800] = 4
    disagreement = np.full(labels.shape, 10, np.uint8)
    disagreement[labels == 4] = 240
    return labels, disagreement


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
    )
)
def test_inner_edges_are_object_pixels_beside_another_value(labels):
    padded = np.pad(labels, 1, mode="edge")
    for (y, x), result in np.ndenumerate(inner_edges(labels)):
        around = {padded[y, x + 1], padded[y + 2, x + 1], padded[y + 1, x], padded[y + 1, x + 2]}
        assert result == (labels[y, x] != 0 and around != {labels[y, x]})


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 10**6))
def test_scan_does_not_depend_on_blocks_and_agrees_with_the_complete_array(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    coarse = ndimage.label(rng.random((15, 18)) < 0.6)[0] + 0
    coarse[coarse > 0] += rng.integers(0, 2, (coarse > 0).sum())
    labels = np.kron(coarse, np.ones((20, 20), int)).astype(np.int32)
    labels = np.searchsorted(np.unique(np.append(0, labels)), labels).astype(np.int32)
    disagreement = rng.integers(0, 256, labels.shape).astype(np.uint8)
    paths = make_stores(tmp_path_factory.mktemp("scan"), labels, disagreement)
    objects = objects_of(labels)
    small = slide_thumbnail(paths["tiles"], 120)
    numbers = np.arange(1, labels.max() + 1)
    contact = np.zeros(labels.max() + 1, int)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        contact += np.bincount(a[meet], minlength=len(contact)) + np.bincount(
            b[meet], minlength=len(contact)
        )
    edges = np.zeros((small.image.height, small.image.width), bool)
    for y, x in np.argwhere(inner_edges(labels)):
        edges[int((y + 0.5) / small.px_per_pixel[0]), int((x + 0.5) / small.px_per_pixel[1])] = True
    for block_px in (64, 100, 256):
        result = scan_labels(
            open_array(open_store(paths["glands"]), "labels"),
            open_array(open_store(paths["maps"]), "disagreement"),
            objects["window_px"],
            objects["area_px"],
            small,
            block_px=block_px,
        )
        np.testing.assert_allclose(result.disagreement, ndimage.mean(disagreement, labels, numbers))
        np.testing.assert_array_equal(result.contact_px, contact[1:])
        np.testing.assert_array_equal(result.edges, edges)


@pytest.mark.parametrize(("step", "block"), [(1, 7), (3, 7), (5, 64), (40, 16)])
def test_reduced_mean_is_the_mean_of_each_square(tmp_path, step, block):
    values = np.random.default_rng(0).integers(0, 256, (67, 93)).astype(np.uint8)
    path = store(tmp_path / "maps.zarr", {"disagreement": values})
    result = reduced_mean(open_array(open_store(path), "disagreement"), step, block)
    expected = [
        [values[y : y + step, x : x + step].mean() for x in range(0, 93, step)]
        for y in range(0, 67, step)
    ]
    np.testing.assert_allclose(result, expected)


def test_close_ups_are_the_largest_the_least_certain_and_touching_ones():
    area = np.array([88400, 10000, 10000, 8000])
    chosen = choose_close_ups(area, np.array([10.0, 10, 10, 240]), np.array([0, 100, 100, 0]), 3)
    assert chosen == [
        ("largest", 0, True),
        ("least certain", 3, True),
        ("touching", 1, True),
    ]
    assert len(choose_close_ups(area, np.zeros(4), np.zeros(4, int), 9)) == 4
    assert choose_close_ups(area[:0], np.zeros(0), np.zeros(0, int), 3) == []


def test_close_ups_are_not_mostly_glass_and_do_not_show_a_place_twice():
    frame = geometry()
    windows = np.array(
        [[10, 10, 100, 100], [12, 100, 90, 90], [400, 500, 90, 90], [0, 700, 80, 80]]
    )
    tissue = np.zeros((HEIGHT // 4, WIDTH // 4), bool)
    tissue[:40] = True  # the upper 160 of 600 pixels
    tissue[90:] = True
    places = CloseUpPlaces(windows, tissue, frame, 200)
    area = np.array([10000, 8100, 8100, 6400])
    chosen = choose_close_ups(area, np.zeros(4), np.zeros(4, int), 3, places.suits)
    assert [one[:2] for one in chosen] == [("largest", 0), ("least certain", 2), ("largest", 3)]
    assert [one.reason_text for one in chosen[::2]] == ["largest", "among the largest"]
    tissue[90:] = False
    assert not places.suits(2, [], False)
    assert places.suits(2, [], True)
    again = choose_close_ups(area, np.zeros(4), np.zeros(4, int), 4, places.suits)
    assert [one.row for one in again] == [0, 3, 2], "glass is better than no picture"
    area[2] = 20000
    texts = [
        (one.row, one.reason_text)
        for one in choose_close_ups(area, np.zeros(4), np.zeros(4, int), 1, places.suits)
    ]
    assert texts == [(0, "among the largest")], "the largest one is on glass and not shown"


def test_thumbnail_is_the_slide_and_never_enlarged(tmp_path, glands):
    image = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (3, HEIGHT, 1))
    tiles = make_stores(tmp_path, *glands, image=image)["tiles"]
    small = slide_thumbnail(tiles, 300)
    assert small.image.size == (300, 200)
    assert small.px_per_pixel == (3.0, 3.0)
    assert (
        np.abs(np.asarray(small.image)[100, :, 0].astype(float) - np.linspace(0, 255, 300)).max()
        < 4
    )
    assert slide_thumbnail(tiles, 5000).image.size == (WIDTH, HEIGHT)


def test_pixels_that_are_not_stored_have_the_colour_of_glass(tmp_path):
    """Glass with a slope of brightness on the left half; nothing is stored on the right half."""
    image = np.full((3, 512, 1024), 255, np.uint8)
    image[:, :, :512] = np.linspace(230, 244, 512).astype(np.uint8)
    image[:, 100:200, 100:200] = 120
    image[:, 400:450, 400:512] = np.array([20, 160, 40])[:, None, None]  # pen
    tissue = np.zeros((64, 128), np.uint8)
    tissue[12:26, 12:26] = 1
    origins = [(y, x) for y in range(0, 512, 128) for x in range(0, 512, 128)]
    tiles = tile_store(tmp_path / "tiles.zarr", {"0": image, "tissue": tissue}, origins)
    thumbnail = slide_thumbnail(tiles, 512)
    pixels = np.asarray(thumbnail.image)
    assert pixels[:, 258:300].min() >= 240
    assert pixels.max() <= 244
    assert (pixels[60:90, 60:90] == 120).all()

    labels = np.zeros((512, 1024), np.int32)
    labels[300:340, 480:560] = 1
    glands = store(tmp_path / "glands.zarr", {"labels": labels}, table=objects_of(labels))
    result = draw_close_up(
        open_array(open_store(tiles), "0"),
        open_array(open_store(glands), "labels"),
        np.array([300, 480, 40, 80]),
        thumbnail,
        400,
        label=1,
    )
    close_up = np.asarray(result.image)[:400]
    assert close_up.shape[1] == 400
    background = close_up[~(close_up == OUTLINE_COLOUR).all(axis=-1)]
    is_pen = (background == [20, 160, 40]).all(axis=-1)
    assert is_pen.any()
    assert background[~is_pen].min() >= 235
    assert background.max() <= 244


@pytest.mark.parametrize("block_px", [256, 2048])
def test_missed_and_false_glands_are_those_of_object_f1(tmp_path, block_px):
    rng = np.random.default_rng(0)
    true, predicted = np.zeros((2, HEIGHT, WIDTH), np.int32)
    for number in range(60):
        y, x = number // 10 * 100 + 10, number % 10 * 90 + 5
        true[y : y + 60, x : x + 60] = number + 1 if number % 7 else 0
        dy, dx = rng.integers(0, 40, 2)
        predicted[y + dy : y + dy + 60, x + dx : x + dx + 40] = number + 1 if number % 5 else 0
    weight = np.ones(true.shape, np.uint8)
    weight[:, 700:] = 0
    truth = store(tmp_path / "labels.zarr", {"labels": true, "weight": weight})
    glands = store(tmp_path / "glands.zarr", {"labels": predicted})
    paths = make_stores(tmp_path / "s", 0 * true, np.zeros(true.shape, np.uint8))
    compared = compare_glands(
        open_store(truth),
        open_array(open_store(glands), "labels"),
        slide_thumbnail(paths["tiles"], WIDTH),
        block_px=block_px,
    )
    scores = object_scores(
        [np.where(weight, true, 0)], [np.where(weight, predicted, 0)], mpp_um=1, distances=False
    )
    assert scores.fn > 5
    assert scores.fp > 5
    assert (compared.missed_count, compared.false_count) == (scores.fn, scores.fp)
    assert compared.true_count == scores.tp + scores.fn
    missed_numbers = np.unique(true[compared.missed])
    np.testing.assert_array_equal(
        compared.missed, np.isin(true, missed_numbers) & (true > 0) & (weight > 0)
    )
    drawn = np.asarray(compared.draw(Image.new("RGB", (WIDTH, HEIGHT))))
    assert (drawn == MISSED_COLOUR).all(axis=-1)[~compared.missed].sum() == 0
    share = (drawn == MISSED_COLOUR).all(axis=-1)[compared.missed].mean()
    assert 0.2 < share < 0.6


def test_overview_draws_outlines_of_glands_and_frames_of_regions(tmp_path, glands):
    labels, disagreement = glands
    paths = make_stores(tmp_path, labels, disagreement)
    region = np.zeros(labels.shape, np.uint16)
    region[20:320, 450:850] = 1
    weight = (region > 0).astype(np.uint8)
    weight[30:60, 500:560] = 0
    true_gland = np.zeros_like(labels)
    true_gland[200:280, 500:600] = 1
    annotated = store(
        tmp_path / "labels.zarr",
        {"labels": true_gland, "region": region, "weight": weight},
        regions=[{"name": "Region* 1", "window": [20, 450, 300, 400]}],
    )
    write_overview(
        SlideStores(**paths, labels=annotated),
        tmp_path / "with.png",
        title="a slide",
        block_px=256,
        close_up_count=0,
    )
    write_overview(
        SlideStores(**paths), tmp_path / "without.png", title="a slide", close_up_count=0
    )
    with_regions, without = (picture(tmp_path / f"{name}.png") for name in ("with", "without"))
    main = without[128 : 128 + HEIGHT, 20 : 20 + WIDTH]
    drawn = (main == OUTLINE_COLOUR).all(axis=-1)
    np.testing.assert_array_equal(drawn, ndimage.binary_dilation(inner_edges(labels)))
    page = with_regions[128 : 128 + HEIGHT, 20 : 20 + WIDTH]

    def extent(colour):
        y, x = np.nonzero((page == colour).all(axis=-1))
        return y.min(), x.min(), y.max(), x.max()

    assert extent(REGION_COLOUR) == (19, 449, 320, 850), "three pixels around the edge"
    assert extent(ANNOTATED_COLOUR) == (200, 500, 279, 599)
    assert extent(IGNORED_COLOUR) == (30, 500, 59, 559)
    assert not (main == REGION_COLOUR).all(axis=-1).any()


def test_overview_is_the_same_every_time_and_for_every_block(tmp_path, glands):
    paths = make_stores(tmp_path, *glands)
    write_overview(SlideStores(**paths), tmp_path / "a.png", title="x", block_px=128)
    write_overview(SlideStores(**paths), tmp_path / "b.png", title="x", block_px=2048)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("gland_px", "times"), [(200, 1), (100, 2), (60, 3), (3, 4)])
def test_close_ups_show_whole_stored_pixels_larger_for_small_glands(tmp_path, gland_px, times):
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[300 : 300 + gland_px, 500 : 500 + gland_px] = 1
    image = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH)).astype(np.uint8)
    paths = make_stores(tmp_path, labels, np.zeros(labels.shape, np.uint8), image)
    pixels, array = (
        open_array(open_store(paths["tiles"]), "0"),
        open_array(open_store(paths["glands"]), "labels"),
    )
    thumbnail = slide_thumbnail(paths["tiles"], 300)
    window_px = np.array([300, 500, gland_px, gland_px])
    result = draw_close_up(pixels, array, window_px, thumbnail, 400, label=2)
    top, left, h, w = result.window_px
    assert (h, w) == (400 // times, 400 // times)
    assert abs(top + h / 2 - 300 - gland_px / 2) <= 1 or top + h == HEIGHT
    expected = (
        np.moveaxis(image, 0, -1)[top : top + h, left : left + w].repeat(times, 0).repeat(times, 1)
    )
    pixels_of_image = np.asarray(result.image)[: len(expected), : len(expected)]
    drawn = (pixels_of_image == OUTLINE_COLOUR).all(axis=-1)
    np.testing.assert_array_equal(pixels_of_image[~drawn], expected[~drawn])
    inside = (labels[top : top + h, left : left + w] == 1).repeat(times, 0).repeat(times, 1)
    two = inside & ~ndimage.binary_erosion(inside, iterations=2)
    np.testing.assert_array_equal(drawn, two)
    result = draw_close_up(pixels, array, window_px, thumbnail, 400, label=1)
    shown = np.asarray(result.image)[: len(expected), : len(expected)]
    five = inside & ~ndimage.binary_erosion(inside, iterations=5)
    np.testing.assert_array_equal((shown == OUTLINE_COLOUR).all(axis=-1), five)


def test_a_gland_larger_than_its_panel_is_shown_completely(tmp_path):
    labels = np.zeros((2000, 1200), np.int32)
    labels[100:1900, 300:500] = 1
    paths = make_stores(tmp_path, labels, np.zeros(labels.shape, np.uint8))
    pixels, array = (
        open_array(open_store(paths["tiles"]), "0"),
        open_array(open_store(paths["glands"]), "labels"),
    )
    thumbnail = slide_thumbnail(paths["tiles"], 300)
    window_px = np.array([100, 300, 1800, 200])
    result = draw_close_up(pixels, array, window_px, thumbnail, 400, label=1)
    top, left, h, w = result.window_px
    assert (h, w) == (2000, 1200)
    assert (top, left) == (0, 0)
    y, x = np.nonzero((np.asarray(result.image) == OUTLINE_COLOUR).all(axis=-1))
    assert (y.min(), y.max()) == (20, 379)
    assert (x.min(), x.max()) == (60, 99)


def test_heat_map_has_the_colour_of_the_mean_and_glass_is_grey(tmp_path):
    quantised = np.random.default_rng(0).integers(0, 256, (80, 120)).astype(np.uint8)
    tissue = np.ones((10, 15), bool)
    tissue[:, :3] = False
    array = open_array(open_store(store(tmp_path / "m.zarr", {"gland": quantised})), "gland")
    frame = geometry(80, 120)
    image = np.asarray(
        draw_heat_map(array, tissue, frame, palette="viridis", max_px=30, block_px=64, highest=1.0)
    )[:20, :30]
    table = (matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255).round()
    mean = np.rint(quantised.reshape(20, 4, 30, 4).mean(axis=(1, 3))).astype(int)
    np.testing.assert_array_equal(image[:, 6:], table[mean][:, 6:])
    assert (image[:, :6] == 235).all()


@pytest.mark.parametrize("palette", ["viridis", "magma"])
def test_heat_map_grows_lighter_with_the_value(palette):
    linear = matplotlib.colormaps[palette](np.arange(256))[:, :3] ** 2.2
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > -1e-6).all()


@pytest.mark.parametrize("size", [(1600, 40), (40, 1600), (7, 5), (600, 900)])
def test_pages_of_unusual_slides_contain_all_their_text(tmp_path, size):
    """Captions do not overlap, nothing is cropped at the edge of the page: margins are white."""
    labels = np.zeros(size, np.int32)
    labels[1 : size[0] // 2, 1 : size[1] // 2] = 1
    labels[size[0] // 2 :, 1 : size[1] // 2] = 2
    paths = make_stores(tmp_path, labels, np.full(size, 77, np.uint8))
    regions = [{"name": "a name that is much too long for this " * 3, "window": [0, 0, *size]}] * 2
    weight = np.ones(size, np.uint8)
    arrays = {"labels": labels, "region": weight.astype(np.uint16), "weight": weight}
    annotated = store(tmp_path / "labels.zarr", arrays, regions=regions)
    write_overview(SlideStores(**paths, labels=annotated), tmp_path / "o.png", title="x" * 300)
    page = picture(tmp_path / "o.png")
    assert (page[:, -18:] == 255).all()
    assert (page[:, :18] == 255).all()
    assert page.shape[1] < 2500


@given(st.integers(1, 3000), st.floats(0.05, 100))
@settings(deadline=None, max_examples=40)
def test_the_scale_bar_has_the_length_of_its_label(width, um_per_pixel):
    page = np.asarray(with_scale_bar(Image.new("RGB", (width, 3)), um_per_pixel))
    bar = (page[3 + 15] == (30, 30, 30)).all(axis=-1)
    length = int(np.argmin(bar))
    length_um = round_length_um(um_per_pixel * max(width / 4, 30))
    assert abs(length * um_per_pixel - length_um) <= um_per_pixel / 2 + 1e-6
    assert page.shape[1] >= length + 8 + text_width(
        f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm", 15
    )


def test_a_slide_without_glands_still_has_a_picture(tmp_path):
    empty = np.zeros((HEIGHT, WIDTH), np.int32)
    write_overview(
        SlideStores(**make_stores(tmp_path, empty, empty.astype(np.uint8))),
        tmp_path / "o.png",
        title="nothing",
    )
    assert picture(tmp_path / "o.png").shape[1] >= WIDTH


def test_a_failed_slide_raises_its_recorded_error(tmp_path, glands):
    paths = make_stores(tmp_path, *glands)
    record_failure(paths["tiles"], SlideError("b12.svs: torn"), {})
    with pytest.raises(SlideError, match=r"b12\.svs: torn"):
        write_overview(SlideStores(**paths), tmp_path / "o.png", title="x")
    assert not (tmp_path / "o.png").exists()


@given(st.floats(0.01, 1e6))
def test_scale_bar_is_round_and_at_least_two_fifths_of_the_limit(longest):
    length = round_length_um(longest)
    assert 0.39 * longest < length <= longest * 1.001
    assert f"{length:.0e}"[0] in "125"


def test_letters_of_the_widest_overview_can_be_read_in_the_report():
    """The report shows pictures in 1172 px: 1200 less the frame around each."""
    widest_px = 1600 + 2 * overview_page.MARGIN_PX
    sizes = (overview_page._FACTS_FONT, overview_page._CAPTION_FONT, overview_page._LABEL_FONT)
    assert min(*sizes, SCALE_BAR_FONT_PX) * 1172 / widest_px >= 12


def test_the_legend_shows_ignored_areas_with_the_stripes_of_the_picture():
    sample = np.asarray(overview_page._legend_sample(IGNORED_COLOUR, "ignored"))
    is_line = (sample == IGNORED_COLOUR).all(axis=-1)
    assert is_line[[0, -1]].all()
    assert is_line[:, [0, -1]].all()
    assert 0.1 < is_line[1:-1, 1:-1].mean() < 0.3, "stripes one pixel wide, five pixels apart"
