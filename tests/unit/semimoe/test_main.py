"""The commands on small folders: what they print, and what they refuse with status 2."""

import json

import numpy as np
import pytest
from PIL import Image

from semimoe.__main__ import main
from semimoe.folders import image_size


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
    small = ["--width", "4", "--tile", "32", "--epochs", "1", "--steps", "2", "--batch", "2", "--mpp", "1"]
    assert main(["train", "--data", str(data), "--labelled", "0.5", "--seed", "3", "--out", str(model), *small]) == 0
    card = json.loads((model / "model.json").read_text())
    images = card["notes"]["images"]
    assert {key: len(names) for key, names in images.items()} == {"labelled": 2, "unlabelled": 2, "validation": 1}
    assert not any(name.startswith("testA") for names in images.values() for name in names)
    assert main(["predict", "--model", str(model), "--images", str(data / "testA"), "--out", str(out), "--min-area-um2", "0"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["testA_1.png", "testA_2.png"]
    capsys.readouterr()
    assert main(["evaluate", "--truth", str(data / "testA"), "--prediction", str(out), "--json"]) == 0
    printed = capsys.readouterr().out
    result = json.loads(printed)
    assert set(result["images"]) == {"testA_1", "testA_2"}
    (pictures / "semimoe.json").write_text(printed)
    assert main(["table", str(pictures / "semimoe.json")]) == 0
    assert "semimoe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "mpp_um", "square"), [(["--work-mpp", "2"], 2.0, None), (["--resize", "square"], 56 / 256, 256), ([], 1.0, None)]
)
def test_masks_come_back_in_the_size_of_the_images(pictures, asked, mpp_um, square) -> None:
    model, out, data = pictures / "model", pictures / "predicted", pictures / "data"
    small = ["--width", "4", "--tile", "32", "--epochs", "1", "--batch", "2", "--mpp", "1", "--set", "training.steps_per_epoch=1"]
    assert main(["train", "--data", str(data), "--method", "supervised", "--lr", "0.001", "--out", str(model), *small, *asked]) == 0
    card = json.loads((model / "model.json").read_text())
    assert (card["mpp_um"], card["notes"]["resolution"]["square_px"]) == (pytest.approx(mpp_um), square)
    assert (card["training"]["lr"], card["training"]["steps_per_epoch"]) == (0.001, 1)
    assert main(["predict", "--model", str(model), "--images", str(data / "testA"), "--out", str(out)]) == 0
    assert image_size(out / "testA_1.png") == (56, 56)


def test_masks_of_unlabelled_images_are_never_opened(pictures, capsys) -> None:
    data = pictures / "data"
    masks = sorted((data / "train").glob("*_anno.bmp"))
    small = [
        "--width",
        "4",
        "--tile",
        "32",
        "--epochs",
        "1",
        "--steps",
        "1",
        "--batch",
        "2",
        "--mpp",
        "1",
        "--labelled",
        "0.3",
        "--seed",
        "3",
    ]
    command = ["train", "--data", str(data), "--out", str(pictures / "model"), *small]
    assert main(command) == 0
    roles = json.loads((pictures / "model" / "model.json").read_text())["notes"]["images"]
    assert len(roles["unlabelled"]) == 2
    for mask in masks:
        if mask.stem.removesuffix("_anno") in roles["unlabelled"]:
            mask.write_bytes(b"no image")
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--unlabelled-truth"]) == 2
    assert "_anno.bmp" in capsys.readouterr().err


def test_a_perfect_prediction_scores_one(pictures, capsys) -> None:
    truth = pictures / "data" / "testA"
    masks = pictures / "masks"
    masks.mkdir()
    for path in truth.glob("*_anno.bmp"):
        (masks / path.name.replace("_anno", "")).write_bytes(path.read_bytes())
    assert main(["evaluate", "--truth", str(truth), "--prediction", str(masks), "--json"]) == 0
    pooled = json.loads(capsys.readouterr().out)["pooled"]
    assert (pooled["dice"], pooled["object_f1"], pooled["object_dice"], pooled["object_hausdorff_px"]) == (1, 1, 1, 0)
    # Masks alone on both sides, too.
    assert main(["evaluate", "--truth", str(masks), "--prediction", str(masks)]) == 0
    assert "pooled" in capsys.readouterr().out


def test_a_missing_prediction_is_an_error_that_names_it(pictures, capsys) -> None:
    truth = pictures / "data" / "testA"
    save(pictures / "masks" / "testA_1.png", np.zeros((56, 56), np.uint8))
    assert main(["evaluate", "--truth", str(truth), "--prediction", str(pictures / "masks")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--data", "nowhere", "--out", "model"],
        ["predict", "--model", "nowhere", "--images", "nowhere", "--out", "out"],
        ["evaluate", "--truth", "nowhere", "--prediction", "nowhere"],
        ["table", "nowhere.json"],
    ],
)
def test_wrong_input_is_one_line_and_status_2(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "nowhere" in said
    assert not (tmp_path / "out").exists()


def test_masks_of_another_size_and_broken_files_are_named(pictures, capsys) -> None:
    train = pictures / "data" / "train"
    save(train / "train_1_anno.bmp", np.ones((5, 5), np.uint8))
    arguments = [
        "--data",
        str(pictures / "data"),
        "--out",
        str(pictures / "m"),
        "--width",
        "4",
        "--tile",
        "32",
        "--epochs",
        "1",
        "--steps",
        "9",
    ]
    assert main(["train", *arguments, "--method", "supervised"]) == 2
    assert "train_1_anno.bmp" in capsys.readouterr().err
