import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from example_stores import tile_attributes
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.qupath.annotations import read_annotations
from tiling.qupath.doubt_cells import QUANTISED_ENTROPY, sum_cells
from tiling.qupath.proposals import ProposalSettings, choose_squares, propose_regions
from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import create_array, create_group, create_table
from tiling.stores.attributes import record_failure
from tiling.stores.manifest import seal_store
from tiling.stores.slide_stores import SlideStores

HEIGHT, WIDTH = 200, 260


def geometry(height: int = HEIGHT, width: int = WIDTH, d: float = 2.0) -> Geometry:
    return Geometry.uniform(width, height, downsample=d, bounds_xy=(10, 20))


def write(path: Path, arrays: dict[str, np.ndarray], frame: Geometry, **tiles: int) -> Path:
    group = create_group(path)
    for name, values in arrays.items():
        create_array(group, name, values.shape, values.dtype)[...] = values
    tile_attributes(frame, **tiles).write(group)
    seal_store(path)
    return path


@pytest.fixture
def slide(tmp_path: Path) -> dict[str, Path]:
    """A slide with doubt in two places, more in the second; a gland crosses its edge."""
    disagreement = np.zeros((HEIGHT, WIDTH), np.uint8)
    disagreement[30:60, 20:50] = 100
    disagreement[120:150, 150:180] = 200
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[125:190, 155:165] = 1
    labels[5:10, 240:250] = 2
    frame = geometry()
    tiles = write(
        tmp_path / "tiles.zarr", {"tissue": np.ones((25, 33), np.uint8)}, frame, tissue_stride_px=8
    )
    maps = write(
        tmp_path / "maps.zarr",
        {"gland": np.zeros_like(disagreement), "disagreement": disagreement},
        frame,
    )
    glands = write(tmp_path / "glands.zarr", {"labels": labels}, frame)
    columns = {
        "first_px": np.array([5 * WIDTH + 240, 125 * WIDTH + 155]),
        "window_px": np.array([[125, 155, 65, 10], [5, 240, 5, 10]]),
    }
    import zarr

    create_table(zarr.open_group(glands), "objects", columns)
    seal_store(glands)
    return {"maps": maps, "tiles": tiles, "glands": glands, "out": tmp_path / "p.geojson"}


def proposed(
    slide: dict[str, Path], labels: Path | None = None, count: int = 5, size_um: float = 40.0
) -> list[dict]:
    stores = SlideStores(
        tiles=slide["tiles"], maps=slide["maps"], glands=slide["glands"], labels=labels
    )
    count_written = propose_regions(
        stores,
        slide["out"],
        slide="s",
        settings=ProposalSettings(count, size_um),
        origin="bounds",
    )
    features = json.loads(slide["out"].read_text())["features"]
    assert count_written == sum(
        f["properties"]["classification"]["name"] == "Proposed*" for f in features
    )
    return features


def test_the_largest_doubt_comes_first_with_its_complete_glands(slide: dict[str, Path]) -> None:
    first, second, *glands = proposed(slide, count=2)
    box = shapely.geometry.shape(first["geometry"])
    assert box.area == (2 * 40) ** 2
    hot = shapely.box(150 * 2 - 10, 120 * 2 - 20, 180 * 2 - 10, 150 * 2 - 20)
    assert shapely.intersection(box, hot).area == hot.area
    assert (
        first["properties"]["measurements"]["doubt"]
        > second["properties"]["measurements"]["doubt"]
        > 0
    )
    assert [g["properties"]["classification"]["name"] for g in glands] == ["Gland"]
    assert shapely.geometry.shape(glands[0]["geometry"]).bounds == (300, 230, 320, 360)
    assert {f["properties"]["objectType"] for f in (first, second, *glands)} == {"annotation"}


def test_a_proposal_is_never_read_as_truth_until_it_is_a_region(slide: dict[str, Path]) -> None:
    features = proposed(slide, count=1)
    drawn = read_annotations(slide["out"])
    assert not drawn.regions
    assert len(drawn.glands) == 1
    features[0]["properties"]["classification"]["name"] = "Region*"
    slide["out"].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert len(read_annotations(slide["out"]).regions) == 1


def test_proposals_do_not_overlap_annotated_places(slide: dict[str, Path], tmp_path: Path) -> None:
    region, drawn = np.zeros((HEIGHT, WIDTH), np.uint16), np.zeros((HEIGHT, WIDTH), np.int32)
    region[110:160, 140:165] = 1
    drawn[110:160, 165:190] = 1  # outside all regions: not trained on, but nobody outlines it twice
    labels = write(tmp_path / "labels.zarr", {"region": region, "labels": drawn}, geometry())
    annotated = shapely.box(140 * 2 - 10, 110 * 2 - 20, 190 * 2 - 10, 160 * 2 - 20)
    features = proposed(slide, labels)
    squares = [
        shapely.geometry.shape(f["geometry"])
        for f in features
        if f["properties"]["classification"]["name"] != "Gland"
    ]
    assert squares
    assert all(shapely.intersection(square, annotated).area == 0 for square in squares)


def test_a_gland_that_is_outlined_already_is_not_proposed(
    slide: dict[str, Path], tmp_path: Path
) -> None:
    """The gland reaches from the proposed square into a region beside it."""
    region, drawn = np.zeros((HEIGHT, WIDTH), np.uint16), np.zeros((HEIGHT, WIDTH), np.int32)
    region[162:200] = 1
    for rows, glands in ((slice(162, 190), 1), (slice(150, 190), 0)):
        drawn[rows, 155:165] = 1
        labels = write(tmp_path / f"{glands}.zarr", {"region": region, "labels": drawn}, geometry())
        features = proposed(slide, labels, count=1, size_um=36)
        assert [f["properties"]["classification"]["name"] for f in features[1:]] == [
            "Gland"
        ] * glands


def test_quantised_entropy_is_that_of_the_probability() -> None:
    from scipy import stats  # not in every process of the tests: it takes 0.8 s

    codes = np.arange(256) / 255
    np.testing.assert_allclose(
        QUANTISED_ENTROPY, 255 * stats.entropy([codes, 1 - codes], base=2), atol=0.5
    )


def test_a_failed_annotation_counts_as_none(slide: dict[str, Path], tmp_path: Path) -> None:
    record_failure(tmp_path / "labels.zarr", AnnotationError("cut"), {})
    assert proposed(slide, tmp_path / "labels.zarr") == proposed(slide)


def test_without_doubt_or_with_count_0_the_file_has_no_proposals(
    slide: dict[str, Path],
) -> None:
    assert proposed(slide, count=0) == []
    assert json.loads(slide["out"].read_text())["type"] == "FeatureCollection"


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 999),
    height=st.integers(5, 70),
    width=st.integers(5, 70),
    size=st.integers(3, 80),
    block_px=st.integers(1, 90),
)
def test_squares_do_not_overlap_and_sums_do_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    height: int,
    width: int,
    size: int,
    block_px: int,
) -> None:
    folder, rng, frame = (
        tmp_path_factory.mktemp("p"),
        np.random.default_rng(seed),
        geometry(height, width),
    )
    gland, disagreement = (rng.integers(0, 256, (height, width), np.uint8) for _ in range(2))
    tissue = rng.integers(0, 2, (-(-height // 4), -(-width // 4)), np.uint8)
    region, drawn = (
        (rng.random((height, width)) < 0.0005).astype(kind) for kind in (np.uint16, np.int32)
    )
    taken = (region > 0) | (drawn > 0)
    maps = write(folder / "m.zarr", {"gland": gland, "disagreement": disagreement}, frame)
    tiles = write(folder / "t.zarr", {"tissue": tissue}, frame, tissue_stride_px=4)
    labels = write(folder / "l.zarr", {"region": region, "labels": drawn}, frame)
    on = np.kron(tissue, np.ones((4, 4), np.uint8))[:height, :width] > 0
    doubt = (disagreement.astype(int) + QUANTISED_ENTROPY[gland]) * on
    cells = sum_cells(maps, tiles, labels, frame, cell_px=3, block_px=block_px)
    for row, column in np.ndindex(cells.doubt.shape):
        part = (slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
        assert (
            cells.doubt[row, column],
            cells.tissue[row, column],
            cells.labelled[row, column],
        ) == (doubt[part].sum(), on[part].sum(), taken[part].sum())
    covered = np.zeros((height, width), int)
    for proposal in choose_squares(maps, tiles, labels, frame, ProposalSettings(4, float(size))):
        y, x, h, w = proposal.window_px
        assert (h, w) == (min(size, height), min(size, width))
        assert y + h <= height
        assert x + w <= width
        assert not taken[y : y + h, x : x + w].any()
        covered[y : y + h, x : x + w] += 1
    assert covered.max() <= 1
