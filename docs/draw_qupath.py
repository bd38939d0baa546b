r"""The picture of docs/qupath.md: what QuPath shows of the files of a slide.

python docs/draw_qupath.py SLIDE ANNOTATION.geojson GLANDS.geojson PROPOSALS.geojson \
    docs/images/qupath.jpg
"""

import sys
from pathlib import Path

import shapely
from PIL import Image, ImageDraw

from tiling.outlines.geojson_reader import GeoJsonFile
from tiling.pictures.canvas import TEXT_COLOUR, font, with_scale_bar
from tiling.qupath.class_names import IGNORE, PROPOSED, REGION
from tiling.qupath.geojson_writer import GLAND_COLOUR
from tiling.slides.scaled_reading import read_thumbnail
from tiling.slides.slide_reader import open_slide

_PANEL_PX = 560
_MARGIN = 16
_CAPTIONS = (
    f"1  You outline: regions ({REGION}) and their glands",
    "2  import_all.groovy: glands of the whole slide",
    "3  ... and proposed squares with editable outlines",
)
_COLOURS = {REGION: (20, 60, 220), IGNORE: (120, 120, 120), PROPOSED: (255, 140, 0)}


def panel(picture: Image.Image, files: list[Path], downsample: float) -> Image.Image:
    """Outlines over a small picture of the slide; annotations are thicker than detections."""
    image = picture.copy()
    draw = ImageDraw.Draw(image)
    for path in files:
        for feature in GeoJsonFile(path).features():
            colour = _COLOURS.get(feature.class_name, GLAND_COLOUR)
            width = 1 if feature.object_type == "detection" else 2
            for part in shapely.get_parts(shapely.geometry.shape(feature.geometry)):
                for ring in (part.exterior, *part.interiors):
                    points = [(x / downsample, y / downsample) for x, y in ring.coords]
                    draw.line(points, fill=colour, width=width)
    return image


def main() -> int:
    """Draw three panels side by side."""
    slide_path, annotation, glands, proposals, out = map(Path, sys.argv[1:])
    with open_slide(slide_path) as slide:
        metadata = slide.metadata
        picture = Image.fromarray(read_thumbnail(slide, _PANEL_PX))
    downsample = metadata.width_px / picture.width
    panels = [
        panel(picture, files, downsample) for files in ([annotation], [glands], [glands, proposals])
    ]
    panels = [with_scale_bar(image, metadata.mpp_x * downsample) for image in panels]
    page = Image.new("RGB", (3 * _PANEL_PX + 4 * _MARGIN, panels[0].height + 60), "white")
    draw = ImageDraw.Draw(page)
    for index, (image, caption) in enumerate(zip(panels, _CAPTIONS, strict=True)):
        left = _MARGIN + index * (_PANEL_PX + _MARGIN)
        draw.text((left, 14), caption, fill=TEXT_COLOUR, font=font(19))
        page.paste(image, (left, 44))
    page.save(out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
