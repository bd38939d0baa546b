"""The commands on small folders: their output, and the input that they refuse with status 2."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semimoe.__main__ import main
from semimoe.commands.teachers import make_pseudo_labels
from semimoe.commands.training_images import shared_patients_warnings
from semimoe.commands.training_settings import working_resolution
from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_files import mask_values, read_image, read_labels
from semimoe.datasets.image_folder import find_images
from semimoe.datasets.image_lists import ListedImage
from semimoe.devices import native_precision
from semimoe.prediction.image_predictor import ImagePredictor
from semimoe.prediction.predictor import Predictor
from semimoe.tensor_files import load_tensors
from tiling.raster.quantise import quantise_pseudo_label

pytestmark = pytest.mark.xdist_group("trained_models")

# The default network, pretrained, has 100 times as many weights. One test trains it.
SMALL = "--set network.encoder=unet --width 4 --tile 32 --batch 2"
ONE_STEP = f"{SMALL} --mpp 1 --epochs 1 --steps 1"


def words(*parts) -> list[str]:
    """Words of a command line: text is split at spaces, other values become one word each."""
    line = []
    for part in parts:
        line += part.split() if isinstance(part, str) else [str(part)]
    return line


def run(*parts) -> int:
    """Exit status of a command."""
    return main(words(*parts))


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def pictures(tmp_path, discs):
    """A folder like the challenge's: train/, testA/, images with masks beside them."""
    for part, count, seed in (("train", 5, 0), ("testA", 2, 7)):
        for i in range(count):
            one = discs(count, 56, seed=seed)[i]
            save(tmp_path / "data" / part / f"{part}_{i + 1}.bmp", one.image.transpose(1, 2, 0))
            save(tmp_path / "data" / part / f"{part}_{i + 1}_anno.bmp", one.labels.astype(np.uint8))
    return tmp_path


def test_train_predict_evaluate_and_table_on_a_challenge_folder(pictures, capsys) -> None:
    model, out, data = pictures / "model", pictures / "predicted", pictures / "data"
    small = words("--width 4 --tile 32 --epochs 1 --steps 2 --batch 2 --mpp 1")
    assert run("train --data", data, "--labelled 0.5 --seed 3 --out", model, *small) == 0
    card = json.loads((model / "model.json").read_text())
    images = card["notes"]["images"]
    assert {key: len(names) for key, names in images.items()} == {
        "labelled": 2,
        "unlabelled": 2,
        "validation": 1,
    }
    assert not any(name.startswith("testA") for names in images.values() for name in names)
    assert (
        run("predict --model", model, "--images", data / "testA", "--out", out, "--min-area-um2 0")
        == 0
    )
    assert sorted(path.name for path in out.iterdir()) == ["overlays", "testA_1.png", "testA_2.png"]
    capsys.readouterr()
    for mask in sorted(out.glob("*.png")):
        with Image.open(mask) as labels, Image.open(out / "overlays" / mask.name) as overlay:
            assert overlay.size == labels.size
            is_outline = (np.asarray(overlay) == (0, 190, 255)).all(axis=-1)
            assert is_outline.any() == (np.asarray(labels) > 0).any()
            assert (np.asarray(labels)[is_outline] > 0).all()
    assert run("evaluate --truth", data / "testA", "--prediction", out, "--json") == 0
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert set(result["images"]) == {"testA_1", "testA_2"}
    (pictures / "semimoe.json").write_text(printed)
    assert run("table", pictures / "semimoe.json") == 0
    assert "semimoe" in capsys.readouterr().out


def test_options_choose_the_method_the_settings_and_the_model_to_start_from(pictures) -> None:
    data = str(pictures / "data")
    small = words("--tile 32 --epochs 1 --steps 1 --batch 2 --mpp 1 --data", data)
    first, tuned = pictures / "unet", pictures / "tuned"
    assert (
        run(
            "train",
            *small,
            "--method unet --width 4 --set network.tasks=seg+bnd",
            "--set training.optimizer=sgd --out",
            first,
        )
        == 0
    )
    card = json.loads((first / "model.json").read_text())
    assert (card["method"], card["network"]["tasks"], card["training"]["optimizer"]) == (
        "unet",
        "seg+bnd",
        "sgd",
    )
    assert run("train", *small, "--method unet --start-from", first, "--out", tuned) == 0
    assert json.loads((tuned / "model.json").read_text())["network"] == card["network"]
    assert run("train", *small, "--set training.gama=1 --out", pictures / "none") == 2
    assert (
        run("predict --model", tuned, "--images", f"{data}/testA", "--out", pictures / "masks") == 0
    )


@pytest.mark.parametrize(
    ("asked", "mpp_um", "square"),
    [(["--work-mpp", "2"], 2.0, None), (["--resize", "square"], 56 / 256, 256), ([], 1.0, None)],
)
def test_predicted_masks_have_the_size_of_the_images(pictures, asked, mpp_um, square) -> None:
    model, out, data = pictures / "model", pictures / "predicted", pictures / "data"
    small = words(SMALL, "--epochs 1 --mpp 1 --set training.steps_per_epoch=1")
    assert (
        run("train --data", data, "--method supervised --lr 0.001 --out", model, *small, *asked)
        == 0
    )
    card = json.loads((model / "model.json").read_text())
    assert (card["mpp_um"], card["notes"]["resolution"]["square_px"]) == (
        pytest.approx(mpp_um),
        square,
    )
    assert (card["training"]["lr"], card["training"]["steps_per_epoch"]) == (0.001, 1)
    assert run("predict --model", model, "--images", data / "testA", "--out", out) == 0
    assert read_labels(out / "testA_1.png").shape == (56, 56)


def test_masks_of_unlabelled_images_are_never_read(pictures, capsys) -> None:
    data = pictures / "data"
    masks = sorted((data / "train").glob("*_anno.bmp"))
    small = words(ONE_STEP, "--labelled 0.3 --seed 3")
    command = words("train --data", data, "--out", pictures / "model", *small)
    assert run(*command) == 0
    roles = json.loads((pictures / "model" / "model.json").read_text())["notes"]["images"]
    assert len(roles["unlabelled"]) == 2
    for mask in masks:
        if mask.stem.removesuffix("_anno") in roles["unlabelled"]:
            mask.write_bytes(b"no image")
    capsys.readouterr()
    assert run(*command) == 2
    assert "holds model.json, which would be replaced" in capsys.readouterr().err
    command[command.index(str(pictures / "model"))] = str(pictures / "again")
    assert run(*command) == 0
    capsys.readouterr()
    command[command.index(str(pictures / "again"))] = str(pictures / "third")
    assert run(*command, "--unlabelled-truth") == 2
    assert "_anno.bmp" in capsys.readouterr().err


def test_a_perfect_prediction_scores_one(pictures, capsys) -> None:
    truth = pictures / "data" / "testA"
    masks = pictures / "masks"
    masks.mkdir()
    for path in truth.glob("*_anno.bmp"):
        (masks / path.name.replace("_anno", "")).write_bytes(path.read_bytes())
    assert run("evaluate --truth", truth, "--prediction", masks, "--json") == 0
    pooled = json.loads(capsys.readouterr().out)["pooled"]
    assert (
        pooled["dice"],
        pooled["object_f1"],
        pooled["object_dice"],
        pooled["object_hausdorff_px"],
    ) == (1, 1, 1, 0)
    # Masks alone on both sides, too.
    assert run("evaluate --truth", masks, "--prediction", masks) == 0
    assert "pooled" in capsys.readouterr().out


def test_scores_of_a_folder_against_itself_and_of_a_shifted_copy(tmp_path, capsys) -> None:
    """Two squares of 20 x 20 px, one of them moved by 3 px down and 4 px right."""
    truth, prediction = tmp_path / "testA", tmp_path / "moved"
    mask, moved = np.zeros((2, 60, 90), np.uint8)
    mask[5:25, 5:25], mask[30:50, 50:70] = 1, 2
    moved[5:25, 5:25], moved[33:53, 54:74] = 1, 2
    save(truth / "testA_1.png", np.full((60, 90, 3), 200, np.uint8))
    save(truth / "testA_1_anno.png", mask)
    save(prediction / "testA_1.png", moved)
    assert run("evaluate --truth", truth, "--prediction", truth, "--json") == 0
    pooled = json.loads(capsys.readouterr().out)["pooled"]
    assert [
        pooled[key]
        for key in (
            "dice",
            "object_f1",
            "object_dice",
            "object_hausdorff_px",
            "object_hausdorff_um",
        )
    ] == [1, 1, 1, 0, 0]
    assert run("evaluate --truth", truth, "--prediction", prediction, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    pooled, shared = result["pooled"], 17 * 16
    assert pooled["dice"] == pytest.approx((400 + shared) / 800)
    assert pooled["jaccard"] == pytest.approx((400 + shared) / (400 + 800 - shared))
    assert (pooled["object_f1"], pooled["tp"]) == (1, 2)
    assert pooled["object_dice"] == pytest.approx((1 + shared / 400) / 2)
    # Moved by (3, 4): the far corner is 5 px off.
    assert pooled["object_hausdorff_px"] == pytest.approx(5 / 2)
    assert pooled["object_hausdorff_um"] == pytest.approx(5 / 2 * 0.62005)
    assert result["mean"]["dice"] == pooled["dice"]


def test_both_protocols_score_the_same_model(pictures, capsys) -> None:
    data, model = pictures / "data", pictures / "model"
    (data / "Grade.csv").write_text(
        "name,patient ID, grade\ntrain_1,1, benign\ntrain_2,1, benign\n"
        "train_3,2, benign\ntestA_1,2, benign\n"
    )
    (pictures / "list.csv").write_text(
        "image,role\ntrain_1,labelled\ntrain_2,labelled\ntrain_3,validation\n"
    )
    small = words(ONE_STEP)
    command = words(
        "train --data",
        data,
        "--method supervised --out",
        model,
        "--split",
        pictures / "list.csv",
        *small,
    )
    assert run(*command) == 0
    notes = json.loads((model / "model.json").read_text())["notes"]
    assert notes["images"] == {
        "labelled": ["train_1", "train_2"],
        "unlabelled": [],
        "validation": ["train_3"],
    }
    assert (notes["labels_used"], notes["patients"]["also_in_test"]) == (3, 1)
    files = []
    for protocol in ("honest", "as-published"):
        capsys.readouterr()
        assert (
            run(
                "evaluate --truth",
                data / "testA",
                "--model",
                model,
                "--protocol",
                protocol,
                "--json",
            )
            == 0
        )
        files.append(pictures / f"{protocol}.json")
        files[-1].write_text(capsys.readouterr().out)
    honest, published = (json.loads(path.read_text()) for path in files)
    assert honest["threshold"]["from"] == "validation"
    assert "on these test images" in published["threshold"]["from"]
    assert published["pooled"]["dice"] == max(published["dice_by_threshold"].values())
    out = pictures / "predicted"
    assert run("predict --model", model, "--images", data / "testA", "--out", out) == 0
    capsys.readouterr()
    assert run("evaluate --truth", data / "testA", "--prediction", out, "--mpp 1 --json") == 0
    assert json.loads(capsys.readouterr().out)["pooled"] == honest["pooled"]
    assert run("table", *map(str, files)) == 0
    shown = capsys.readouterr().out
    assert shown.count("Protocol ") == 2
    assert "1 of 2 training patients are also in testA" in shown
    other_way = words("--precision bf16 --flips")
    assert run("evaluate --truth", data / "testA", "--model", model, *other_way, "--json") == 0
    assert [result["prediction"] for result in (honest, json.loads(capsys.readouterr().out))] == [
        {"precision": native_precision("cpu"), "flips": False},
        {"precision": "bf16", "flips": True},
    ]
    assert run("evaluate --truth", data / "testA", "--model", model, *other_way) == 0
    assert "prediction: bf16, mean over four flips" in capsys.readouterr().out
    assert run("predict --model", model, "--images", data / "testA", "--out", out, *other_way) == 2
    assert "testA_1.png exists already, and 3 more" in capsys.readouterr().err
    other_way.append("--overwrite")
    assert run("predict --model", model, "--images", data / "testA", "--out", out, *other_way) == 0


@pytest.mark.parametrize("protocol", ["honest", "as-published"])
def test_images_that_the_model_knows_are_counted_and_masks_of_another_size_refused(
    pictures, capsys, protocol
) -> None:
    data, split = pictures / "data", pictures / "list.csv"
    split.write_text("image,role\ntrain_1,labelled\ntrain_2,labelled\ntrain_3,validation\n")
    model = words("--model", pictures / "model", "--protocol", protocol)
    train = words("train --data", data, "--method supervised --split", split, ONE_STEP)
    assert run(*train, "--out", pictures / "model") == 0
    known = "3 of these 5 images were trained on or chose threshold and epoch (unless other images"
    for part, is_known in (("train", True), ("testA", False)):
        capsys.readouterr()
        assert run("evaluate --truth", data / part, *model) == 0
        assert (f"warning: {known}" in capsys.readouterr().out) is is_known
        assert run("evaluate --truth", data / part, *model, "--json") == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        assert any(text.startswith(known) for text in warnings) is is_known
    save(data / "testA" / "testA_1_anno.bmp", np.ones((28, 28), np.uint8))
    assert run("evaluate --truth", data / "testA", *model) == 2
    assert "testA_1_anno.bmp: its image is testA_1.bmp; the predict" in capsys.readouterr().err


def test_images_without_a_mask_are_not_used_if_their_patient_is_held_out(pictures) -> None:
    data = pictures / "data"
    patients = {1: "p", 2: "p", 3: "q", 4: "q", 5: "r"}
    rows = "".join(f"train_{i},{patient}, benign\n" for i, patient in patients.items())
    (data / "Grade.csv").write_text("name,patient ID, grade\n" + rows)
    for i in (1, 3):
        (data / "train" / f"train_{i}_anno.bmp").unlink()
    small = words(ONE_STEP, "--validation 0.3")
    held_out = set()
    for seed in ("0", "1", "2", "3"):
        model = pictures / f"model{seed}"
        assert run("train --data", data, "--labelled 0.5 --seed", seed, "--out", model, *small) == 0
        images = json.loads((model / "model.json").read_text())["notes"]["images"]
        held = {patients[int(name[6:])] for name in images["validation"]}
        used = {patients[int(name[6:])] for name in images["labelled"] + images["unlabelled"]}
        assert held
        assert not held & used
        held_out |= held
    assert held_out & {"p", "q"}  # a held-out patient has an image without a mask


def test_a_warning_names_patients_that_are_both_trained_on_and_held_out(pictures, caplog) -> None:
    data = pictures / "data"
    (data / "Grade.csv").write_text(
        "name,patient ID, grade\ntrain_1,1, benign\ntrain_2,2, benign\ntrain_3,1, benign\n"
    )
    (pictures / "list.csv").write_text(
        "image,role\ntrain_1,labelled\ntrain_2,labelled\ntrain_3,validation\n"
    )
    small = words(ONE_STEP)
    command = words("train --data", data, "--method supervised --out", pictures / "model")
    assert run(*command, "--split", pictures / "list.csv", *small) == 0
    assert "patients 1 are both trained on and held out" in caplog.text


def test_patients_of_the_list_count_where_grade_csv_names_none(pictures) -> None:
    data = pictures / "data"
    rows = [
        ListedImage("train_1", "own", "", "labelled"),
        ListedImage("train_2", "", "", "labelled"),
        ListedImage("train_3", "own", "", "validation"),
    ]
    (warning,) = shared_patients_warnings(rows, open_dataset(data), pictures / "list.csv")
    assert "patients own are both trained on and held out" in warning
    (data / "Grade.csv").write_text("name,patient ID, grade\ntrain_1,1, benign\n")
    assert shared_patients_warnings(rows, open_dataset(data), pictures / "list.csv") == []


def test_a_pixel_size_is_assumed_without_a_warning_for_glas_alone(pictures, caplog) -> None:
    arguments = Namespace(
        mpp=None, data=pictures / "data", resize="area", preset="default", work_mpp=None,
        start_from=None,
    )  # fmt: skip
    working_resolution(arguments, open_dataset(arguments.data))
    assert "not the names and sizes of GlaS" in caplog.text
    caplog.clear()
    for path in (arguments.data / "train").glob("train_?.bmp"):
        save(path, np.zeros((522, 775, 3), np.uint8))
    working_resolution(arguments, open_dataset(arguments.data))
    assert caplog.text == ""


def test_an_interrupted_run_starts_afresh_after_a_mask_was_corrected(
    pictures, monkeypatch, capsys
) -> None:
    data = pictures / "data"
    small = words(ONE_STEP, "--method supervised")

    def train(out: str) -> int:
        return run("train --data", data, "--out", pictures / out, *small)

    with monkeypatch.context() as patched:
        patched.setattr(
            "semimoe.training.finish.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt())
        )
        assert train("killed") == 130
        assert "semimoe train: stopped; the same command continues" in capsys.readouterr().err
        checkpoint = (pictures / "killed.resume" / "epoch.safetensors").read_bytes()
        for i in range(1, 6):
            save(data / "train" / f"train_{i}_anno.bmp", np.pad(np.ones((20, 20), np.uint8), 18))
        assert train("killed") == 130
    earlier = pictures / "killed.resume.earlier"
    assert (earlier / "epoch.safetensors").read_bytes() == checkpoint
    assert train("killed") == train("afresh") == 0
    assert not earlier.exists()
    assert (pictures / "killed" / "model.safetensors").read_bytes() == (
        pictures / "afresh" / "model.safetensors"
    ).read_bytes()


def test_an_error_names_a_missing_prediction(pictures, capsys) -> None:
    truth = pictures / "data" / "testA"
    save(pictures / "masks" / "testA_1.png", np.zeros((56, 56), np.uint8))
    command = words("evaluate --truth", truth, "--prediction", pictures / "masks")
    assert run(*command) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no prediction for testA_2; predict these images, or remove" in message
    (pictures / "none").mkdir()
    assert run("evaluate --truth", pictures / "none", "--prediction", pictures / "masks") == 2
    assert "no mask; give the folder of masks X_anno.* or X.*" in capsys.readouterr().err


def test_a_damaged_table_of_patients_is_named_in_the_scores(pictures, capsys) -> None:
    """The scores do not depend on it, and it may be a file of another data set."""
    truth = pictures / "data" / "testA"
    (truth / "Grade.csv").write_text("name,patient ID, grade\ntestA_1,1, mild\n")
    assert run("evaluate --json --truth", truth, "--prediction", truth) == 0
    patients = json.loads(capsys.readouterr().out)["patients"]
    assert not patients["known"]
    assert "Grade.csv, row 2: name, patient, and benign or malignant" in patients["note"]


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "nowhere", "--out", "model"],
        ["predict", "--model", "nowhere", "--images", "nowhere", "--out", "out"],
        ["evaluate", "--truth", "nowhere", "--prediction", "nowhere"],
        ["table", "nowhere.json"],
        ["data-check", "nowhere"],
        ["splits", "--data", "nowhere", "--out", "out"],
        ["evaluate", "--truth", "nowhere", "--model", "nowhere"],
        ["evaluate", "--truth", "x", "--prediction", "nowhere", "--protocol", "as-published"],
    ],
)
def test_wrong_input_gives_one_line_and_status_2(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*command) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "nowhere" in message or "as-published" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--truth", "T", "--prediction", "T", "--mpp", "-1"],
        ["evaluate", "--truth", "T", "--prediction", "T", "--mpp", "nan"],
        ["train", "--data", "T", "--out", "model", "--mpp", "0"],
        ["train", "--data", "T", "--out", "model", "--devices", "0"],
        ["train", "--data", "T", "--out", "model", "--threads", "0"],
    ],
)
def test_a_number_that_is_not_above_zero_is_refused_with_its_option(
    command, pictures, capsys
) -> None:
    truth = str(pictures / "data" / "testA") if command[0] == "evaluate" else str(pictures / "data")
    line = [
        truth if word == "T" else str(pictures / "model") if word == "model" else word
        for word in command
    ]
    assert run(*line) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"{command[-2]} {command[-1]}" in message


def test_masks_never_replace_images_or_true_masks(pictures, capsys) -> None:
    """A mask beside `a.bmp` would make two images of one name; `Images` may be given itself."""
    folder = pictures / "own"
    small = words(SMALL, "--epochs 1 --steps 1 --validation 0")
    data = words("--data", pictures / "data", "--out", pictures / "m")
    assert run("train", *data, "--method supervised", *small) == 0
    save(folder / "Images" / "a.bmp", np.zeros((32, 32, 3), np.uint8))
    save(folder / "Annotation" / "a.png", np.full((32, 32), 7, np.uint8))
    save(folder / "Images" / "a_anno.png", np.full((32, 32), 7, np.uint8))
    before = sorted(folder.rglob("*"))
    for images in (folder, folder / "Images"):
        places = {
            "Images": "is a folder of images",
            "Annotation": "is a folder of true masks",
            "masks": "would be a folder of true masks",
        }
        for out, place in places.items():
            command = words("predict --model", pictures / "m", "--images", images, "--out")
            assert run(*command, folder / out) == 2
            assert f"{out} {place}; give another one" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before
    assert read_image(folder / "Images" / "a.bmp").max() == 0
    assert mask_values(folder / "Annotation" / "a.png") == [7]


def test_masks_and_images_of_another_folder_are_replaced_only_on_request(pictures, capsys) -> None:
    folder, other = pictures / "own", pictures / "other"
    small = words(SMALL, "--epochs 1 --steps 1 --validation 0")
    data = words("--data", pictures / "data", "--out", pictures / "m")
    assert run("train", *data, "--method supervised", *small) == 0
    save(folder / "a.png", np.zeros((32, 32, 3), np.uint8))
    save(other / "a.png", np.full((32, 32, 3), 7, np.uint8))
    command = words("predict --model", pictures / "m", "--images", folder, "--out", other)
    assert run(*command) == 2
    message = f"{other / 'a.png'} exists already; give another folder, or --overwrite"
    assert message in capsys.readouterr().err
    assert read_image(other / "a.png").max() == 7
    assert run(*command, "--overwrite") == 0
    assert mask_values(other / "a.png") != [7]


def test_weights_without_a_card_are_not_replaced(pictures, capsys) -> None:
    (pictures / "m").mkdir()
    (pictures / "m" / "model.safetensors").write_bytes(b"of somebody")
    data = words("--data", pictures / "data")
    small = words("--method supervised", SMALL, "--epochs 1 --steps 1 --validation 0")
    assert run("train", *data, "--out", pictures / "m", *small) == 2
    assert "holds model.safetensors, which would be replaced" in capsys.readouterr().err
    assert (pictures / "m" / "model.safetensors").read_bytes() == b"of somebody"


def test_an_error_names_a_mask_of_another_size(pictures, capsys) -> None:
    train = pictures / "data" / "train"
    save(train / "train_1_anno.bmp", np.ones((5, 5), np.uint8))
    arguments = words(
        "--data",
        pictures / "data",
        "--out",
        pictures / "m",
        SMALL,
        "--epochs 1 --steps 9",
    )
    assert run("train", *arguments, "--method supervised") == 2
    assert "train_1_anno.bmp" in capsys.readouterr().err


def test_a_released_model_has_the_threshold_of_its_folds(pictures, capsys, caplog) -> None:
    data = pictures / "data"
    lists = []
    for number in (1, 2):  # train_1 and train_2 are held out in turn
        rows = [
            f"train_{i},p{i},benign,{'validation' if i == number else 'labelled'}"
            for i in range(1, 6)
        ]
        lists.append(pictures / f"fold{number}.csv")
        lists[-1].write_text("image,patient,grade,role\n" + "\n".join(rows) + "\n")
    small = words("--method unet --mpp 1 --epochs 1 --steps 2", SMALL)
    train = words("train --data", data, *small, "--out")
    folds = [str(pictures / f"fold{number}") for number in (1, 2)]
    for folder, split in zip(folds, lists, strict=True):
        assert run(*train, folder, "--split", split) == 0
    assert run(*train, pictures / "all", "--validation 0") == 0
    release = words("release --model", pictures / "all", "--licence tests-only --data", data)
    assert run(*release, "--folds", *folds, "--out", pictures / "released") == 0
    full, card = (
        json.loads((pictures / name / "model.json").read_text()) for name in ("all", "released")
    )
    assert full["threshold_from"] == "default"
    assert card["threshold_from"] == "cross-validation, 2 folds"
    assert card["validation"]["folds"] == 2
    assert card["notes"]["licence"] == "tests-only"
    sizes = [(pictures / name / "model.safetensors").stat().st_size for name in ("all", "released")]
    assert sizes[1] < 0.7 * sizes[0]
    tensors = load_tensors(pictures / "released" / "model.safetensors")[0]
    assert tensors["mean"].flatten().tolist() == pytest.approx(
        card["normalisation"]["mean"], abs=1e-7
    )
    assert all(
        (tensor.dtype == torch.float16) == (tensor.ndim == 4 and name not in ("mean", "std"))
        for name, tensor in tensors.items()
    )
    assert not any(warning.startswith("no validation") for warning in card["warnings"])
    assert card["split"].get("rule", "depth") == card["training"].get("split_rule", "depth")
    by_prominence = words("--split-rule prominence --flips --out", pictures / "prominence")
    assert run(*release, "--folds", *folds, *by_prominence) == 0
    other = json.loads((pictures / "prominence" / "model.json").read_text())
    assert (other["split"]["rule"], other["training"]["split_rule"]) == ("prominence",) * 2
    assert other["training"]["choose_with_flips"]
    assert card["flips"] is None
    assert other["flips"]["split"]["rule"] == "prominence"
    assert other["flips"]["validation"]["dice"] != other["validation"]["dice"]
    assert other["flips"]["validation"]["folds"] == 2
    for name in ("fold1", "fold2", "all"):
        values = json.loads((pictures / name / "model.json").read_text())
        del values["training"]
        shutil.copytree(pictures / name, pictures / "older" / name)
        (pictures / "older" / name / "model.json").write_text(json.dumps(values))
    older = words("release --model", pictures / "older/all", "--licence tests-only --data", data)
    folds_older = [str(pictures / "older" / f"fold{number}") for number in (1, 2)]
    assert run(*older, "--folds", *folds_older, "--flips", "--out", pictures / "of-older") == 0
    of_older = json.loads((pictures / "of-older" / "model.json").read_text())
    assert of_older["training"] is None, "the settings of its training are not known"
    assert of_older["flips"]["threshold"]
    # Half the bits, the same glands but for rounding.
    before, after = (
        Predictor.load(pictures / name, device="cpu", threads=1)(
            np.full((1, 3, 32, 32), 90, np.uint8)
        )
        for name in ("all", "released")
    )
    assert np.abs(before - after).max() < 0.01

    capsys.readouterr()
    for wrong_options, message in (
        (["--folds", folds[0], folds[0]], "train_1 held out twice"),
        (words("--folds", pictures / "all"), "held nothing out"),
        (words("--out", pictures / "released"), "holds model.json, which would be replaced"),
        (words("--split-rule depth"), "--split-rule needs --folds"),
        (["--flips"], "--flips needs --folds"),
    ):
        assert run(*release, "--out", pictures / "again", *wrong_options) == 2
        assert message in capsys.readouterr().err


def test_pseudo_labels_can_come_from_a_finished_model(pictures, capsys) -> None:
    """They are made once, from full images, without the masks of unlabelled images."""
    data = str(pictures / "data")
    small = words("--data", data, SMALL, "--mpp 1 --epochs 1 --steps 2")
    train = words("train", *small, "--labelled 0.4 --validation 0.2 --seed 3 --out")
    teacher = pictures / "teacher"
    assert run(*train, teacher, "--method supervised") == 0
    for path in (pictures / "data" / "train").glob("*_anno.bmp"):
        if (
            path.name.removesuffix("_anno.bmp")
            in json.loads((teacher / "model.json").read_text())["notes"]["images"]["unlabelled"]
        ):
            path.write_bytes(b"not an image")  # its mask is never opened
    assert run(*train, pictures / "stored", "--pseudo-from", teacher) == 0
    assert run(*train, pictures / "online") == 0
    stored, online = (
        json.loads((pictures / name / "model.json").read_text()) for name in ("stored", "online")
    )
    assert len(stored["notes"]["pseudo_from"]) == 16
    assert "pseudo_from" not in online["notes"]
    for name, origin in (("stored", "of a given model"), ("online", "online"), ("teacher", "none")):
        capsys.readouterr()
        assert run("evaluate --truth", data + "/testA", "--model", pictures / name, "--json") == 0
        assert json.loads(capsys.readouterr().out)["model"]["pseudo_labels"] == origin
    histories = [(pictures / name / "history.csv").read_text() for name in ("stored", "online")]
    assert histories[0] != histories[1]
    assert (
        run(
            "train",
            *small,
            "--work-mpp 2 --seed 3 --out",
            pictures / "no",
            "--pseudo-from",
            teacher,
        )
        == 2
    )
    assert "works at" in capsys.readouterr().err


def test_a_network_is_distilled_from_the_mean_maps_of_several_models(pictures, capsys) -> None:
    """All images are labelled; without --distil there is no pseudo-label."""
    train = words("train --data", pictures / "data", ONE_STEP, "--labelled 1 --validation 0")
    teachers = [pictures / f"teacher{seed}" for seed in (1, 2)]
    for seed, teacher in enumerate(teachers):
        assert run(*train, f"--method supervised --seed {seed} --out", teacher) == 0
    student = pictures / "student"
    assert run(*train, "--distil --out", student, "--pseudo-from", *teachers) == 0
    card = json.loads((student / "model.json").read_text())
    assert len(card["notes"]["pseudo_from"].split(", ")) == 2
    assert not any("unlabelled" in warning for warning in card["warnings"])
    header, row = (line.split(",") for line in (student / "history.csv").read_text().splitlines())
    assert float(row[header.index("unsup_seg")]) > 0
    # The pseudo-label of an image is that of the mean maps.
    (file, *_) = find_images(pictures / "data" / "train")
    predictors = [ImagePredictor(teacher, device="cpu", threads=1) for teacher in teachers]
    labels = make_pseudo_labels(
        Namespace(pseudo_from=teachers, device="cpu", threads=1),
        [file],
        predictors[0].resolution,
        predictors[0].card.network,
    )
    first, second = (predictor.maps(read_image(file.image)) for predictor in predictors)
    np.testing.assert_array_equal(labels[file.name], quantise_pseudo_label((first + second) / 2))
    assert (labels[file.name] != quantise_pseudo_label(first)).any()
    capsys.readouterr()
    assert run(*train, "--distil --out", pictures / "none") == 2
    assert "--distil: give the models to learn from" in capsys.readouterr().err


def test_a_released_model_keeps_the_warnings_and_the_inherited_licence(pictures, capsys) -> None:
    model, released = pictures / "model", pictures / "released"
    small = words("--method unet", ONE_STEP)
    train = words("train --data", pictures / "data", *small, "--out")
    assert run(*train, model, "--validation 0") == 0
    lists = pictures / "fold.csv"
    lists.write_text(
        "image,patient,grade,role\ntrain_1,a,benign,validation\ntrain_2,b,benign,labelled\n"
    )
    assert run(*train, pictures / "fold", "--split", lists) == 0
    card = json.loads((model / "model.json").read_text())
    card["notes"]["licence"] = "no sale"
    card["warnings"].append("gates are uniform")
    (model / "model.json").write_text(json.dumps(card))
    release = words("release --model", model, "--licence anything --data", pictures / "data")
    assert run(*release, "--folds", pictures / "fold", "--out", released) == 0
    card_of_release = json.loads((released / "model.json").read_text())
    assert card_of_release["notes"]["licence"] == "anything; no sale"
    assert "gates are uniform" in card_of_release["warnings"]
    del card["notes"]["resolution"]  # as of a model of slides
    slides = pictures / "slides"
    slides.mkdir()
    (slides / "model.json").write_text(json.dumps(card))
    assert run(*release, "--folds", slides, "--out", pictures / "no") == 2
    assert "trained on slides" in capsys.readouterr().err


def test_a_teacher_is_refused_if_it_was_trained_on_held_out_images_or_has_other_outputs(
    pictures, capsys
) -> None:
    small = words(ONE_STEP)
    train = words("train --data", pictures / "data", *small)
    some = words(*train, "--labelled 0.4 --validation 0.2 --seed 3")
    few = words("--method supervised --set network.tasks=seg")
    flat = words("--method supervised --set network.sdf_um=10")
    assert (
        run(*train, "--labelled 1 --validation 0 --method supervised --out", pictures / "all") == 0
    )
    assert run(*some, *few, "--out", pictures / "few") == 0
    assert run(*some, *flat, "--out", pictures / "flat") == 0
    for teacher, extra, message in (
        ("all", [], "was trained on the outlines of train_"),
        ("few", [], "has no expert of sdf, bnd"),
        ("flat", [], "network.sdf_um is 20 here and 10 there"),
        ("few", words("--method supervised"), "supervised takes no unlabelled image"),
        ("few", words("--method mean-teacher"), "mean-teacher makes its own pseudo-labels"),
        ("few", words("--method unimatch"), "unimatch makes its own pseudo-labels"),
        (
            "few",
            words("--set training.pseudo=teacher --set training.ema_decay=0.9"),
            "the moving average makes the pseudo-labels",
        ),
    ):
        capsys.readouterr()
        assert (
            run(*some, *extra, "--out", pictures / "student", "--pseudo-from", pictures / teacher)
            == 2
        )
        assert message in capsys.readouterr().err
    card = json.loads((pictures / "few" / "model.json").read_text())
    card["notes"]["licence"] = "no sale"
    (pictures / "few" / "model.json").write_text(json.dumps(card))
    student = words(
        "--set network.tasks=seg --out", pictures / "student", "--pseudo-from", pictures / "few"
    )
    assert run(*some, *student) == 0
    assert (
        json.loads((pictures / "student" / "model.json").read_text())["notes"]["licence"]
        == "no sale"
    )


def test_images_that_teachers_were_trained_on_count_as_training_images(
    pictures, capsys, caplog
) -> None:
    """`all` was trained on every outline, and so were its students and their students."""
    small = words(SMALL, "--mpp 1 --epochs 2 --steps 1 --method supervised")
    train = words("train --data", pictures / "data", *small)
    full, tuned, student = (str(pictures / name) for name in ("all", "tuned", "student"))
    split = pictures / "fold.csv"
    split.write_text(
        "image,patient,grade,role\ntrain_1,a,benign,validation\n"
        "train_2,b,benign,labelled\ntrain_3,c,benign,unlabelled\n"
    )
    assert run(*train, "--labelled 1 --validation 0 --out", full) == 0
    assert run(*train, "--split", split, "--start-from", full, "--out", tuned) == 0
    assert "was trained on the outlines of train_1, train_3" in caplog.text
    notes = json.loads((pictures / "tuned" / "model.json").read_text())["notes"]
    assert "scores are optimistic" in notes["warnings"][0]
    assert set(notes["known"]["learnt"]) >= {"train_1", "train_2", "train_3"}
    learning = words(*train, "--method semimoe --split", split)
    assert run(*learning, "--pseudo-from", tuned, "--out", student) == 2
    assert "was trained on the outlines of train_1, train_3" in capsys.readouterr().err
    release = words(
        "release --model",
        full,
        "--licence none --data",
        pictures / "data",
        "--out",
        pictures / "released",
    )
    assert run(*release, "--folds", tuned) == 0
    warnings = json.loads((pictures / "released" / "model.json").read_text())["warnings"]
    assert any(
        "held train_1 out, and its teachers learnt from images of these names" in warning
        for warning in warnings
    )
    capsys.readouterr()
    assert run(*learning, "--pseudo-from", tuned, "--devices 2 --out", student) == 2
    assert "give --devices 1" in capsys.readouterr().err


def test_folds_are_refused_if_an_outline_was_corrected_since(pictures, capsys) -> None:
    data = pictures / "data"
    small = words(ONE_STEP, "--method unet")
    split = pictures / "fold.csv"
    split.write_text(
        "image,patient,grade,role\ntrain_1,a,benign,validation\ntrain_2,b,benign,labelled\n"
    )
    for name, images in (
        ("all", words("--labelled 1 --validation 0")),
        ("fold", words("--split", split)),
    ):
        assert run("train --data", data, *small, *images, "--out", pictures / name) == 0
    release = words(
        "release --model",
        pictures / "all",
        "--licence none --data",
        data,
        "--out",
        pictures / "released",
    )
    mask = next(data.rglob("train_2_anno.*"))
    before = mask.read_bytes()
    Image.fromarray(np.zeros_like(np.asarray(Image.open(mask)))).save(mask)
    assert run(*release, "--folds", pictures / "fold") == 2
    assert "trained on other images or outlines" in capsys.readouterr().err
    mask.write_bytes(before)
    assert run(*release, "--folds", pictures / "fold") == 0


def test_warnings_name_folds_whose_scores_are_too_good(pictures) -> None:
    data, full = pictures / "data", str(pictures / "all")
    (data / "Grade.csv").write_text(
        "name, patient ID, grade (GlaS)\ntrain_1, 1, benign\ntrain_2, 1, benign\n"
    )
    small = words(SMALL, "--mpp 1 --epochs 2 --steps 1 --method unet")
    train = words("train --data", data, *small)
    split = pictures / "fold.csv"
    split.write_text(
        "image,patient,grade,role\ntrain_1,1,benign,validation\ntrain_2,1,benign,labelled\n"
    )
    assert run(*train, "--labelled 1 --validation 0 --out", full) == 0
    assert run(*train, "--split", split, "--out", pictures / "fold") == 0
    release = words(
        "release --model", full, "--licence none --data", data, "--out", pictures / "released"
    )
    assert run(*release, "--folds", pictures / "fold") == 0
    warnings = " ".join(json.loads((pictures / "released" / "model.json").read_text())["warnings"])
    assert "fold chose its epoch on the images that it held out" in warnings
    assert "fold learnt from other images of patients 1 that it held out" in warnings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table", "none.json"], "semimoe table: none.json: no such file or directory"),
        (["data-check", "none"], "semimoe data-check: none: no such folder"),
    ],
)
def test_a_missing_file_is_named_in_words(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.strip() == message


@pytest.mark.parametrize(
    "option",
    ["--threads 100000000", "--threads 0", "--batch 1000000", "--mpp inf", "--mpp nan",
     "--min-area-um2 nan", "--min-area-um2 -5", "--min-area-um2 1e300"],
)  # fmt: skip
def test_numbers_outside_their_range_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["predict", "--model", "m", "--images", "i", "--out", str(tmp_path), *option.split()]
    assert main(line) == 2
    assert capsys.readouterr().err.startswith(f"semimoe predict: {option.split(maxsplit=1)[0]} ")


@pytest.mark.parametrize(
    "words", [["train", "--method", "foo"], ["trian"], [], ["table", "--jobs", "x"]]
)
def test_wrong_words_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--help)")
