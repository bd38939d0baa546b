"""Layouts of image folders, and masks of all kinds."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from semimoe.datasets.image_files import image_size, read_image, read_labels
from semimoe.datasets.image_folder import FolderImages, find_images
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


def test_files_that_differ_only_in_their_suffix_are_refused(tmp_path) -> None:
    """Masks and predictions are found by the name without suffix: one would be taken for both."""
    image(tmp_path / "images" / "x.png")
    image(tmp_path / "images" / "y.png")
    assert len(find_images(tmp_path)) == 2
    image(tmp_path / "images" / "x.JPG")
    with pytest.raises(DataError, match=r"x\.JPG and x\.png have the same name"):
        find_images(tmp_path)
    (tmp_path / "images" / "x.JPG").unlink()
    for suffix in ("png", "tif"):
        save(tmp_path / "masks" / f"x.{suffix}", MASK)
    with pytest.raises(DataError, match=r"x\.png and x\.tif have the same name"):
        find_images(tmp_path)


def test_a_suffix_in_any_case_belongs_to_a_mask(tmp_path) -> None:
    image(tmp_path / "x.png")
    save(tmp_path / "x_anno.png", MASK)
    (tmp_path / "x_anno.png").rename(tmp_path / "x_anno.Png")
    assert find_images(tmp_path)[0].mask == tmp_path / "x_anno.Png"


def test_a_mask_of_classes_is_refused(tmp_path) -> None:

    def mask(*numbers: int) -> np.ndarray:
        row = np.kron(np.array([[0, number] for number in numbers]).ravel(), np.ones(6))
        return np.pad(np.tile(row.astype(np.uint8), (8, 1)), 4)

    save(tmp_path / "classes.png", mask(1, 2, 1, 2, 1))
    with pytest.raises(DataError, match=r"classes\.png: 2 of its 2 numbers have several pieces"):
        read_labels(tmp_path / "classes.png")
    save(tmp_path / "one_gland_of_two_pieces.png", mask(1, 2, 3, 4, 1))
    assert read_labels(tmp_path / "one_gland_of_two_pieces.png").max() == 4


def test_an_opaque_alpha_channel_is_no_channel_of_a_mask(tmp_path) -> None:
    opaque, clear = np.full_like(MASK, 255), np.where(MASK == 3, 0, 255).astype(np.uint8)
    save(tmp_path / "la.png", np.stack([MASK, opaque], 2))
    save(tmp_path / "rgba.png", np.stack([MASK, MASK, MASK, opaque], 2))
    for name in ("la.png", "rgba.png"):
        assert read_labels(tmp_path / name).tolist() == MASK.tolist()
    save(tmp_path / "clear.png", np.stack([MASK, clear], 2))
    with pytest.raises(DataError, match="transparent pixels have a colour"):
        read_labels(tmp_path / "clear.png")


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


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def claimed_png(path, width: int, height: int) -> None:
    """A PNG of one pixel whose header claims another size, with a right checksum."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("sides", "message"),
    [((3000, 3000), "3000 x 3000 px, too many for a file"), ((10000, 10000), "limit 90,000,000")],
)
def test_an_image_that_claims_too_many_pixels_is_not_decoded(tmp_path, sides, message) -> None:
    path = tmp_path / "a.png"
    claimed_png(path, *sides)
    for read in (read_image, read_labels, image_size):
        with pytest.raises(DataError, match=message):
            read(path)


def test_a_blank_mask_is_read_although_its_file_is_small(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (4000, 4000)).save(path, compress_level=9)
    assert path.stat().st_size < 2100, "8000 pixels for a byte"
    assert not read_labels(path).any()


def test_changed_bytes_of_images_are_read_or_refused(tmp_path) -> None:
    """Pillow raises other exceptions than OSError, too: SyntaxError, ValueError, struct.error."""
    path, rng, outcomes = tmp_path / "m.png", np.random.default_rng(0), set()
    save(path, MASK.repeat(8, 0).repeat(8, 1))
    valid = path.read_bytes()
    for _ in range(300):
        data = bytearray(valid)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_labels(path)
            read_image(path)
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_images_of_more_than_8_bits_are_refused_and_not_clipped(tmp_path, dtype) -> None:
    path = tmp_path / "a.tif"
    save(path, np.full((2, 4), 3000, dtype))
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"^\S+a\.tif: an image of mode .*; convert it$"):
            read(path)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_colours_of_16_bits_are_refused_and_not_reduced_to_their_high_byte(
    tmp_path, channels, ending
) -> None:
    pixels = np.full((2, 4, channels), 3000, np.uint16)
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    elif channels == 2:
        pytest.skip("Pillow opens no TIFF of two channels")
    else:
        photometric = {"photometric": "rgb", "extrasamples": ("unassalpha",) * (channels == 4)}
        tifffile.imwrite(path, pixels, **photometric)
        planes = tmp_path / "planes.tif"
        tifffile.imwrite(planes, np.moveaxis(pixels, -1, 0), planarconfig="separate", **photometric)
        with pytest.raises(DataError, match=r"8 bits per channel are needed"):
            read_image(planes)
    with pytest.raises(DataError, match=r"mode \S+;16\w*; 8 bits per channel are needed"):
        read_image(path)
    with pytest.raises(DataError, match=r"a mask of mode \S+;16\w*; save it with one channel$"):
        read_labels(path)


def test_transparent_pixels_of_an_image_are_white(tmp_path) -> None:
    """Colour 200 with opacity 0, 51, 255: 255, 255 - 55 / 5, 200."""
    grey, alpha = np.full((1, 3), 200, np.uint8), np.array([[0, 51, 255]], np.uint8)
    save(tmp_path / "rgba.png", np.stack([grey, grey, grey, alpha], 2))
    save(tmp_path / "la.png", np.stack([grey, alpha], 2))
    for name in ("rgba.png", "la.png"):
        assert read_image(tmp_path / name).tolist() == [[[255, 244, 200]]] * 3
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert read_image(tmp_path / "palette.png").transpose(1, 2, 0).tolist() == [
        [[255, 255, 255], [10, 20, 30]]
    ]


@pytest.mark.parametrize("number", [2.0**31, 1e30, np.inf])
def test_mask_numbers_that_do_not_fit_into_labels_are_refused(tmp_path, number) -> None:
    path = tmp_path / "m.tif"
    Image.fromarray(np.array([[0, 1, number]], np.float32)).save(path)
    with pytest.raises(DataError, match=r"m\.tif: numbers of 2147483648 or more in it; give"):
        read_labels(path)


def test_messages_about_folders_and_damaged_files_have_a_remedy(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for read in (read_image, image_size, read_labels):
        with pytest.raises(DataError, match=r"; export or copy it again$"):
            read(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"; give the folder that holds the images themselves$"):
        find_images(_empty(tmp_path))
    claimed_png(tmp_path / "a.png", 10000, 10000)
    with pytest.raises(DataError, match=r"^\S+a\.png: 10000 x 10000 px are too many .* workflow$"):
        read_image(tmp_path / "a.png")
