"""Scores and cohort tables on stores with hand-computed answers."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tiling.raster.geometry import Geometry
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.attributes import record_failure, set_attributes
from workflow.stages.scores import POOLED, evaluate_slide, headline, summarise

GEOMETRY = Geometry.uniform(100, 100, downsample=2.0)


def store(path: Path, attrs: dict, **arrays: np.ndarray) -> Path:
    group = create_group(path)
    for name, values in arrays.items():
        create_array(group, name, values.shape, values.dtype)[...] = values
    set_attributes(group, {"status": "ok", "slide": "s", "geometry": GEOMETRY.to_dict(), **attrs})
    return path


def card(path: Path) -> Path:
    """5000 um2 of tissue."""
    path.parent.mkdir()
    path.write_text('{"tissue_mm2": 0.005}')
    return path


def stores(folder: Path) -> tuple[Path, Path]:
    """Two regions: a perfect gland in the first; in the second a true gland partly found, under an ignored strip, and a false one."""
    truth, found = np.zeros((100, 100), np.int32), np.zeros((100, 100), np.int32)
    region, weight = np.zeros((100, 100), np.uint16), np.zeros((100, 100), np.uint8)
    region[0:40, 0:40], region[50:90, 50:90] = 1, 2
    weight[region > 0] = 1
    weight[50:60, 50:90] = 0
    truth[10:30, 10:30] = found[10:30, 10:30] = 1
    truth[50:80, 60:70] = 2
    found[50:80, 60:68] = 2
    found[82:90, 75:85] = 3
    found[0:5, 60:90] = 4  # outside every region
    regions = [{"name": "a", "window": [0, 0, 40, 40]}, {"name": "b", "window": [50, 50, 40, 40]}]
    labels = store(
        folder / "labels" / "s.zarr",
        {"regions": regions},
        labels=truth,
        region=region,
        weight=weight,
    )
    return store(folder / "glands" / "s.zarr", {}, labels=found), labels


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as handle:
        return {row["region"]: row for row in csv.DictReader(handle)}


def test_regions_are_images_and_nothing_outside_or_ignored_counts(tmp_path: Path) -> None:
    glands, labels = stores(tmp_path)
    evaluate_slide(
        glands,
        labels,
        tmp_path / "m.csv",
        slide="s",
        split="test",
        method="semimoe",
        min_area_um2=0,
    )
    scores = rows(tmp_path / "m.csv")
    assert list(scores) == ["a", "b", POOLED]
    assert float(scores["a"]["dice"]) == float(scores["a"]["object_f1"]) == 1
    # Region b, rows 60..90: truth 20 x 10, found 20 x 8 of it, and 8 x 10 false.
    assert float(scores["b"]["dice"]) == pytest.approx(2 * 160 / (200 + 240), abs=1e-6)
    assert (scores["b"]["tp"], scores["b"]["fp"], scores["b"]["fn"]) == ("1", "1", "0")
    assert float(scores[POOLED]["dice"]) == pytest.approx(2 * 560 / (600 + 640), abs=1e-6)
    assert float(scores[POOLED]["object_f1"]) == pytest.approx(2 * 2 / (2 * 2 + 1), abs=1e-6)
    assert float(scores["b"]["annotated_mm2"]) == pytest.approx(30 * 40 / 1e6)


def test_small_objects_go_from_truth_and_prediction_alike(tmp_path: Path) -> None:
    glands, labels = stores(tmp_path)
    evaluate_slide(
        glands,
        labels,
        tmp_path / "m.csv",
        slide="s",
        split="test",
        method="semimoe",
        min_area_um2=150,
    )
    assert rows(tmp_path / "m.csv")["b"]["fp"] == "0"
    evaluate_slide(
        glands,
        labels,
        tmp_path / "m.csv",
        slide="s",
        split="test",
        method="semimoe",
        min_area_um2=201,
    )
    assert rows(tmp_path / "m.csv")["b"]["tp"] == "0"


def test_a_recorded_annotation_error_is_raised_again(tmp_path: Path) -> None:
    glands, _ = stores(tmp_path)
    record_failure(tmp_path / "labels" / "bad.zarr", AnnotationError("bad.geojson: cut"), {})
    with pytest.raises(AnnotationError, match="cut"):
        evaluate_slide(
            glands,
            tmp_path / "labels" / "bad.zarr",
            tmp_path / "m.csv",
            slide="s",
            split="test",
            method="semimoe",
            min_area_um2=0,
        )


def test_cohort_counts_slides_and_regions_and_passes_columns_on(tmp_path: Path) -> None:
    glands, labels = stores(tmp_path)
    evaluate_slide(
        glands,
        labels,
        tmp_path / "m.csv",
        slide="s",
        split="test",
        method="semimoe",
        min_area_um2=0,
    )
    tiles = card(tmp_path / "cards" / "s.json")
    (tmp_path / "s.csv").write_text("id,area_um2\na,400\nb,240\nc,80\n")
    passed = {"s": {"split": "test", "site": "North, 1"}}
    summarise(
        [str(tmp_path / "m.csv")],
        [str(tmp_path / "s.csv")],
        [str(tiles)],
        passed,
        tmp_path / "metrics.csv",
        tmp_path / "cohort.csv",
    )
    cohort = rows(tmp_path / "cohort.csv")
    assert list(cohort) == ["", "a", "b"]
    assert cohort[""]["glands"] == "3"
    assert float(cohort[""]["gland_share"]) == pytest.approx(720 / 5000)
    assert float(cohort[""]["gland_area_um2_q50"]) == 240
    assert {row["site"] for row in cohort.values()} == {"North, 1"}
    assert [row["method"] for row in headline(tmp_path / "metrics.csv")] == ["semimoe"]


def test_a_slide_called_na_and_a_region_called_pooled_keep_their_names(tmp_path: Path) -> None:
    glands, labels = stores(tmp_path)
    group = create_group(labels)
    set_attributes(
        group,
        {
            "regions": [
                {"name": POOLED, "window": [0, 0, 40, 40]},
                {"name": "b", "window": [50, 50, 40, 40]},
            ]
        },
    )
    evaluate_slide(
        glands,
        labels,
        tmp_path / "m.csv",
        slide="NA",
        split="test",
        method="semimoe",
        min_area_um2=0,
    )
    (tmp_path / "NA.csv").write_text("id,area_um2\n")
    tiles = card(tmp_path / "cards" / "NA.json")
    summarise(
        [str(tmp_path / "m.csv")],
        [str(tmp_path / "NA.csv")],
        [str(tiles)],
        {"NA": {}},
        tmp_path / "metrics.csv",
        tmp_path / "cohort.csv",
    )
    assert list(rows(tmp_path / "cohort.csv")) == ["", f"{POOLED} (region)", "b"]
    assert [row["slide"] for row in headline(tmp_path / "metrics.csv")] == ["NA"]
