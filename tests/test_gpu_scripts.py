"""The scripts for a GPU machine, on the CPU at a tiny size."""

import csv
import json
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semimoe.__main__ import _parser
from semimoe.commands.training_settings import network_and_training_settings
from semimoe.methods import METHODS
from semimoe.model_card import load_card

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "gpu"


def run_script(monkeypatch, name: str, *options: str, status: int = 0) -> None:
    """Run a script in this process as if it were called."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    assert (exit_info.value.code or 0) == status


def figures(out: Path) -> list[dict[str, str]]:
    with (out / "figures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_glas(folder: Path) -> None:
    """A folder with the names of GlaS and images of 32 px."""
    rng = np.random.default_rng(0)
    names = [f"train/train_{number}" for number in range(1, 86)] + ["testA/testA_1"]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 8:24] = 1
        image = np.where(mask[..., None] > 0, 90, 210) + rng.integers(0, 30, (32, 32, 3))
        Image.fromarray(image.astype(np.uint8)).save(f"{path}.png")
        Image.fromarray(mask).save(f"{path}_anno.png")


def test_checks_before_a_measurement_compare_windows_maps_and_steps(tmp_path, monkeypatch) -> None:
    run_script(
        monkeypatch, "0_checks.py", "--out", str(tmp_path), "--device", "cpu", "--threads", "1",
        "--tile", "32", "--batch", "2", "--timed", "1", "--checks", "windows", "flips", "steps",
        "--cases", "unimatch",
    )  # fmt: skip
    rows = {row["check"]: row for row in figures(tmp_path)}
    assert {row["outcome"] for row in rows.values()} == {"passed"}
    assert {"windows, deform", "flips", "unimatch"} <= set(rows)
    # The rectangles that it exchanges are other ones in each step.
    assert rows["unimatch"]["random"] == "True, recorded True"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_failed_check_is_reported_and_does_not_end_the_others(tmp_path, monkeypatch) -> None:
    options = ["--out", str(tmp_path), "--checks", "windows"]
    run_script(monkeypatch, "0_checks.py", *options, status=1)
    rows = figures(tmp_path)
    assert len(rows) == 3
    assert all(row["outcome"].startswith("DeviceError: a GPU was requested") for row in rows)
    assert (tmp_path / "errors.log").read_text().count("Traceback") == 3


def test_training_steps_are_measured_until_the_deadline(tmp_path, monkeypatch, capsys) -> None:
    run_script(
        monkeypatch, "1_training_steps.py", "--out", str(tmp_path), "--device", "cpu",
        "--threads", "1", "--tile", "32", "--batches", "2", "--seconds", "1.5", "--minutes", "0.02",
    )  # fmt: skip
    # The first measurement takes longer than the 1.2 s until the deadline.
    (row,) = figures(tmp_path)
    assert float(row["tiles/s"]) > 0
    # Whole tiles per second are shown.
    assert float(row["tiles/s"]) == pytest.approx(2000 / float(row["step ms"]), abs=0.51)
    assert "deadline: default, semimoe" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "figures.zip") as archive:
        assert {"figures.csv", "table.md"} <= set(archive.namelist())
    operations = (tmp_path / "operations-default-supervised-batch-2.txt").read_text()
    assert "aten::convolution" in operations or "aten::mkldnn_convolution" in operations


def test_cells_of_the_table_are_trained_and_scored(tmp_path, monkeypatch) -> None:
    write_glas(tmp_path / "glas")
    run_script(
        monkeypatch, "2_table_cells.py", "--data", str(tmp_path / "glas"), "--mpp", "1.24",
        "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1",
        "--methods", "unet", "--labelled", "0.2", "--", "--set=training.epochs=1",
        "--set=training.steps_per_epoch=1", "--set=network.width=4", "--set=training.tile_px=32",
        "--set=training.batch=1", "--set=network.encoder=unet", "--set=training.precision=fp32",
    )  # fmt: skip
    (row,) = figures(tmp_path / "out")
    assert (row["row"], row["labelled_share"], row["seed"]) == ("unet", "0.2", "0")
    assert 0 <= float(row["dice"]) <= 1


def test_both_parts_of_fine_tuning_are_scored(tmp_path, monkeypatch) -> None:
    """A fold of images of 32 px; the weights alone and the start model have the mean as mean."""
    from semimoe.tensor_files import load_tensors

    write_glas(tmp_path / "glas")
    run_script(
        monkeypatch, "4_fine_tuning.py", "--data", str(tmp_path / "glas"), "--mpp", "1.2401",
        "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1", "--folds", "1",
        "--schedules", "short", "--", "--epochs=1", "--steps=1", "--width=4", "--tile=32",
        "--batch=1", "--set=network.encoder=unet",
    )  # fmt: skip
    rows = {row["model"]: row for row in figures(tmp_path / "out")}
    assert set(rows) == {
        "start model",
        "short schedule, mean with the start model",
        "short schedule, trained weights alone",
    }
    assert {row["outcome"] for row in rows.values()} == {"finished"}
    assert {row["scored images"] for row in rows.values()} == {"15"}
    start, mean, alone = (
        load_tensors(tmp_path / "out" / "fold1" / name / "model.safetensors")[0]
        for name in ("start", "short", "short-alone")
    )
    kernels = [name for name in mean if name.endswith("weight")]
    assert any((alone[name] != start[name]).any() for name in kernels)
    for name in kernels:
        np.testing.assert_allclose((alone[name] + start[name]) / 2, mean[name], atol=1e-6)


def test_small_slides_are_predicted_by_the_workflow_and_their_times_reported(
    tmp_path, monkeypatch
) -> None:
    """One slide of 1 mm2 with a little tissue."""
    image = np.full((2048, 2048, 3), 240, np.uint8)
    image[:400, :400] = (200, 100, 170)
    monkeypatch.syspath_prepend(str(SCRIPTS.parent))
    from repeated_slide import write_slide

    write_slide(tmp_path / "slide.tiff", image, 0)
    run_script(
        monkeypatch, "3_slide.py", "--out", str(tmp_path / "out"), "--device", "cpu",
        "--slide", str(tmp_path / "slide.tiff"), "--mm2", "0", "--many", "1", "--jobs", "1",
        "--batches", "--cores", "2",
    )  # fmt: skip
    (row,) = figures(tmp_path / "out")
    assert row["outcome"] == "finished"
    assert row["GPU busy"] == "no GPU"
    seconds, mm2 = float(row["seconds"]), 1.024**2  # 4096 px of 0.25 um
    assert float(row["s per mm2"]) == pytest.approx(seconds / mm2, rel=0.05)
    parts = dict(part.rsplit(" ", 1) for part in row["parts"].split(", "))
    assert 0 < float(parts["predict_slide"]) < seconds
    assert 0 < int(row["after the network"].rstrip("%")) < 100


def test_the_network_alone_is_measured(tmp_path, monkeypatch, capsys) -> None:
    run_script(
        monkeypatch, "network_speed.py", "--model", str(SCRIPTS.parents[1] / "models" / "glas"),
        "--device", "cpu", "--threads", "1", "--batches", "1", "--seconds", "0",
    )  # fmt: skip
    start, batch = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(start["start"]) == {"imports", "GPU context", "model", "first tile"}
    assert batch["batch"] == 1
    assert batch["call s"] > 0


def test_a_repeated_slide_has_the_mirrored_image_at_each_level(tmp_path, monkeypatch) -> None:
    """Blocks of one colour: JPEG keeps them. 2048 px are mirrored to 4096 and repeated twice."""
    import openslide

    monkeypatch.syspath_prepend(str(SCRIPTS.parent))
    from repeated_slide import MPP_UM, write_slide

    blocks = np.random.default_rng(0).integers(80, 200, (8, 8), np.uint8)
    grey = np.kron(blocks, np.ones((256, 256), np.uint8))
    image = np.repeat(grey[..., None], 3, axis=2)
    path = tmp_path / "slide.tiff"
    assert write_slide(path, image, (8192 * MPP_UM / 1000) ** 2) == (8192, 8192)
    period = np.block([[blocks, blocks[:, ::-1]], [blocks[::-1], blocks[::-1, ::-1]]])
    expected = np.tile(period, (2, 2))
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.level_dimensions == ((8192, 8192), (2048, 2048), (512, 512))
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == MPP_UM
        for level, side in ((1, 64), (2, 16)):
            size = slide.level_dimensions[level]
            pixels = np.asarray(slide.read_region((0, 0), level, size).convert("L"), float)
            centres = pixels[side // 2 :: side, side // 2 :: side]
            np.testing.assert_allclose(centres, expected, atol=3)
    assert path.stat().st_size < 2**20


def test_the_wheels_of_the_gpu_machine_are_in_the_lock_file(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import collect_wheels

    locked = {line.split("==")[0] for line in collect_wheels.LOCK.read_text().splitlines()}
    assert set(collect_wheels.NAMES) <= locked
    requirements = {one.package.requirement for one in METHODS.values() if one.package}
    packages = {text.split("==")[0] for text in requirements} - {"monai[einops]"}
    assert packages <= set(collect_wheels.TRAINING_NAMES)
    kept = collect_wheels.KEPT["pulp"]
    assert kept.match("pulp/pulp.py")
    assert kept.match("pulp/solverdir/cbc/linux/i64/cbc")
    assert not kept.match("pulp/solverdir/cbc/osx/i64/cbc")


def test_gpu_samples_between_the_first_and_the_last_busy_one(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_samples import Sample, figures_of

    samples = [Sample(*pair) for pair in [(0, 500), (50, 900), (0, 700), (0, 700), (100, 700)]]
    samples.append(Sample(0, 500))
    row = figures_of(samples, slides=2)
    # 150 % in four samples; two of them are idle, .2 s each, for two slides.
    assert row == {"GPU busy": "38%", "GPU idle s per slide": 0.2, "GPU MiB": 900}
    assert figures_of([], slides=2)["GPU busy"] == "no GPU"


def test_folds_are_trained_once_and_packed_and_a_network_learns_from_their_mean_maps(
    tmp_path, monkeypatch
) -> None:
    """The second call trains nothing; it scores gates and experts."""
    write_glas(tmp_path / "glas")

    def run(out: str, *options: str) -> list[tuple[str, str]]:
        run_script(
            monkeypatch, "5_model_folds.py", "--data", str(tmp_path / "glas"), "--mpp", "1.24",
            "--out", str(tmp_path / out), "--device", "cpu", "--threads", "1", "--jobs", "2",
            *options, "--", "--epochs=1", "--steps=1", "--width=4", "--tile=32", "--batch=1",
            "--set=network.encoder=unet", "--set=training.validate_every=1",
            "--set=network.sdf_scale=skeleton", "--set=network.sdf_bins=21",
        )  # fmt: skip
        return sorted((row["model"], row["outcome"]) for row in figures(tmp_path / out))

    finished = [("all", "finished"), ("fold1", "finished")]
    first = ("--recipe", "skeleton", "--models", "fold1", "all")
    assert run("first", *first) == finished
    with zipfile.ZipFile(tmp_path / "first" / "models-1.zip") as archive:
        assert {"all/model.json", "fold1/model.safetensors"} <= set(archive.namelist())
    released = tmp_path / "first" / "released"
    card = load_card(released / "fold1")
    assert (card.sdf_scale, card.kernels) == ("skeleton", "float16")
    assert len(card.notes.images.validation) > 10

    written = (released / "fold1" / "model.safetensors").stat().st_mtime_ns
    assert run("first", *first, "--experts") == finished
    assert (released / "fold1" / "model.safetensors").stat().st_mtime_ns == written
    with (tmp_path / "first" / "experts.csv").open(newline="") as file:
        rows = {row["output"]: row for row in csv.DictReader(file)}
    assert len(rows) == 9
    assert all(0 <= float(row["pixel_dice"]) <= 1 for row in rows.values())
    gates = rows["gates (the prediction)"]
    assert gates["images"] == str(len(card.notes.images.validation))
    assert gates["object_dice: images lower, higher, p"] == "0, 0, -"

    teachers = ("--teachers", str(released), str(released))
    distilled = ("--recipe", "distilled", "--models", "fold1", *teachers)
    assert run("second", *distilled) == [("fold1", "finished")]
    notes = load_card(tmp_path / "second" / "released" / "fold1").notes
    assert len(notes.pseudo_from.split(", ")) == 2


def test_archives_of_models_are_at_most_as_large_as_what_comes_back(tmp_path, monkeypatch) -> None:
    """Models of 40, 40, 70 and 120 bytes, at most 100 in an archive."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = runpy.run_path(str(SCRIPTS / "5_model_folds.py"), run_name="script")
    script["pack_models"].__globals__["_ARCHIVE_BYTES"] = 100
    for name, size in (("a", 40), ("b", 40), ("c", 70), ("d", 120)):
        folder = tmp_path / "released" / name
        folder.mkdir(parents=True)
        (folder / "model.json").write_bytes(b"0" * 10)
        (folder / "model.safetensors").write_bytes(b"0" * (size - 10))
    script["pack_models"](tmp_path)
    packed = []
    for number in (1, 2, 3):
        with zipfile.ZipFile(tmp_path / f"models-{number}.zip") as archive:
            packed.append(sorted({name.split("/")[0] for name in archive.namelist()}))
    assert packed == [["a", "b"], ["c"], ["d"]]
    assert not (tmp_path / "models-4.zip").exists()


def test_a_model_is_scored_after_the_deadline_and_logs_of_cells_are_packed(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from gpu_report import GpuReport
    from timed_commands import FINISHED, run_semimoe

    report = GpuReport(tmp_path, minutes=-1)
    log = tmp_path / "log.txt"
    assert run_semimoe(["--help"], log, report, least_s=0.01) == "stopped by the deadline"
    assert run_semimoe(["--help"], log, report, least_s=60) == FINISHED
    report.finish()
    with zipfile.ZipFile(tmp_path / "figures.zip") as archive:
        assert b"usage" in archive.read("log.txt")


def test_images_at_half_resolution_have_their_masks_and_grades(tmp_path, monkeypatch) -> None:
    from semimoe.datasets.image_dataset import open_dataset
    from semimoe.datasets.image_files import read_image, read_labels

    write_glas(tmp_path / "glas")
    (tmp_path / "glas" / "Grade.csv").write_text("name,patient ID,grade (GlaS)\n")
    half = tmp_path / "half"
    run_script(
        monkeypatch, "reduced_images.py", "--data", str(tmp_path / "glas"), "--out", str(half)
    )
    files = open_dataset(half).training_images()
    assert len(files) == 85
    assert (half / "Grade.csv").is_file()
    expected = np.zeros((16, 16), np.int32)
    expected[4:12, 4:12] = 1
    np.testing.assert_array_equal(read_labels(files[0].mask), expected)
    image = read_image(tmp_path / "glas" / "train" / "train_1.png").astype(float)
    means = image.reshape(3, 16, 2, 16, 2).mean((2, 4))
    np.testing.assert_allclose(read_image(files[0].image), means, atol=0.51)


def test_recipes_without_one_change_have_all_others(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS.parent))
    from glas_model import RECIPES

    average = set(RECIPES["average"].options)
    changes = ("ema", "dice+ce", "l1", "deform", "decay")
    for name in changes:
        (missing,) = average - set(RECIPES[f"average-{name}"].options)
        assert missing in RECIPES[f"first+{name}"].options
    assert len({RECIPES[f"average-{name}"].options for name in changes}) == len(changes)


def test_all_recipes_have_valid_settings_that_differ(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS.parent))
    from glas_model import RECIPES, training_options

    seen = {}
    for name, recipe in RECIPES.items():
        words = ["train", "--data", "GLAS", "--out", "OUT", *training_options(recipe, "fold1")]
        arguments = _parser().parse_args(words)
        network, training = network_and_training_settings(arguments)
        key = (arguments.method, network, training)
        assert key not in seen.values(), name
        seen[name] = key
    assert seen["crops-384"][2].tile_px == 384
    assert seen["gates-separate"][1].experts == "separate"
    assert seen["distilled"][0] == "semimoe"


def test_a_rewritten_wheel_lists_its_files_and_keeps_its_program_executable(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from collect_wheels import rewrite

    wheel = tmp_path / "pulp-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("pulp/a.py", "pulp/b.py", "pulp/i64/cbc", "pulp-1.dist-info/RECORD"):
            archive.writestr(name, name)
    rewrite(wheel, lambda name: name != "pulp/b.py", strip=False)
    with zipfile.ZipFile(wheel) as archive:
        record = [
            line.split(",")[0] for line in archive.read("pulp-1.dist-info/RECORD").decode().split()
        ]
        assert (
            record == archive.namelist() == ["pulp/a.py", "pulp/i64/cbc", "pulp-1.dist-info/RECORD"]
        )
        # pip makes a file executable only if it is listed as a regular one.
        assert archive.getinfo("pulp/i64/cbc").external_attr >> 16 == 0o100755


def test_draws_are_compared_in_pairs_and_known_cells_are_not_run_again(
    tmp_path, monkeypatch
) -> None:
    write_glas(tmp_path / "glas")
    columns = ("pixel Dice", "object F1", "object Dice", "object Hausdorff px")
    with (tmp_path / "known.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("draw", "row", "outcome", *columns))  # as in benchmarks/results
        for draw, dice in enumerate((0.80, 0.82, 0.90)):
            writer.writerow((draw, "supervised", "finished", dice, 0.5, 0.5, 50))
        for draw, dice in ((1, 0.84), (2, 0.91)):
            writer.writerow((draw, "semimoe, teacher", "finished", dice, 0.5, 0.6, 40))
    run_script(
        monkeypatch, "6_draws.py", "--data", str(tmp_path / "glas"), "--mpp", "1.24",
        "--out", str(tmp_path / "out"), "--known", str(tmp_path / "known.csv"),
        "--device", "cpu", "--threads", "1", "--draws", "0", "1", "2",
        "--rows", "supervised", "semimoe, teacher", "--", "--epochs=1", "--steps=1", "--width=4",
        "--tile=32", "--batch=2", "--set=network.encoder=unet",
    )  # fmt: skip
    rows = {(row["draw"], row["row"]): row for row in figures(tmp_path / "out")}
    assert len(rows) == 6
    assert {row["outcome"] for row in rows.values()} == {"finished"}
    new = float(rows["0", "semimoe, teacher"]["pixel Dice"])
    lines = (tmp_path / "out" / "paired.md").read_text().splitlines()
    mean = ((new - 0.80) + 0.02 + 0.01) / 3
    assert f"| semimoe, teacher | pixel Dice | 3 | {mean:+.4f} | 2 |" in lines[2]


def test_rows_that_learn_from_finished_models_need_these_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_glas(tmp_path / "glas")
    call = [
        "6_draws.py", "--data", str(tmp_path / "glas"), "--mpp", "1.24", "--draws", "0",
        "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1",
    ]  # fmt: skip
    small = [
        "--epochs=1", "--steps=1", "--width=4", "--tile=32", "--batch=2",
        "--set=network.encoder=unet",
    ]  # fmt: skip
    rows = ["semimoe, finished model", "semimoe, distilled"]
    run_script(monkeypatch, *call, "--rows", *rows, "--", *small)
    assert [row["outcome"] for row in figures(tmp_path / "out")] == [
        "needs finished models of: supervised",
        "needs finished models of: supervised; semimoe, finished model",
    ]
    run_script(monkeypatch, *call, "--rows", "supervised", *rows, "--", *small)
    assert {row["outcome"] for row in figures(tmp_path / "out")} == {"finished"}
    folders = [tmp_path / "out" / "draw0" / name for name in ("supervised", "semimoe-distilled")]
    teacher, distilled = (json.loads((f / "model.json").read_text()) for f in folders)
    assert distilled["notes"]["pseudo_from"].count(",") == 1
    assert teacher["notes"].get("pseudo_from") is None
