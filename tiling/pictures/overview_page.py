"""The page of an overview: the slide with outlines and frames, and rows of panels below it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from tiling.pictures.canvas import (
    ANNOTATED_COLOUR,
    FALSE_COLOUR,
    IGNORED_COLOUR,
    MISSED_COLOUR,
    OUTLINE_COLOUR,
    REGION_COLOUR,
    TEXT_COLOUR,
    Colour,
    Thumbnail,
    colour_mask,
    enlarged,
    font,
    text_width,
    truncated_text,
    with_scale_bar,
)
from tiling.pictures.drawn_annotation import AnnotationOnThumbnail
from tiling.pictures.truth_comparison import GlandComparison
from tiling.raster.geometry import Window
from tiling.stores.layout import StoredRegion

MARGIN_PX = 20
MIN_WIDTH_PX = 1000
_MIN_SLIDE_PX = 800
_LEGEND_TOP_PX, _LEGEND_PX, _SAMPLE_PX = 88, 28, 30
_HEADER_PX = 128
_CAPTION_PX = 30
_TITLE_FONT, _FACTS_FONT, _CAPTION_FONT, _LABEL_FONT = 28, 19, 19, 19
_LABEL_HEIGHT_PX = 22
_TISSUE_SAMPLE: Colour = (214, 150, 190)
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


class Panel(NamedTuple):
    """A picture with a line of text above it."""

    caption: str
    image: Image.Image


class PlacedAnnotation(NamedTuple):
    """The annotation of a slide on its thumbnail, its regions, and how the glands compare."""

    drawn: AnnotationOnThumbnail
    regions: Sequence[StoredRegion]
    compared: GlandComparison


class _LabelledFrame(NamedTuple):
    """A rectangle on the slide, with a text; letters are close-ups, names are regions."""

    window_px: Window
    text: str
    colour: Colour
    is_letter: bool


def letter_of(index: int) -> str:
    """Letter of a close-up: A, B, ..., Z, A, ..."""
    return chr(ord("A") + index % 26)


def draw_main_panel(
    thumbnail: Thumbnail,
    edges: NDArray[np.bool_],
    annotation: PlacedAnnotation | None,
    close_ups_px: Sequence[Window],
) -> Image.Image:
    """The slide with the outlines of its glands, its annotation, and the places of the close-ups.

    Parameters
    ----------
    thumbnail : the slide
    edges : bool, outlines on the grid of the thumbnail
    annotation : drawn above the outlines; None without one
    close_ups_px : what the close-ups show
    """
    will_be_enlarged = max(thumbnail.image.size) * 2 <= _MIN_SLIDE_PX
    thick_edges = edges if will_be_enlarged else ndimage.binary_dilation(edges)
    image = thumbnail.image
    if annotation is not None:
        image = annotation.compared.draw(image)
    image = colour_mask(image, thick_edges, OUTLINE_COLOUR)
    if annotation is not None:
        image = annotation.drawn.draw(image, thick=not will_be_enlarged)
    image = enlarged(image, _MIN_SLIDE_PX)
    times = image.width / thumbnail.image.width
    px_per_row, px_per_column = (px / times for px in thumbnail.px_per_pixel)
    regions = () if annotation is None else annotation.regions
    frames = [
        _LabelledFrame(region.window, region.name, REGION_COLOUR, False) for region in regions
    ]
    frames += [
        _LabelledFrame(window, letter_of(index), TEXT_COLOUR, True)
        for index, window in enumerate(close_ups_px)
    ]
    draw = ImageDraw.Draw(image)
    occupied: list[Rectangle] = []
    for frame in frames:
        window = frame.window_px
        box = (
            window.x / px_per_column,
            window.y / px_per_row,
            window.right / px_per_column - 1,
            window.bottom / px_per_row - 1,
        )
        if frame.is_letter:  # regions have their own form
            draw.rectangle(box, outline=frame.colour)
        _draw_label(draw, image, frame, box, occupied)
    return with_scale_bar(image, thumbnail.geometry.mpp_x * px_per_column)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    frame: _LabelledFrame,
    box: Rectangle,
    occupied: list[Rectangle],
) -> None:
    """Write the text of a frame where no other text is, and add its place to `occupied`.

    The name of a region is inside the frame at the top; it is left out if it would cover another
    text. The letter of a close-up is at the bottom, and moves to the right until it is free.
    """
    text = truncated_text(frame.text, _LABEL_FONT, image.width - box[0] - 8)
    width = text_width(text, _LABEL_FONT)
    left = box[0] + 5
    at_bottom = min(box[3], image.height) - _LABEL_HEIGHT_PX - 4
    top = at_bottom if frame.is_letter else max(box[1] + 3, 0)
    place = (left, top, left + width, top + _LABEL_HEIGHT_PX)
    while frame.is_letter and any(_overlap(place, other) for other in occupied):
        left += width + 4
        place = (left, top, left + width, top + _LABEL_HEIGHT_PX)
    if text and not any(_overlap(place, other) for other in occupied):
        occupied.append(place)
        draw.text(
            (left, top),
            text,
            fill=frame.colour,
            font=font(_LABEL_FONT),
            stroke_width=2,
            stroke_fill="white",
        )


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_page(
    title: str, facts: str, main: Image.Image, strips: Sequence[Sequence[Panel]], *, annotated: bool
) -> Image.Image:
    """Title, facts, legend, slide, and strips of panels below it, on white.

    Parameters
    ----------
    title, facts : first and second line
    main : picture of the slide
    strips : panels of each row
    annotated : whether the legend explains the colours of an annotation
    """
    legend = _legend(annotated)
    strips = [strip for strip in strips if strip]
    strip_widths = [sum(_panel_widths(strip)) + MARGIN_PX * (len(strip) - 1) for strip in strips]
    header_width = max(text_width(facts, _FACTS_FONT), legend.width)
    width = max(main.width, *strip_widths, header_width, MIN_WIDTH_PX) + 2 * MARGIN_PX
    height = _HEADER_PX + main.height + sum(map(_strip_height, strips)) + MARGIN_PX
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    title = truncated_text(title, _TITLE_FONT, width - 2 * MARGIN_PX)
    draw.text((MARGIN_PX, 12), title, fill=TEXT_COLOUR, font=font(_TITLE_FONT))
    draw.text((MARGIN_PX, 56), facts, fill=TEXT_COLOUR, font=font(_FACTS_FONT))
    page.paste(legend, (MARGIN_PX, _LEGEND_TOP_PX))
    page.paste(main, (MARGIN_PX, _HEADER_PX))
    top = _HEADER_PX + main.height
    for strip in strips:
        _draw_strip(page, strip, top + MARGIN_PX)
        top += _strip_height(strip)
    return page


def _panel_widths(strip: Sequence[Panel]) -> list[int]:
    """Widths of panels: at least that of the caption, so that captions do not overlap."""
    return [max(panel.image.width, text_width(panel.caption, _CAPTION_FONT)) for panel in strip]


def _strip_height(strip: Sequence[Panel]) -> int:
    return MARGIN_PX + _CAPTION_PX + max(panel.image.height for panel in strip)


def _legend(annotated: bool) -> Image.Image:
    """What the colours mean, in one line."""
    entries = [("predicted gland", OUTLINE_COLOUR, "")]
    if annotated:
        entries += [
            ("annotated gland", ANNOTATED_COLOUR, ""),
            ("missed", MISSED_COLOUR, "missed"),
            ("false", FALSE_COLOUR, "false"),
            ("annotated region", REGION_COLOUR, ""),
            ("ignored", IGNORED_COLOUR, "ignored"),
        ]
    entries.append(("close-up (thick outline: its gland)", TEXT_COLOUR, ""))
    widths = [_SAMPLE_PX + 8 + text_width(text, _FACTS_FONT) + 18 for text, _, _ in entries]
    legend = Image.new("RGB", (sum(widths), _LEGEND_PX), "white")
    left = 0
    for (text, colour, kind), width in zip(entries, widths, strict=True):
        legend.paste(_legend_sample(colour, kind), (left, 3))
        draw = ImageDraw.Draw(legend)
        place = (left + _SAMPLE_PX + 8, 0)
        draw.text(place, text, fill=TEXT_COLOUR, font=font(_FACTS_FONT))
        left += width
    return legend


def _legend_sample(colour: Colour, kind: str) -> Image.Image:
    """A frame of one colour; with stripes where the picture has them."""
    sample = Image.new("RGB", (_SAMPLE_PX, _LEGEND_PX - 8), _TISSUE_SAMPLE if kind else "white")
    if kind:
        inside = np.ones((sample.height, sample.width), bool)
        nothing = np.zeros_like(inside)
        if kind == "ignored":
            return AnnotationOnThumbnail(nothing, nothing, inside).draw(sample)
        masks = (inside, nothing) if kind == "missed" else (nothing, inside)
        return GlandComparison(0, 0, 0, *masks).draw(sample)
    line_px = 1 if colour == TEXT_COLOUR else 3
    box = (0, 0, sample.width - 1, sample.height - 1)
    ImageDraw.Draw(sample).rectangle(box, outline=colour, width=line_px)
    return sample


def _draw_strip(page: Image.Image, strip: Sequence[Panel], top: int) -> None:
    """Draw the panels of a strip beside each other; their captions begin at `top`."""
    draw = ImageDraw.Draw(page)
    left = MARGIN_PX
    for panel, width in zip(strip, _panel_widths(strip), strict=True):
        draw.text((left, top), panel.caption, fill=TEXT_COLOUR, font=font(_CAPTION_FONT))
        page.paste(panel.image, (left, top + _CAPTION_PX))
        left += width + MARGIN_PX
