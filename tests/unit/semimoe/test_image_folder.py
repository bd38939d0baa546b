"""Layouts of image folders, and masks of all kinds."""

import numpy as np
import pytest
from PIL import Image

from semimoe.datasets.image_folder import FolderImages, find_images, read_labels
from semimoe.model_errors import DataError

MASK = np.array([[3, 3, 0, 0], [0, 0, 0, 8]], np.uint8)


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(path, shape=(2, 4, 3)) -> None:
    save(path, np.full(shape, 200, np.uint8))


def test_images_come_in_natural_order_with_the_masks_beside_them(tmp_path) -> None:
    for name in ("train_10", "train_2"):
        image(tmp_path / f"{name}.bmp")
    save(tmp_path / "train_2_anno.bmp", MASK)
    files = find_images(tmp_path)
    assert [(file.name, file.mask is not None) for file in files] == [
        ("train_2", True),
        ("train_10", False),
    ]
    source = FolderImages(files)
    assert source[0].image.shape == (3, 2, 4)
    assert source[0].labels.tolist() == MASK.tolist()
    assert source[1].labels is None
    assert FolderImages(files, labels=False)[0].labels is None


def test_parallel_folders_of_images_and_annotations(tmp_path) -> None:
    image(tmp_path / "Images" / "a.png")
    save(tmp_path / "Annotation" / "a.png", MASK)
    assert find_images(tmp_path)[0].mask == tmp_path / "Annotation" / "a.png"


def test_one_number_for_all_glands_becomes_components(tmp_path) -> None:
    save(tmp_path / "binary.png", (MASK > 0).astype(np.uint8) * 255)
    assert read_labels(tmp_path / "binary.png").tolist() == [[1, 1, 0, 0], [0, 0, 0, 2]]
    save(tmp_path / "instances.png", MASK)
    assert read_labels(tmp_path / "instances.png").tolist() == MASK.tolist()
    save(tmp_path / "grey.png", np.stack([MASK] * 3, 2))
    assert read_labels(tmp_path / "grey.png").tolist() == MASK.tolist()


def test_an_error_names_a_file_that_is_not_a_mask(tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    save(tmp_path / "colour.png", np.random.default_rng(0).integers(0, 255, (3, 3, 3), np.uint8))
    for name in ("broken.png", "colour.png"):
        with pytest.raises(DataError, match=name):
            read_labels(tmp_path / name)
    with pytest.raises(DataError, match="no image"):
        find_images(_empty(tmp_path))


def test_a_mask_with_resampled_edges_is_refused(tmp_path) -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[10:40, 12:50] = 255
    blurred = Image.fromarray(mask).resize((83, 77), Image.Resampling.BICUBIC)
    blurred.save(tmp_path / "resized.png")
    with pytest.raises(DataError, match=r"resized\.png.*resized or saved with losses"):
        read_labels(tmp_path / "resized.png")
    save(
        tmp_path / "many.png",
        np.kron(np.arange(100, dtype=np.uint8).reshape(10, 10), np.ones((4, 4), np.uint8)),
    )
    assert read_labels(tmp_path / "many.png").max() == 99


def test_negative_numbers_are_refused_in_a_mask_of_one_gland_too(tmp_path) -> None:
    Image.fromarray(np.array([[-1, 0, 3]], np.int32)).save(tmp_path / "negative.tif")
    with pytest.raises(DataError, match=r"negative\.tif: negative numbers"):
        read_labels(tmp_path / "negative.tif")


def test_images_are_decoded_once(tmp_path) -> None:
    image(tmp_path / "a.png")
    source = FolderImages(find_images(tmp_path))
    first = source[0]
    (tmp_path / "a.png").unlink()
    assert source[0] is first


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"
