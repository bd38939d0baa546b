"""A contact sheet of all tiled slides, to check before the long computation.

It shows what will be read, which slides are left out, and the expected time and disk space.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw

from tiling.messages import counted
from tiling.pictures.canvas import (
    ERROR_COLOUR,
    TEXT_COLOUR,
    Colour,
    font,
    png_bytes,
    text_width,
    truncated_text,
)
from tiling.pictures.slide_summary import PICTURE_PX, SlideSummary, data_uri, read_slide_summary
from tiling.raster.atomic_files import write_atomic
from tiling.raster.durations import duration_text

_TEMPLATE = Path(__file__).parent / "templates" / "contact_sheet.html"
_MAX_COLUMNS = 4
_MARGIN_PX = 24
_TEXT_HEIGHT_PX = 68  # name and facts above a picture
_CELL_TEXT_PX = 96  # height of a cell without its picture
_MIN_PICTURE_HEIGHT_PX = 60
_LINE_PX = 19
_NAME_FONT, _TEXT_FONT = 18, 14
_COLOURS = "Teal: tissue. Magenta: pen. Grey: tiles. Orange: tiles left out (pen, out of focus)."
_ANNOTATION_COLOURS = (
    "Blue: regions. Yellow: outlines of glands. Brown, hatched: areas without weight."
)
_MOST_LINES = 99


def write_contact_sheet(
    summaries: Sequence[Path],
    png: Path,
    html: Path,
    *,
    tiles_per_s: float | None,
    training_text: str = "",
    failed: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the preview of all slides, as a picture and as one self-contained page.

    Parameters
    ----------
    summaries : files of `tiling.pictures.slide_summary.write_slide_summary`
    png, html : outputs; each appears when it is complete
    tiles_per_s : speed of prediction, measured on the CPU; None: not known, and no times are shown
    training_text : expected time of the trainings; "" if the run does not train
    failed : slides without a summary, and the reason
    """
    from jinja2 import Environment, StrictUndefined

    slides = [read_slide_summary(path) for path in summaries]
    slides += [SlideSummary(slide, reason) for slide, reason in failed.items()]
    tiles = sum(slide.tiles for slide in slides)
    annotated = [slide for slide in slides if slide.annotation is not None]
    colours = f"{_COLOURS} {_ANNOTATION_COLOURS}" if annotated else _COLOURS
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        summaries=slides,
        annotated=annotated,
        colours=colours,
        failed=sum(slide.error is not None for slide in slides),
        tiles=tiles,
        tissue_mm2=sum(slide.tissue_mm2 for slide in slides),
        rate=tiles_per_s,
        training=training_text,
        duration=duration_text(tiles / tiles_per_s) if tiles_per_s else "",
        stored=sum(slide.stored_bytes for slide in slides),
        results=sum(slide.result_bytes for slide in slides),
        size=size_text,
        time=duration_text,
        uri=data_uri,
        counted=counted,
    )
    write_atomic(png, png_bytes(_montage(slides, colours)))
    write_atomic(html, page)


def size_text(size: float) -> str:
    """A number of bytes in decimal units.

    >>> size_text(950), size_text(12_340_000), size_text(3.2e9)
    ('1 kB', '12 MB', '3.2 GB')
    """
    if size < 1e6:
        return f"{int(np.ceil(size / 1e3))} kB"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _montage(summaries: Sequence[SlideSummary], colours: str) -> Image.Image:
    """All slides in rows, on white; below them what the colours mean."""
    columns = max(min(_MAX_COLUMNS, len(summaries)), 1)
    heights = [summary.picture.height for summary in summaries if summary.picture is not None]
    cell_height = max(heights, default=_MIN_PICTURE_HEIGHT_PX) + _CELL_TEXT_PX
    cell_width = PICTURE_PX + _MARGIN_PX
    rows = max(-(-len(summaries) // columns), 1)
    width, below = columns * cell_width + _MARGIN_PX, rows * cell_height + _MARGIN_PX
    legend = _wrapped(colours, _TEXT_FONT, _MOST_LINES, width - 2 * _MARGIN_PX)
    size = (width, below + len(legend) * _LINE_PX + _MARGIN_PX)
    page = Image.new("RGB", size, "white")
    for index, summary in enumerate(summaries):
        x = _MARGIN_PX + index % columns * cell_width
        y = _MARGIN_PX + index // columns * cell_height
        _draw_cell(page, summary, x, y, max_lines=(cell_height - 50) // _LINE_PX)
    _draw_lines(ImageDraw.Draw(page), legend, _MARGIN_PX, below, TEXT_COLOUR)
    return page


def _draw_lines(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], x: int, y: int, colour: Colour
) -> None:
    for line, text in enumerate(lines):
        draw.text((x, y + _LINE_PX * line), text, fill=colour, font=font(_TEXT_FONT))


def _draw_cell(page: Image.Image, summary: SlideSummary, x: int, y: int, *, max_lines: int) -> None:
    """The name of a slide, and below it its facts and picture, or its error."""
    draw = ImageDraw.Draw(page)
    name = truncated_text(summary.slide, _NAME_FONT, PICTURE_PX)
    draw.text((x, y), name, fill=TEXT_COLOUR, font=font(_NAME_FONT))
    y_text = y + 26
    if summary.picture is None:
        lines = _wrapped(f"failed: {summary.error}", _TEXT_FONT, max_lines, PICTURE_PX)
        _draw_lines(draw, lines, x, y_text, ERROR_COLOUR)
        return
    tiles = counted(summary.tiles, "tile")
    facts = f"{tiles}, {summary.tissue_mm2:.2f} mm², {summary.mpp_um:.3g} µm/px"
    draw.text((x, y_text), facts, fill=TEXT_COLOUR, font=font(_TEXT_FONT))
    _draw_annotation_facts(draw, summary, x, y_text + _LINE_PX)
    page.paste(summary.picture, (x, y + _TEXT_HEIGHT_PX))


def _draw_annotation_facts(
    draw: ImageDraw.ImageDraw, summary: SlideSummary, x: int, y: int
) -> None:
    """What is annotated, or why the annotation cannot be used, on one line."""
    annotation = summary.annotation
    if annotation is None:
        return
    text = f"{counted(annotation.regions, 'region')}, {counted(annotation.glands, 'gland')}"
    colour = TEXT_COLOUR
    if annotation.error is not None:
        text, colour = f"annotation cannot be used: {annotation.error}", ERROR_COLOUR
    line = truncated_text(text, _TEXT_FONT, PICTURE_PX)
    draw.text((x, y), line, fill=colour, font=font(_TEXT_FONT))


def _wrapped(text: str, size: int, max_lines: int, max_px: int) -> list[str]:
    """The text in lines of at most `max_px`; a path without spaces is broken anywhere."""
    lines, line = [], ""
    for letter in text.replace("\n", " "):
        if text_width(line + letter, size) > max_px:
            # Break at the last space, unless that leaves half a line empty.
            last_space = line.rfind(" ")
            end = last_space + 1 if last_space > len(line) // 2 else len(line)
            lines.append(line[:end])
            line = line[end:]
        line += letter
    return [*lines, line][:max_lines]
