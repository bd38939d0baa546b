"""Files that open without an error and are no brightfield slide: refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from tiling.__main__ import main
from tiling.slide_errors import SlideError
from tiling.slides.brightfield import has_dark_background
from tiling.slides.metadata import pixel_size_problem
from tiling.slides.slide_reader import open_slide

RGB = np.random.default_rng(0).integers(0, 256, (130, 170, 3), np.uint8)
STACK = np.stack([RGB, RGB[::-1], RGB[:, ::-1]])
TILED = {"tile": (64, 64), "photometric": "rgb"}
APERIO = "Aperio Image Library v11.2.1\n170x130 (64x64) J2K/YUV16 Q=70|AppMag = {}|MPP = {}"


def imagej_stack(path: Path) -> None:
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYXS"})


def shaped_stack(path: Path) -> None:
    tifffile.imwrite(path, STACK, **TILED, metadata={"axes": "ZYXS"})


def plain_stack(path: Path) -> None:
    tifffile.imwrite(path, STACK, **TILED, metadata=None)


def untiled_stack(path: Path) -> None:
    tifffile.imwrite(path, STACK, photometric="rgb", metadata=None)


def stack_with_pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for plane in STACK:
            writer.write(plane, **TILED, metadata=None)
        writer.write(RGB[::2, ::2], **TILED, subfiletype=1, metadata=None)


def aperio_stack(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for plane in STACK[:2]:
            writer.write(plane, **TILED, description=APERIO.format(20, 0.5), metadata=None)


def two_pictures(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, **TILED, compression="packbits", metadata=None)
        writer.write(255 - RGB, **TILED, compression="deflate", metadata=None)


@pytest.mark.parametrize(
    "write",
    [
        imagej_stack,
        shaped_stack,
        plain_stack,
        untiled_stack,
        stack_with_pyramid,
        aperio_stack,
        two_pictures,
    ],
)
def test_a_stack_of_planes_is_refused_whoever_wrote_it(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "s.tif")
    with pytest.raises(SlideError, match=r"s\.tif: not a brightfield RGB.*planes of one size"):
        open_slide(tmp_path / "s.tif")


def jpeg_2000(path: Path, compression: int, **options: object) -> None:
    """A file whose tiles have that compression by their tag."""
    tifffile.imwrite(path, RGB, **TILED, compression="jpeg2000", **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            page.tags["Compression"].overwrite(compression)


@pytest.mark.parametrize("description", [None, "exported", '{"Manufacturer": "Aperio"}'])
def test_the_colours_of_aperio_jpeg_2000_are_unknown_elsewhere(
    tmp_path: Path, description: str | None
) -> None:
    jpeg_2000(tmp_path / "s.tif", 33003, description=description, metadata=None)
    with pytest.raises(SlideError, match=r"33003 .*colours are not known"):
        open_slide(tmp_path / "s.tif")
    jpeg_2000(tmp_path / "s.tif", 33005, description=description, metadata=None)
    open_slide(tmp_path / "s.tif").close()
    jpeg_2000(tmp_path / "s.svs", 33003, description=APERIO.format(40, 0.25), metadata=None)
    open_slide(tmp_path / "s.svs").close()


def test_a_level_of_aperio_jpeg_2000_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, **TILED, metadata=None)
        writer.write(RGB[::2, ::2], **TILED, compression="jpeg2000", subfiletype=1, metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[1].tags["Compression"].overwrite(33003)
    with pytest.raises(SlideError, match=r"33003 .*colours are not known"):
        open_slide(path)


@pytest.mark.parametrize(
    ("mpp", "usable"), [(0.05, False), (0.055, False), (0.065, True), (0.5, True), (20.1, False)]
)
def test_a_pixel_size_that_no_scanner_has_is_a_problem(
    tmp_path: Path, mpp: float, usable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.tif"
    resolution = (10000 / mpp, 10000 / mpp)
    tifffile.imwrite(path, RGB, **TILED, resolution=resolution, resolutionunit="CENTIMETER")
    assert main(["info", str(path)]) == 0
    assert ("problem:" not in capsys.readouterr().out) == usable


@pytest.mark.parametrize(
    ("power", "mpp", "usable"),
    [
        (20, 0.5, True),
        (40, 0.25, True),
        (20, 0.17, True),
        (40, 0.12, True),
        (40, 2.5, False),
        (20, 5.0, False),
        (20, 0.07, False),
    ],
)
def test_a_pixel_size_must_fit_the_objective(
    tmp_path: Path, power: int, mpp: float, usable: bool
) -> None:
    path = tmp_path / "s.svs"
    tifffile.imwrite(path, RGB, **TILED, description=APERIO.format(power, mpp), metadata=None)
    with open_slide(path) as slide:
        problem = pixel_size_problem(slide.metadata)
    assert (problem is None) == usable
    assert usable or f"does not fit the objective of {power}x" in str(problem)
    with open_slide(path, mpp=mpp) as slide:  # a person said so
        assert pixel_size_problem(slide.metadata) is None


def discs(background: tuple[int, ...], nuclei: tuple[int, ...], noise: float) -> np.ndarray:
    """A picture of 40 nuclei on one background."""
    rng = np.random.default_rng(0)
    picture = np.full((400, 400, 3), background, float)
    y, x = np.mgrid[:400, :400]
    for centre_y, centre_x in rng.integers(0, 400, (40, 2)):
        picture[(y - centre_y) ** 2 + (x - centre_x) ** 2 < 300] = nuclei
    return np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)


DARK = {
    "blue nuclei on black": discs((0, 0, 0), (20, 30, 220), 4),
    "grey nuclei on black": discs((0, 0, 0), (150, 150, 150), 3),
    "green and red on dark grey": discs((25, 25, 25), (240, 200, 10), 8),
    "few weak nuclei": discs((8, 6, 12), (40, 50, 90), 3),
    "nothing": np.zeros((400, 400, 3), np.uint8),
}
WHITE_PADDED = np.pad(discs((240, 238, 241), (120, 60, 140), 4), ((0, 500), (0, 0), (0, 0)))
LIGHT = {
    "stained nuclei on glass": discs((243, 241, 244), (90, 50, 130), 4),
    "tissue everywhere": discs((200, 120, 170), (90, 50, 130), 10),
    "glass and tissue beside the unscanned black": WHITE_PADDED,
    "tissue beside the unscanned black": np.pad(
        discs((200, 120, 170), (90, 70, 130), 10), ((0, 500), (0, 0), (0, 0))
    ),
}


@pytest.mark.parametrize("name", DARK)
def test_fluorescence_as_rgb_is_refused_and_named(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.fromarray(DARK[name]).save(tmp_path / "s.png", dpi=(50800, 50800))
    assert main(["info", str(tmp_path / "s.png")]) == 0
    assert "not a brightfield slide (the background is dark" in capsys.readouterr().out
    assert main(["tile", str(tmp_path / "s.png"), str(tmp_path / "out.zarr")]) == 2
    assert "s.png: not a brightfield slide" in capsys.readouterr().err
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("name", LIGHT)
def test_transmitted_light_is_accepted(name: str) -> None:
    assert not has_dark_background(LIGHT[name].reshape(-1, 3))
