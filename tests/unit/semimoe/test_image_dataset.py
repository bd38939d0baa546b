"""GlaS in its layouts, CRAG and own folders: training images and their patients."""

import numpy as np
import pytest
from PIL import Image

from semimoe.datasets.image_dataset import GradeRecord, has_glas_sizes, open_dataset
from semimoe.model_errors import DataError

TABLE = """name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)
train_1,1, benign, adenomatous
train_2,2, malignant, poorly differentiated
testA_1,2, malignant, poorly differentiated
testB_1,3, benign, healthy
"""
MASK = np.array([[3, 3, 0, 0], [0, 0, 0, 8]], np.uint8)


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(path, mask=MASK) -> None:
    save(path, np.full((*MASK.shape, 3), 200, np.uint8))
    if mask is not None:
        save(path.with_stem(path.stem + "_anno"), mask)


@pytest.fixture(params=["one folder, bmp", "folders by part, png"])
def glas(request, tmp_path):
    for name in ("train_1", "train_2", "testA_1", "testB_1"):
        folder = tmp_path if "one" in request.param else tmp_path / name.split("_")[0]
        image(folder / f"{name}.{request.param[-3:]}")
    (tmp_path / "Grade.csv").write_text(TABLE)
    return tmp_path


def test_glas_is_recognised_in_one_folder_or_three(glas) -> None:
    dataset = open_dataset(glas)
    assert dataset.kind == "glas"
    assert {part: [file.name for file in files] for part, files in dataset.parts.items()} == {
        "train": ["train_1", "train_2"],
        "testA": ["testA_1"],
        "testB": ["testB_1"],
    }
    assert [file.name for file in dataset.training_images()] == ["train_1", "train_2"]
    assert dataset.grade_record("train_2") == GradeRecord("2", "malignant")
    shared = dataset.shared_patients()
    assert (shared.training, shared.also_in_test, shared.test_parts) == (
        2,
        1,
        ["testA", "testB"],
    )


def test_the_table_is_found_beside_a_single_part(tmp_path) -> None:
    image(tmp_path / "testA" / "testA_1.png")
    (tmp_path / "Grade.csv").write_text(TABLE)
    dataset = open_dataset(tmp_path / "testA")
    assert (dataset.kind, dataset.shared_patients().also_in_test) == ("glas", 1)
    with pytest.raises(DataError, match="test images are not used for training"):
        dataset.training_images()


def test_test_images_among_own_images_are_not_training_images(tmp_path) -> None:
    for name in ("biopsy", "testA_1"):
        image(tmp_path / f"{name}.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.kind, [file.name for file in dataset.training_images()]) == (
        "folder",
        ["biopsy"],
    )
    assert dataset.grade_record("biopsy") == GradeRecord("biopsy", "")
    assert not dataset.shared_patients().known


def test_images_of_testA_in_a_folder_test_are_those_of_glas(tmp_path) -> None:
    image(tmp_path / "train" / "train_1.png")
    image(tmp_path / "test" / "testA_1.png")
    (tmp_path / "Grade.csv").write_text(TABLE)
    assert open_dataset(tmp_path).kind == "glas"
    (tmp_path / "Grade.csv").write_text(TABLE[: TABLE.index("testA")])
    assert "lists no test part" in open_dataset(tmp_path).shared_patients().note


@pytest.mark.parametrize("held", ["valid", "test"])
def test_crag_as_published(tmp_path, held) -> None:
    for part in ("train", held):
        for name in ("1", "10", "2"):
            save(
                tmp_path / part / "Images" / f"{part}_{name}.png",
                np.full((*MASK.shape, 3), 200, np.uint8),
            )
            save(tmp_path / part / "Annotation" / f"{part}_{name}.png", MASK)
            save(
                tmp_path / part / "Overlay" / f"{part}_{name}.png",
                np.full((*MASK.shape, 3), 9, np.uint8),
            )
    dataset = open_dataset(tmp_path)
    assert (dataset.kind, list(dataset.parts)) == ("crag", ["train", held])
    files = dataset.training_images()
    assert [file.name for file in files] == ["train_1", "train_2", "train_10"]
    assert all(file.mask.parent.name == "Annotation" for file in files)


@pytest.mark.parametrize("row", ["train_3,, benign", "train_3,4, unsure", "train_1,1, benign"])
def test_an_error_names_the_row_of_a_damaged_table(glas, row) -> None:
    (glas / "Grade.csv").write_text(TABLE + row + "\n")
    with pytest.raises(DataError, match=r"Grade\.csv, row 6"):
        open_dataset(glas)


def test_sizes_of_glas_are_recognised(tmp_path) -> None:
    """Other folders may use its names."""
    for number, size in enumerate(((522, 775), (430, 567)), start=1):
        save(tmp_path / f"train_{number}.png", np.zeros((*size, 3), np.uint8))
    assert has_glas_sizes(open_dataset(tmp_path).training_images())
    save(tmp_path / "train_3.png", np.zeros((522, 774, 3), np.uint8))
    dataset = open_dataset(tmp_path)
    assert dataset.kind == "glas"
    assert not has_glas_sizes(dataset.training_images())
