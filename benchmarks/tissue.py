"""Tissue and pen masks, compared with exact truth and with the usual rule.

python benchmarks/tissue.py [--slides 6]

Most pipelines take a median filter of the saturation, then Otsu's threshold. The images are
synthetic sections with strokes of four inks on glass and tissue, at 8 um per pixel. The truth is
the tissue without ink, and the ink.
"""

import argparse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu

from tiling.synthetic.section_plan import plan_section
from tiling.synthetic.slide_image import draw_slide
from tiling.tissue.tissue_mask import tissue_and_pen

Mask = NDArray[np.bool_]
_SIDE_PX = 4000  # level 0, 0.5 um per pixel
_COARSE_PX = 16  # 8 um
_INKS = {"blue": (35, 55, 150), "green": (25, 120, 70), "black": (25, 25, 30), "red": (200, 30, 45)}


class InkedSection(NamedTuple):
    """A coarse image of a section and its truth, (h, w) at 8 um per pixel."""

    rgb: NDArray[np.uint8]
    tissue: Mask
    ink: Mask


def inked_section(seed: int, ink: tuple[int, int, int]) -> InkedSection:
    """One section with strokes of one ink."""
    plan_random, image_random, ink_random = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    plan = plan_section((_SIDE_PX // 2, _SIDE_PX // 2), plan_random, tissue_share=0.4)
    pixels = draw_slide(plan, (_SIDE_PX, _SIDE_PX), image_random, pen=False, folds=[])
    image = Image.fromarray(pixels)
    strokes = Image.new("L", image.size)
    draw = ImageDraw.Draw(strokes)
    for _ in range(4):
        x, y = ink_random.integers(0, _SIDE_PX, 2)
        dx, dy = ink_random.integers(-900, 901, 2)
        draw.line((x, y, x + dx, y + dy), fill=235, width=int(ink_random.integers(120, 260)))
    image.paste(ink, mask=strokes)
    covered = np.asarray(strokes.reduce(_COARSE_PX)) > 117
    fine_tissue = Image.fromarray(plan.tissue.astype(np.uint8) * 255)
    tissue = np.asarray(fine_tissue.reduce(_COARSE_PX // 2)) > 127
    return InkedSection(np.asarray(image.reduce(_COARSE_PX)), tissue & ~covered, covered)


def saturation_otsu(rgb: NDArray[np.uint8]) -> Mask:
    """The usual rule."""
    saturation = ndimage.median_filter(rgb2hsv(rgb)[..., 1], 7)
    return np.asarray(saturation > threshold_otsu(saturation))


def precision_recall(predicted: list[Mask], truth: list[Mask]) -> tuple[float, float]:
    """Precision and recall over the pixels of all sections."""
    both = sum(int((a & b).sum()) for a, b in zip(predicted, truth, strict=True))
    predicted_px = sum(int(mask.sum()) for mask in predicted)
    truth_px = sum(int(mask.sum()) for mask in truth)
    return both / max(predicted_px, 1), both / max(truth_px, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=6, help="sections per ink")
    arguments = parser.parse_args()
    print("ink      mask                 precision  recall")
    for name, ink in _INKS.items():
        sections = [inked_section(seed, ink) for seed in range(arguments.slides)]
        masks = [tissue_and_pen(section.rgb, 8.0) for section in sections]
        tissue_truth = [section.tissue for section in sections]
        saturation = [saturation_otsu(section.rgb) for section in sections]
        rows = {
            "tissue": ([tissue for tissue, _ in masks], tissue_truth),
            "tissue, saturation": (saturation, tissue_truth),
            "pen": ([pen for _, pen in masks], [section.ink for section in sections]),
        }
        for mask, (predicted, truth) in rows.items():
            precision, recall = precision_recall(predicted, truth)
            print(f"{name:8s} {mask:20s} {precision:9.3f} {recall:7.3f}", flush=True)


if __name__ == "__main__":
    main()
