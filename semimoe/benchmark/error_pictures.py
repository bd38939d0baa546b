"""The same test images under all rows of a table, with their errors (as Fig. 3 of the paper)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from semimoe.benchmark.table_cells import TableCell
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_folder import find_images
from semimoe.model_errors import SettingsError
from tiling.raster.atomic_files import partial_file
from tiling.raster.edges import inner_edges

# Of the palette of Okabe and Ito: they differ for all kinds of colour vision, and in brightness.
# What is missed is orange, as in the overviews of slides.
FOUND, FALSE, MISSED = (0, 114, 178), (240, 228, 66), (213, 94, 0)
_TRUE_OUTLINE, _PREDICTED_OUTLINE = (0, 0, 0), (255, 255, 255)
_OPACITY = 0.6
_PANEL_PX, _GAP_PX, _TEXT_PX = 400, 4, 18
_BLOCK_GAP_PX = 24


def write_error_picture(
    cells: Sequence[TableCell], part: str, names: Sequence[str], path: Path
) -> None:
    """Draw test images under the models of some cells: a line for each row, a column per image.

    Parameters
    ----------
    cells : finished cells, one for each row of the picture
    part : test part of the images
    names : of images, see `picture_files`
    """
    from semimoe.prediction.image_predictor import ImagePredictor

    request = cells[0].request
    files = picture_files(request.data / part, names)
    images = [read_image(image) for image, _ in files]
    truths = [read_labels(mask) for _, mask in files]
    lines = {
        "image, true outlines": [
            _panel(image, truth, None) for image, truth in zip(images, truths, strict=True)
        ]
    }
    for cell in cells:
        predictor = ImagePredictor(
            cell.model,
            device=request.device,
            threads=request.threads,
            image_mpp_um=request.image_mpp_um,
            flips=request.flips,
        )
        lines[cell.row.label] = [
            _panel(
                image,
                truth,
                predictor.glands(predictor.maps(image), (truth.shape[0], truth.shape[1])),
            )
            for image, truth in zip(images, truths, strict=True)
        ]
    with partial_file(path) as partial:
        _composed(lines, names).save(partial, format="PNG")


def picture_files(folder: Path, names: Sequence[str]) -> list[tuple[Path, Path]]:
    """Image and mask of each name.

    Raises
    ------
    SettingsError
        An image is not in the folder, or has no mask.
    """
    files = {file.name: file for file in find_images(folder)}
    pairs = []
    for name in names:
        mask = files[name].mask if name in files else None
        if mask is None:
            raise SettingsError(
                f"--pictures {name}: no image with a mask in {folder}; for example"
                f" {next(iter(files))}"
            )
        pairs.append((files[name].image, mask))
    return pairs


def error_colours(
    image: NDArray[np.uint8], truth: NDArray[np.int32], predicted: NDArray[np.int32] | None
) -> NDArray[np.uint8]:
    """An image with the errors of a prediction.

    Pixels that are found, false or missed have colours; outlines of the truth are black, those of
    the prediction white.

    Parameters
    ----------
    image : uint8 (3, H, W)
    truth, predicted : int32 (H, W), 0 background; predicted None: the outlines of the truth alone

    Returns
    -------
    ndarray
        uint8 (H, W, 3).
    """
    pixels = np.moveaxis(image, 0, -1).astype(float)
    if predicted is not None:
        grey = pixels.mean(axis=-1, keepdims=True)
        pixels = np.repeat(grey, 3, axis=-1)
        for where, colour in (
            ((truth > 0) & (predicted > 0), FOUND),
            ((truth == 0) & (predicted > 0), FALSE),
            ((truth > 0) & (predicted == 0), MISSED),
        ):
            pixels[where] = (1 - _OPACITY) * pixels[where] + _OPACITY * np.asarray(colour, float)
        pixels[inner_edges(predicted)] = _PREDICTED_OUTLINE
    pixels[inner_edges(truth)] = _TRUE_OUTLINE
    return pixels.round().astype(np.uint8)


def _panel(
    image: NDArray[np.uint8], truth: NDArray[np.int32], predicted: NDArray[np.int32] | None
) -> NDArray[np.uint8]:
    """`error_colours` at the size of the picture: outlines are drawn after the reduction."""
    size = (_PANEL_PX, round(_PANEL_PX * truth.shape[0] / truth.shape[1]))
    pixels = Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1)))
    small = np.asarray(pixels.resize(size, Image.Resampling.LANCZOS))
    labels = [
        one
        if one is None
        else np.asarray(Image.fromarray(one).resize(size, Image.Resampling.NEAREST))
        for one in (truth, predicted)
    ]
    assert labels[0] is not None
    return error_colours(np.moveaxis(small, -1, 0), labels[0], labels[1])


def _composed(
    lines: Mapping[str, Sequence[NDArray[np.uint8]]], names: Sequence[str]
) -> Image.Image:
    """Panels side by side; above each line the label of its row.

    Lines are arranged in blocks side by side, so that the picture is not much higher than wide.
    """
    first = next(iter(lines.values()))
    line_px = max(panel.shape[0] for panel in first) + _TEXT_PX + _GAP_PX
    block_px = len(names) * (_PANEL_PX + _GAP_PX)
    blocks = max(round(math.sqrt(len(lines) * line_px / block_px)), 1)
    lines_per_block = -(-len(lines) // blocks)
    blocks = -(-len(lines) // lines_per_block)
    width = blocks * (block_px + _BLOCK_GAP_PX) - _BLOCK_GAP_PX
    legend = (
        ("found", FOUND),
        ("false", FALSE),
        ("missed", MISSED),
        ("true outline", _TRUE_OUTLINE),
        ("predicted outline", _PREDICTED_OUTLINE),
    )
    height = lines_per_block * line_px + (len(legend) + 1) * (_TEXT_PX + 2) + _GAP_PX
    canvas = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_TEXT_PX - 5)
    for number, (label, panels) in enumerate(lines.items()):
        block, line = divmod(number, lines_per_block)
        left, top = block * (block_px + _BLOCK_GAP_PX), line * line_px
        draw.text((left + 2, top), label, fill="black", font=font)
        for column, panel in enumerate(panels):
            place = (left + column * (_PANEL_PX + _GAP_PX), top + _TEXT_PX)
            canvas.paste(Image.fromarray(panel), place)
    top = lines_per_block * line_px
    for column, name in enumerate(names):
        draw.text((2 + column * (_PANEL_PX + _GAP_PX), top), name, fill="black", font=font)
    for number, (text, colour) in enumerate(legend):
        y = top + (number + 1) * (_TEXT_PX + 2)
        outline = "grey" if colour == _PREDICTED_OUTLINE else None  # white on white
        draw.rectangle((2, y, 2 + _TEXT_PX, y + _TEXT_PX - 4), fill=colour, outline=outline)
        draw.text((8 + _TEXT_PX, y), text, fill="black", font=font)
    return canvas
