"""Scores of a slide, on stores with answers computed by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest
import zarr

from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.attributes import record_failure, set_attributes, stored_json
from tiling.stores.manifest import seal_store
from workflow.stages.evaluate_slide import POOLED, evaluate_slide

GEOMETRY = Geometry.uniform(100, 100, downsample=2.0)
REGIONS = {"a": [0, 0, 40, 40], "b": [50, 50, 40, 40]}


def store(path: Path, attrs: dict, **arrays: np.ndarray) -> Path:
    group = create_group(path)
    for name, values in arrays.items():
        create_array(group, name, values.shape, values.dtype)[...] = values
    set_attributes(group, {"status": "ok", "slide": "s", "geometry": GEOMETRY.to_dict(), **attrs})
    seal_store(path)
    return path


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """Glands and labels of two regions.

    In the first region one gland is predicted exactly. In the second a true gland is predicted in
    part, below an ignored strip, and one predicted gland is false.
    """
    truth, prediction = np.zeros((100, 100), np.int32), np.zeros((100, 100), np.int32)
    region, weight = np.zeros((100, 100), np.uint16), np.zeros((100, 100), np.uint8)
    region[0:40, 0:40], region[50:90, 50:90] = 1, 2
    weight[region > 0] = 1
    weight[50:60, 50:90] = 0
    truth[10:30, 10:30] = prediction[10:30, 10:30] = 1
    truth[50:80, 60:70] = 2
    prediction[50:80, 60:68] = 2
    prediction[82:90, 75:85] = 3
    prediction[0:5, 60:90] = 4  # outside every region
    regions = [{"name": name, "window": window} for name, window in REGIONS.items()]
    arrays = {"labels": truth, "region": region, "weight": weight}
    labels = store(tmp_path / "labels" / "s.zarr", {"regions": regions}, **arrays)
    return store(tmp_path / "glands" / "s.zarr", {}, labels=prediction), labels


def scores_of(glands: Path, labels: Path, min_area_um2: float = 0) -> dict[str, dict[str, str]]:
    """Rows of the csv file by region."""
    metrics = glands.parents[1] / "m.csv"
    evaluate_slide(
        glands,
        labels,
        metrics,
        slide="s",
        split="test",
        method="semimoe",
        min_area_um2=min_area_um2,
    )
    with metrics.open(newline="") as file:
        return {row["region"]: row for row in csv.DictReader(file)}


def test_each_region_is_an_image_and_ignored_pixels_do_not_count(
    stores: tuple[Path, Path],
) -> None:
    scores = scores_of(*stores)
    assert list(scores) == ["a", "b", POOLED]
    assert float(scores["a"]["dice"]) == float(scores["a"]["object_f1"]) == 1
    # Region b, rows 60..90: truth 20 x 10, prediction 20 x 8 of it, and 8 x 10 false pixels.
    assert float(scores["b"]["dice"]) == pytest.approx(2 * 160 / (200 + 240), abs=1e-6)
    assert (scores["b"]["tp"], scores["b"]["fp"], scores["b"]["fn"]) == ("1", "1", "0")
    assert float(scores[POOLED]["dice"]) == pytest.approx(2 * 560 / (600 + 640), abs=1e-6)
    assert float(scores[POOLED]["object_f1"]) == pytest.approx(2 * 2 / (2 * 2 + 1), abs=1e-6)
    assert float(scores["b"]["annotated_mm2"]) == pytest.approx(30 * 40 / 1e6)


def test_counts_and_areas_are_those_of_predicted_glands(stores: tuple[Path, Path]) -> None:
    region = scores_of(*stores)["b"]
    assert region["glands"] == "2"
    assert float(region["gland_area_mm2"]) == pytest.approx((160 + 80) / 1e6)
    assert float(region["gland_area_um2_q50"]) == pytest.approx(120)


def test_small_objects_are_removed_from_truth_and_prediction(stores: tuple[Path, Path]) -> None:
    assert scores_of(*stores, min_area_um2=150)["b"]["fp"] == "0"
    assert scores_of(*stores, min_area_um2=201)["b"]["tp"] == "0"


def test_a_recorded_annotation_error_is_raised(stores: tuple[Path, Path], tmp_path: Path) -> None:
    failed = tmp_path / "labels" / "bad.zarr"
    record_failure(failed, AnnotationError("bad.geojson: truncated"), {})
    with pytest.raises(AnnotationError, match="truncated"):
        scores_of(stores[0], failed)


def test_a_region_called_pooled_keeps_its_name(stores: tuple[Path, Path]) -> None:
    regions = [{"name": POOLED, "window": REGIONS["a"]}, {"name": "b", "window": REGIONS["b"]}]
    set_attributes(create_group(stores[1]), {"regions": regions})
    seal_store(stores[1])
    assert list(scores_of(*stores)) == [f"{POOLED} (region)", "b", POOLED]


def test_a_region_with_the_name_of_a_formula_is_a_text(stores: tuple[Path, Path]) -> None:
    glands, labels = stores
    regions = [{"name": "=1+1", "window": REGIONS["a"]}, {"name": "+", "window": REGIONS["b"]}]
    set_attributes(zarr.open_group(labels), {**stored_json(labels), "regions": regions})
    seal_store(labels)
    assert set(scores_of(glands, labels)) == {"'=1+1", "+", POOLED}
