"""What the results of a run of the whole pipeline must be."""

import csv
import gzip
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
import tifffile
from small_run import GPU_RULES, ROWS, SLIDES, Run

from semimoe.methods import METHODS
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import stored_json
from workflow.result_paths import record_of_store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_slide_has_outlines_picture_and_proposals(run: Run) -> None:
    results = run.folder / "results"
    for slide in SLIDES:
        assert (results / "overviews" / f"{slide}.png").stat().st_size > 10_000
        assert (
            json.loads((results / "proposals" / f"{slide}.geojson").read_text())["type"]
            == "FeatureCollection"
        )
        assert json.loads((results / "glands" / f"{slide}.geojson").read_text())["features"], slide


def test_outlines_are_valid_and_have_the_areas_of_the_label_image(run: Run) -> None:
    results = run.folder / "results"
    for slide in SLIDES:
        features = json.loads((results / "glands" / f"{slide}.geojson").read_text())["features"]
        shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
        assert all(
            shape.is_valid and shapely.set_precision(shape, 0.01).is_valid for shape in shapes
        )
        store = results / "glands" / f"{slide}.zarr"
        geometry = stored_json(store)["geometry"]
        area = (
            read_table(store, "objects", ("area_px",))["area_px"]
            * geometry["downsample_x"]
            * geometry["downsample_y"]
        )
        assert len(area) == len(shapes) > 0
        # Outlines are smoothed (`export.smooth_um`), which changes areas by less than 1 %.
        np.testing.assert_allclose(sorted(shape.area for shape in shapes), sorted(area), rtol=0.01)
        labels = np.asarray(open_array(open_store(store), "labels")[...])
        assert (
            np.bincount(labels.ravel())[1:].tolist()
            == read_table(store, "objects", ("area_px",))["area_px"].tolist()
        )


def test_a_trained_model_is_better_than_glands_everywhere(run: Run) -> None:
    """On a test slide the model scores more than a prediction of glands everywhere."""
    results = run.folder / "results"
    pooled = {
        row["method"]: row
        for row in rows(results / "metrics.csv")
        if row["slide"] == "test" and row["region"] == "pooled"
    }
    assert set(pooled) == {"semimoe", "supervised", "unet", "mean-teacher", "cps"}
    labels = np.asarray(open_array(open_store(results / "labels" / "test.zarr"), "labels")[...]) > 0
    all_gland = 2 * labels.mean() / (1 + labels.mean())
    for method, scores in pooled.items():
        assert float(scores["dice"]) > all_gland + 0.1, method
    page = (results / "report.html").read_text()
    assert all(METHODS[name].label in page for name in pooled)


def test_the_card_names_the_model_that_made_the_pseudo_labels(run: Run) -> None:
    models = run.folder / "results" / "models"
    cards = {
        name: json.loads((models / name / "model.json").read_text())
        for name in ("semimoe", "supervised", "mean-teacher")
    }
    labeller = cards["supervised"]["weights_sha256"][:16]
    assert cards["semimoe"]["notes"]["pseudo_from"] == labeller
    assert cards["supervised"]["notes"].get("pseudo_from") is None
    assert cards["mean-teacher"]["notes"].get("pseudo_from") is None  # it makes its own targets


def test_the_cohort_table_counts_the_exported_glands(run: Run) -> None:
    results = run.folder / "results"
    rows_of_slides = {
        row["slide"]: row for row in rows(results / "cohort.csv") if not row["region"]
    }
    for slide in SLIDES:
        assert int(rows_of_slides[slide]["glands"]) == len(
            rows(results / "glands" / f"{slide}.csv")
        )
    assert {row["slide"] for row in rows(results / "cohort.csv") if row["region"]} == {
        "lab",
        "val",
        "test",
    }


def test_the_report_needs_no_other_file_and_shows_slides_and_curves(run: Run) -> None:
    page = (run.folder / "results" / "report.html").read_text()
    assert page.count('src="data:image/') >= len(SLIDES)
    assert page.count("<svg") == 2
    assert "supervised-only" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert "https://" not in page


def test_a_second_run_has_nothing_to_do(run: Run) -> None:
    assert run.planned() == set()


@pytest.mark.parametrize("spelling", ["./results", "results//", "results/"])
def test_another_spelling_of_the_folder_is_the_same_run(run: Run, spelling: str) -> None:
    assert run.planned("--config", f"results={spelling}") == set()


def test_fine_tuning_scores_the_start_model_beside_the_new_one(run: Run) -> None:
    plan = run.snakemake(
        *(
            "-n",
            "--quiet",
            "host",
            "--config",
            "results=tuned",
            "start_from=results/models/semimoe",
        ),
        *("compare=[supervised]", "--", "tuned/metrics.csv"),
    ).stdout
    (job,) = (
        text
        for text in plan.split("\n\n")
        if "output: tuned/compare/start-model/maps/test.zarr" in text
    )
    assert "results/models/semimoe/model.safetensors" in job
    assert "tuned/compare/start-model/metrics/test.csv" in plan


def test_fine_tuning_is_repeated_when_the_start_model_was_replaced(run: Run) -> None:
    """By an older file, whose time says nothing."""
    shutil.copytree(run.folder / "results", run.folder / "tuned", copy_function=shutil.copy2)
    shutil.copytree(run.folder / "results" / "models" / "supervised", run.folder / "start")
    arguments = (
        "--config",
        "results=tuned",
        "start_from=start",
        "compare=[supervised]",
        "training={epochs: 1, warm_start_epochs: 0, steps_per_epoch: 1, batch: 8}",
        "--",
        "tuned/models/supervised/model.safetensors",
    )
    run.snakemake(*arguments)
    for name in ("model.json", "model.safetensors"):
        shutil.copy(run.folder / "results" / "models" / "semimoe" / name, run.folder / "start")
        os.utime(run.folder / "start" / name, (1_500_000_000, 1_500_000_000))
    text = run.snakemake("-n", *arguments).stderr
    assert "Again: train_supervised: start_from model.safetensors has other content" in text
    shutil.rmtree(run.folder / "tuned")


def test_training_reads_its_slides_in_the_order_of_their_names(run: Run) -> None:
    """Another order of the rows of a sheet is no other training."""
    run.write_sheet("order.tsv", ROWS[2].replace("validation", "labelled"), ROWS[0])
    arguments = ("--config", "slides=order.tsv", "results=ordered", "compare=[supervised]")
    plan = run.snakemake("-n", "--quiet", "host", *arguments).stdout
    inputs = plan.partition("rule train_supervised:\n")[2].splitlines()[0]
    places = [
        inputs.index(f"ordered/{kind}/{slide}.zarr.json")
        for kind in ("tiles", "labels")
        for slide in ("lab", "val")
    ]
    assert places == sorted(places)


def test_outlines_of_another_scale_stop_the_run_before_training(run: Run) -> None:
    outlines = json.loads((run.folder / "lab.geojson").read_text())
    for feature in outlines["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        quarter = shapely.transform(shape, lambda points: points / 4)
        feature["geometry"] = shapely.geometry.mapping(quarter)
    (run.folder / "quarter.geojson").write_text(json.dumps(outlines))
    run.write_sheet("quarter.tsv", ROWS[0].replace("lab.geojson", "quarter.geojson"))
    shutil.copytree(run.folder / "results", run.folder / "quarter", copy_function=shutil.copy2)
    shutil.rmtree(run.folder / "quarter" / "models")
    weights = "quarter/models/supervised/model.safetensors"
    done = run.snakemake(
        "--config", "slides=quarter.tsv", "results=quarter", "--", weights, check=False
    )
    assert done.returncode == 1
    assert "multiplied by 4" in done.stderr
    assert "train_supervised supervised: started" not in done.stderr
    assert not (run.folder / weights).exists()
    shutil.rmtree(run.folder / "quarter")


def test_a_threshold_change_plans_no_gpu_job(run: Run) -> None:
    planned = run.planned("--config", "glands={threshold: 0.7, min_area_um2: 1000}")
    assert "stitch_slide" in planned
    assert not planned & GPU_RULES


@pytest.mark.parametrize("change", ["flips: true", "precision: bf16", "batch: 4"])
def test_a_setting_of_prediction_predicts_again_and_does_not_retrain(run: Run, change: str) -> None:
    # `auto` may already have chosen bf16, but this is not known before the job runs
    planned = run.planned("--config", f"prediction={{{change}}}")
    assert {"predict_slide", "predict_slide_compared", "stitch_slide"} <= planned
    assert not planned & {"train", "train_supervised", "pseudo_label", "tile_slide"}


def test_a_setting_of_pseudo_labels_retrains_semimoe_alone(run: Run) -> None:
    unchanged = (
        "epochs: 4, warm_start_epochs: 2, steps_per_epoch: 16, lr: 0.006, batch: 8, "
        "tiles_per_slide: 20, min_confidence: 0.5"
    )
    changed = "pseudo: derived, pseudo_labels: online"
    planned = run.planned("--config", f"training={{{unchanged}, {changed}}}")
    assert {"train", "predict_slide"} <= planned
    assert not planned & {"train_supervised", "pseudo_label", "predict_slide_compared"}


def test_without_one_compared_method_only_the_tables_are_made_again(run: Run) -> None:
    planned = run.planned("--config", "compare=[supervised]")
    assert "report" in planned
    assert not planned & {*GPU_RULES, "stitch_slide"}


def test_every_preview_reports_a_broken_slide_until_it_is_skipped(
    run: Run,
) -> None:
    content = (run.folder / "test.tiff").read_bytes()
    (run.folder / "truncated.tiff").write_bytes(content[: len(content) // 3])
    for split in ("predict", "predict", "skip"):
        run.write_sheet(
            "truncated.tsv",
            "good\ttest.tiff\tpredict\t\t",
            f"truncated\ttruncated.tiff\t{split}\t\t",
        )
        config = ("--config", "slides=truncated.tsv", "results=previewed")
        done = run.snakemake(*config, "--", "preview", check=False)
        text = done.stdout + done.stderr
        reports = [line for line in text.splitlines() if line.startswith("truncated: ")]
        expected = (1, 1) if split == "predict" else (0, 0)
        assert (done.returncode, len(reports)) == expected, text
    assert "truncated" not in (run.folder / "previewed" / "preview.html").read_text()


def test_another_slide_to_predict_does_not_retrain(run: Run) -> None:
    run.write_sheet("more.tsv", *ROWS, "new\tval.tiff\tpredict\t\t")
    planned = run.planned("--config", "slides=more.tsv")
    assert {"tile_slide", "predict_slide", "export_slide"} <= planned
    assert not planned & {"train", "train_supervised", "pseudo_label"}


def test_outlines_of_an_unlabelled_slide_do_not_retrain(run: Run) -> None:
    outlines = run.folder / "unl.geojson"
    # Snakemake ignores a newer file of the same content.
    outlines.write_text(outlines.read_text() + "\n")
    planned = run.planned()
    assert "label_slide" in planned
    assert not planned & GPU_RULES
    # Snakemake alone does not ask whether jobs behind the training are forced too.
    planned = run.planned("--config", "glands={min_area_um2: 900}")
    assert {"label_slide", "stitch_slide", "export_slide", "evaluate_slide"} <= planned
    assert not planned & GPU_RULES
    run.snakemake()


def test_a_new_outline_retrains(run: Run) -> None:
    copy = run.folder / "lab2.geojson"
    shutil.copy(run.folder / "lab.geojson", copy)
    run.write_sheet("outlines.tsv", ROWS[0].replace("lab.geojson", "lab2.geojson"), *ROWS[1:])
    assert {"label_slide", "train_supervised", "train"} <= run.planned(
        "--config", "slides=outlines.tsv"
    )


def test_a_given_model_predicts_and_a_broken_slide_does_not_stop_the_others(run: Run) -> None:
    content = (run.folder / "test.tiff").read_bytes()
    (run.folder / "broken.tiff").write_bytes(content[: len(content) // 3])
    (run.folder / "text.tiff").write_text("no slide at all")
    run.write_sheet(
        "predict.tsv",
        "good\ttest.tiff\ttest\ttest.truth.tiff\twhole",
        "broken\tbroken.tiff\tpredict\t\t",
        "text\ttext.tiff\ttest\ttest.truth.tiff\twhole",
    )
    arguments = (
        "--config",
        "slides=predict.tsv",
        "results=predicted",
        "model=results/models/semimoe",
        "keep=[]",
        "scratch=disk",
    )
    assert not run.planned(*arguments) & {"train", "train_supervised", "pseudo_label"}
    done = run.snakemake(*arguments, check=False)
    results = run.folder / "predicted"
    assert done.returncode == 1
    assert (results / "glands" / "good.geojson").read_bytes() != b""
    features = {
        slide: json.loads((run.folder / where / "glands" / f"{slide}.geojson").read_text())[
            "features"
        ]
        for slide, where in (("good", "predicted"), ("test", "results"))
    }
    assert [f["geometry"] for f in features["good"]] == [f["geometry"] for f in features["test"]]
    page = (results / "report.html").read_text()
    assert {
        (row["slide"], bool(row["dice"]), "text.tiff" in row["error"])
        for row in rows(results / "metrics.csv")
    } == {
        ("good", True, False),
        ("text", False, True),
    }
    assert {row["slide"]: bool(row["error"]) for row in rows(results / "cohort.csv")} == {
        "good": False,
        "broken": True,
        "text": True,
    }
    assert "good: given model" in done.stderr, "scores of the other slides are printed"
    for slide in ("broken", "text"):
        assert not list((results / "glands").glob(f"{slide}*.geojson"))
        assert f"{slide}.tiff" in done.stderr + done.stdout
        assert f"{slide}.tiff" in page
        assert stored_json(results / "tiles" / f"{slide}.zarr")["status"] == "failed"

    # A repaired slide is tried again, and nothing else; also if the repaired file has an old time.
    time.sleep(1)  # some file systems store modification times in whole seconds
    for name in ("broken", "text"):
        (run.folder / f"{name}.tiff").write_bytes(content)
    os.utime(run.folder / "text.tiff", (1_500_000_000, 1_500_000_000))
    assert "train" not in run.planned(*arguments)
    run.snakemake(*arguments)
    assert (results / "glands" / "broken.geojson").is_file()
    # Tiles of slides that are only predicted are deleted after the last job that reads them.
    assert sorted(path.name for path in (results / "tiles").glob("*.zarr")) == [
        "good.zarr",
        "text.zarr",
    ]
    assert list((run.folder / "disk").iterdir()) == []
    assert not any(
        row["error"] for row in rows(results / "metrics.csv") + rows(results / "cohort.csv")
    )
    assert run.planned(*arguments) == set()

    # Tiles that are not kept are made again where a prediction is lost; `good` has both.
    record_of_store(results / "maps" / "broken.zarr").unlink()
    glands = [f"predicted/glands/{slide}.geojson" for slide in ("broken", "good")]
    changed = ("glands={threshold: 0.7, min_area_um2: 1000}", "--", *glands)
    done = run.snakemake(*arguments, *changed)
    assert "tile_slide broken: started" in done.stderr
    broken, good = (json.loads((run.folder / path).read_text())["features"] for path in glands)
    assert [f["geometry"] for f in broken] == [f["geometry"] for f in good]
    assert [f["geometry"] for f in broken] != [f["geometry"] for f in features["good"]]


def test_a_label_mask_is_made_on_request_and_deleted_with_its_labels(run: Run) -> None:
    shutil.copytree(run.folder / "results", run.folder / "masked", copy_function=shutil.copy2)
    mask, glands = (
        run.folder / "masked" / "glands" / "test.ome.tiff",
        run.folder / "masked" / "glands" / "test.zarr",
    )
    run.snakemake(
        "--config",
        "results=masked",
        "export={label_mask: true}",
        "--",
        "masked/glands/test.ome.tiff",
    )
    labels = np.asarray(open_array(open_store(glands), "labels")[...])
    np.testing.assert_array_equal(tifffile.imread(mask), labels)
    geometry = stored_json(glands)["geometry"]
    with openslide.OpenSlide(mask) as slide:
        assert slide.dimensions == (labels.shape[1], labels.shape[0])
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(
            geometry["mpp_x"], rel=1e-4
        )
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., 0]
    assert labels.max() <= 255, "OpenSlide shows labels above 255 as other numbers"
    np.testing.assert_array_equal(pixels, labels)
    run.snakemake("--config", "results=masked", "--force", "--", "masked/glands/test.zarr.json")
    assert not mask.exists()
    shutil.rmtree(run.folder / "masked")


def test_outlines_are_compressed_on_request_and_exist_only_once(run: Run) -> None:
    shutil.copytree(run.folder / "results", run.folder / "smaller", copy_function=shutil.copy2)
    plain, compressed = (
        run.folder / "smaller" / "glands" / f"test.{ending}" for ending in ("geojson", "geojson.gz")
    )
    text = plain.read_bytes()
    arguments = (
        "--config",
        "results=smaller",
        "export={compress: true}",
        "--force",
        "--",
        "smaller/glands/test.geojson.gz",
    )
    run.snakemake(*arguments)
    written = compressed.read_bytes()
    assert gzip.decompress(written) == text
    assert not plain.exists()
    run.snakemake(*arguments)
    assert compressed.read_bytes() == written
    shutil.rmtree(run.folder / "smaller")


def test_a_run_that_cannot_fit_is_refused_before_it_starts(run: Run) -> None:
    done = run.snakemake("--config", "results=nowhere", "max_disk_gb=0.0001", check=False)
    assert done.returncode == 1
    assert "does not fit in 0.0001 GB (max_disk_gb)" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (run.folder / "nowhere").rglob("*")] == ["run.lock"]


def test_six_problems_of_a_sheet_are_one_message(run: Run) -> None:
    run.write_sheet(
        "bad.tsv",
        "a\tgone.tiff\tpredict\t\t",
        "b\tlab.tiff\tholdout\t\t",
        "B\tlab.tiff\tpredict\t\t",
        "../c\tlab.tiff\tpredict\t\t",
        "d\tlab.tiff\ttest\t\t",
    )
    (run.folder / "bad.tsv").write_text(
        (run.folder / "bad.tsv").read_text().replace("annotated\n", "annotated\tmpp\n", 1)
        + "e\tlab.tiff\tpredict\t\t\t352.8\n"
    )
    done = run.snakemake("-n", "--config", "slides=bad.tsv", check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in text
    for message in (
        "gone.tiff does not exist",
        "'holdout' is not one of",
        "'b' occurs more than once",
        "'../c' is not a valid id",
        "352.8",
        "needs outlines",
    ):
        assert message in text
