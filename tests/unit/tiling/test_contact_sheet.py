import base64
import io
import json
import re

import numpy as np
import pytest
from example_stores import tile_attributes
from PIL import Image

from tiling.pictures.canvas import ANNOTATED_COLOUR, ERROR_COLOUR, IGNORED_COLOUR, REGION_COLOUR
from tiling.pictures.contact_sheet import size_text, write_contact_sheet
from tiling.pictures.slide_summary import write_slide_summary
from tiling.qupath.annotation_source import AnnotationFile, ReadingRules
from tiling.raster.durations import duration_text
from tiling.raster.geometry import Geometry
from tiling.slide_errors import SlideError
from tiling.stores.arrays import create_array, create_group, create_table
from tiling.stores.atomic_store import write_store
from tiling.stores.attributes import record_failure

HEIGHT, WIDTH = 640, 800


def tile_store(path, *, status=(0, 0, 1), mpp=1.0):
    """A white slide with a square of tissue and three tiles."""
    image = np.full((3, HEIGHT, WIDTH), 255, np.uint8)
    image[:, 160:480, 160:480] = 180
    tissue = np.zeros((HEIGHT // 8, WIDTH // 8), np.uint8)
    tissue[20:60, 20:60] = 1
    origin = np.array([(100, 100), (100, 292), (292, 100)], np.int64)
    with write_store(path, {}, resume=False) as partial:
        group = create_group(partial.folder)
        for level in range(2):
            part = image[:, :: 2**level, :: 2**level]
            create_array(group, str(level), part.shape, np.uint8, fill=255)[...] = part
        create_array(group, "tissue", tissue.shape, np.uint8)[...] = tissue
        create_array(group, "pen", tissue.shape, np.uint8)[...] = 0
        create_table(group, "tiles", {"origin_yx_px": origin, "status": np.array(status, np.uint8)})
        frame = Geometry.uniform(WIDTH, HEIGHT, mpp_um=mpp)
        tile_attributes(frame, tissue_um2=320.0 * 320 * mpp**2, tile_px=256, overlap_px=64).write(
            group
        )
    return path


def summaries_of(stores):
    for store in stores:
        write_slide_summary(store, store.with_suffix(".json"))
    return [store.with_suffix(".json") for store in stores]


@pytest.fixture
def sheet(tmp_path):
    stores = [
        tile_store(tmp_path / "a-1.zarr"),
        tile_store(tmp_path / "a-2.zarr", status=(0, 0, 0), mpp=0.5),
        tmp_path / "torn.zarr",
    ]
    record_failure(
        stores[2], SlideError("slides/<i>torn</i>.svs: no pixel size; set column 'mpp'"), {}
    )
    write_contact_sheet(
        summaries_of(stores), tmp_path / "p.png", tmp_path / "p.html", tiles_per_s=0.5
    )
    return tmp_path


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def rows(page):
    return [
        re.findall(r">([^<]*)</td>", row) for row in re.findall(r"<tr><td.*?</tr>", page, re.DOTALL)
    ]


def test_each_slide_has_its_numbers(sheet):
    first, second, _ = rows((sheet / "p.html").read_text())
    assert first[:6] == ["a-1", "2", "1", "0.10", "1", "sheet"]
    assert first[-1] == "4 s"
    assert second[:6] == ["a-2", "3", "0", "0.03", "0.5", "sheet"]
    assert second[-1] == "6 s"


def test_totals_add_up(sheet):
    page = (sheet / "p.html").read_text()
    assert "3 slides, 1 failed; 5 tiles, 0.1 mm²" in page
    assert re.search(r"about 10 s on the CPU of this machine \(0\.5 tiles/s, measured", page)


def test_disk_space_of_tiles_is_the_size_of_their_files(sheet):
    size = sum(path.stat().st_size for path in (sheet / "a-1.zarr").rglob("*") if path.is_file())
    assert rows((sheet / "p.html").read_text())[0][6] == size_text(size)


def test_the_error_of_a_failed_slide_is_red_and_escaped(sheet):
    page = (sheet / "p.html").read_text()
    assert "<i>torn" not in page
    assert (
        '<td colspan="8" class="error">slides/&lt;i&gt;torn&lt;/i&gt;.svs: no pixel size; '
        "set column &#39;mpp&#39;</td>" in page
    )
    pixels = picture(sheet / "p.png")
    assert (pixels == ERROR_COLOUR).all(axis=-1).any()


def test_page_is_self_contained(sheet):
    page = (sheet / "p.html").read_text()
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 2
    for source in sources:
        head, data = source.split(",", 1)
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (420, 336)
    assert not re.search(r"https?://|<script|<link", page)


def test_tissue_outline_and_tiles_are_in_the_right_place(sheet):
    pixels = picture(sheet / "p.png").astype(int)
    cell = pixels[92 : 92 + 336, 24 : 24 + 420]
    teal = (np.abs(cell - (0, 130, 150)) < 3).all(axis=-1)
    y, x = np.nonzero(teal)
    scale = 420 / WIDTH
    np.testing.assert_allclose(
        [y.min(), x.min(), y.max() + 1, x.max() + 1],
        np.array([160, 160, 480, 480]) * scale,
        atol=1.5,
    )
    # The tile left out (lower left) has a warmer frame than those kept.
    row = round(400 * scale)
    assert cell[row, round(100 * scale)][0] > cell[row, round(100 * scale)][2] + 40
    kept = cell[round(120 * scale), round(100 * scale)]
    assert kept[2] > kept[0]


def square(left, top, side, kind):
    ring = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    ring = [(left + x, top + y) for x, y in ring]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": kind}},
    }


def preview_of(folder, features):
    """Page, and picture of the slide, of a slide with these annotations."""
    annotation, summary = folder / "a.geojson", folder / "a.json"
    annotation.write_text(json.dumps(features))
    rules = ReadingRules("regions", "bounds")
    file = AnnotationFile(annotation, rules)
    write_slide_summary(tile_store(folder / "a.zarr"), summary, annotation=file)
    write_contact_sheet([summary], folder / "p.png", folder / "p.html", tiles_per_s=1.0)
    return (folder / "p.html").read_text(), picture(folder / "p.png")[92 : 92 + 336, 24 : 24 + 420]


def extent(pixels, colour):
    """First and last row and column of a colour, in pixels of the slide."""
    y, x = np.nonzero((pixels == colour).all(axis=-1))
    return np.array([y.min(), x.min(), y.max() + 1, x.max() + 1]) * WIDTH / 420


def test_regions_glands_and_ignored_areas_are_drawn_and_counted(tmp_path):
    features = [
        square(200, 200, 200, "Region*"),
        square(220, 220, 60, "Gland"),
        square(320, 320, 60, "Ignore*"),
        square(220, 320, 60, "gland"),
    ]
    page, pixels = preview_of(tmp_path, features)
    row = rows(page)[1]
    assert row[:4] == ["a", "a.geojson", "1", "1"]
    assert "1 class &#39;gland&#39; (did you mean &#39;Gland&#39;?)" in page
    for colour, box in (
        (REGION_COLOUR, (200, 200, 400, 400)),
        (ANNOTATED_COLOUR, (220, 220, 280, 280)),
        (IGNORED_COLOUR, (320, 320, 380, 380)),
    ):
        np.testing.assert_allclose(extent(pixels, colour), box, atol=3)


def test_outlines_on_glass_are_drawn_and_named(tmp_path):
    page, pixels = preview_of(
        tmp_path, [square(20, 20, 90, "Region*"), square(30, 30, 40, "Gland")]
    )
    assert "cannot be used: no tissue under the glands of region 1" in page
    np.testing.assert_allclose(extent(pixels, REGION_COLOUR), (20, 20, 110, 110), atol=3)
    np.testing.assert_allclose(extent(pixels, ANNOTATED_COLOUR), (30, 30, 70, 70), atol=3)


def test_an_annotation_that_cannot_be_read_has_its_reason(tmp_path):
    page, _ = preview_of(tmp_path, [square(20, 20, 90, "<b>Region</b>")])
    assert "cannot be used: no area of class &#39;Region*&#39;" in page
    assert "<b>" not in page


def test_the_picture_of_one_slide_explains_its_colours_in_lines_that_fit(tmp_path):
    record_failure(tmp_path / "t.zarr", SlideError("x"), {})
    summaries = summaries_of([tmp_path / "t.zarr"])
    write_contact_sheet(summaries, tmp_path / "p.png", tmp_path / "p.html", tiles_per_s=1.0)
    is_ink = (picture(tmp_path / "p.png") < 128).all(axis=-1)
    rows_with_text = is_ink[180:].any(axis=1)
    assert np.count_nonzero(np.diff(rows_with_text.astype(int)) == 1) >= 2, "two lines of text"
    assert is_ink[180:, 300:444].any()
    assert not is_ink[:, 444:].any(), "nothing in the margin"


def test_without_usable_slides_there_is_a_page(tmp_path):
    record_failure(tmp_path / "t.zarr", SlideError("x" * 2000), {})
    write_contact_sheet(
        summaries_of([tmp_path / "t.zarr"]),
        tmp_path / "p.png",
        tmp_path / "p.html",
        tiles_per_s=1.0,
    )
    write_contact_sheet([], tmp_path / "q.png", tmp_path / "q.html", tiles_per_s=1.0)
    assert "1 slide, 1 failed; 0 tiles" in (tmp_path / "p.html").read_text()
    assert picture(tmp_path / "q.png").size


def test_durations_and_sizes_round_up():
    assert [duration_text(s) for s in (0, 0.2, 99, 101, 5999, 7200)] == [
        "0 s",
        "1 s",
        "99 s",
        "2 min",
        "100 min",
        "2.0 h",
    ]
    assert [size_text(b) for b in (0, 1, 2.5e6, 7e10)] == ["0 kB", "1 kB", "2 MB", "70.0 GB"]
