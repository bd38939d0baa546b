"""Tissue and pen against exact truth, beside what most pipelines do (median filter of the saturation, then Otsu).

python benchmarks/tissue.py [--slides 6]

Synthetic sections with strokes of four inks on glass and tissue; masks at 8 um per pixel; truth: tissue without ink, and ink.
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


class Section(NamedTuple):
    """A coarse picture and its truth, (h, w) at 8 um per pixel."""

    rgb: NDArray[np.uint8]
    tissue: Mask
    ink: Mask


def section(seed: int, ink: tuple[int, int, int]) -> Section:
    """One section with strokes of one ink."""
    for_plan, for_paint, for_ink = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    plan = plan_section((_SIDE_PX // 2, _SIDE_PX // 2), for_plan, tissue_share=0.4)
    image = Image.fromarray(draw_slide(plan, (_SIDE_PX, _SIDE_PX), for_paint, pen=False, folds=[]))
    strokes = Image.new("L", image.size)
    draw = ImageDraw.Draw(strokes)
    for _ in range(4):
        x, y = for_ink.integers(0, _SIDE_PX, 2)
        dx, dy = for_ink.integers(-900, 901, 2)
        draw.line((x, y, x + dx, y + dy), fill=235, width=int(for_ink.integers(120, 260)))
    image.paste(ink, mask=strokes)
    covered = np.asarray(strokes.reduce(_COARSE_PX)) > 117
    tissue = (
        np.asarray(Image.fromarray(plan.tissue.astype(np.uint8) * 255).reduce(_COARSE_PX // 2))
        > 127
    )
    return Section(np.asarray(image.reduce(_COARSE_PX)), tissue & ~covered, covered)


def saturation_otsu(rgb: NDArray[np.uint8]) -> Mask:
    """The usual rule."""
    saturation = ndimage.median_filter(rgb2hsv(rgb)[..., 1], 7)
    return np.asarray(saturation > threshold_otsu(saturation))


def precision_recall(found: list[Mask], truth: list[Mask]) -> tuple[float, float]:
    """Over the pixels of all sections."""
    both = sum(int((a & b).sum()) for a, b in zip(found, truth, strict=True))
    return both / max(sum(int(a.sum()) for a in found), 1), both / max(
        sum(int(b.sum()) for b in truth), 1
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=6, help="sections per ink")
    given = parser.parse_args()
    print("ink      mask                 precision  recall")
    for name, ink in _INKS.items():
        sections = [section(seed, ink) for seed in range(given.slides)]
        ours = [tissue_and_pen(one.rgb, 8.0) for one in sections]
        rows = {
            "tissue": ([tissue for tissue, _ in ours], [one.tissue for one in sections]),
            "tissue, saturation": (
                [saturation_otsu(one.rgb) for one in sections],
                [one.tissue for one in sections],
            ),
            "pen": ([pen for _, pen in ours], [one.ink for one in sections]),
        }
        for mask, (found, truth) in rows.items():
            precision, recall = precision_recall(found, truth)
            print(f"{name:8s} {mask:20s} {precision:9.3f} {recall:7.3f}", flush=True)


if __name__ == "__main__":
    main()
