"""A contact sheet of all tiled slides: what will be read, how long and how much disk it will take, and which slides are left out.

To be looked at before the long computation.
"""

import base64
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tiling.messages import counted
from tiling.pictures.canvas import (
    ERROR,
    INK,
    LEFT_OUT,
    PEN,
    TISSUE,
    Thumbnail,
    cut_text,
    font,
    inner_edges,
    png_bytes,
    thumbnail,
    tint,
)
from tiling.raster.atomic_files import write_atomic
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import recorded_error
from tiling.stores.layout import TileStore

_CARD_PX = 420
_COLUMNS = 4
_GRID = (110, 110, 150)
# Of the four maps, the labels and the GeoJSON together, per stored pixel under tiles, compressed; 1.5 to 1.9 on real tissue.
RESULT_BYTES_PER_PX = 2.0

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Slides before the run</title><style>
body { font: 15px/1.4 sans-serif; color: #1e1e1e; background: white; margin: 2em auto; max-width: 1300px; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left }
td.n, th.n { text-align: right } .error { color: #be1414; overflow-wrap: anywhere }
.cards { display: flex; flex-wrap: wrap; gap: 1.2em; margin-top: 1.5em }
figure { margin: 0; max-width: 420px } img { max-width: 100%; border: 1px solid #ddd }
</style></head><body>
<h1>Slides before the run</h1>
<p>{{ counted(cards|length, "slide") }}, {{ failed }} failed; {{ counted(tiles, "tile") }}, {{ "%.1f"|format(tissue_mm2) }} mm² of tissue.
Prediction takes about {{ duration }} on the CPU of this machine ({{ "%.2g"|format(rate) }} tiles/s, measured now); a GPU is faster.
Tiles take {{ size(stored) }} on disk, results about {{ size(results) }} more.</p>
<p>Teal: tissue. Magenta: pen. Grey: tiles. Orange: tiles left out (pen, out of focus).</p>
<table><tr><th>slide</th><th class="n">tiles</th><th class="n">left out</th><th class="n">tissue mm²</th><th class="n">µm/px</th>
<th>pixel size from</th><th class="n">tiles on disk</th><th class="n">results, about</th><th class="n">prediction, about</th></tr>
{% for card in cards %}<tr><td>{{ card.slide }}</td>
{% if card.error is not none %}<td colspan="8" class="error">{{ card.error }}</td>
{% else %}<td class="n">{{ card.tiles }}</td><td class="n">{{ card.left_out }}</td><td class="n">{{ "%.2f"|format(card.tissue_mm2) }}</td>
<td class="n">{{ "%.3g"|format(card.mpp_um) }}</td><td>{{ card.mpp_origin }}</td><td class="n">{{ size(card.stored_bytes) }}</td>
<td class="n">{{ size(card.result_bytes) }}</td><td class="n">{{ time(card.tiles / rate) }}</td>{% endif %}</tr>
{% endfor %}</table>
<div class="cards">{% for card in cards if card.picture is not none %}
<figure><figcaption>{{ card.slide }}</figcaption><img alt="{{ card.slide }}" src="{{ uri(card.picture) }}"></figure>{% endfor %}</div>
</body></html>
"""


class Card(NamedTuple):
    """What the sheet shows of one slide; a failed one has its error and nothing else.

    Attributes
    ----------
    tiles, left_out : tiles to predict, and those left out (pen, focus)
    tissue_mm2 : tissue area
    mpp_um, mpp_origin : pixel size of the store, and where the slide's was found
    stored_bytes, result_bytes : tiles on disk, and what maps and glands will take (an estimate)
    picture : thumbnail with tissue and tiles
    """

    slide: str
    error: str | None
    tiles: int = 0
    left_out: int = 0
    tissue_mm2: float = 0.0
    mpp_um: float = 0.0
    mpp_origin: str = ""
    stored_bytes: int = 0
    result_bytes: int = 0
    picture: Image.Image | None = None


def write_card(store: Path, out: Path) -> None:
    """What the preview shows of one slide, as JSON with its picture: it stays when the tiles go.

    Parameters
    ----------
    store : tile store, `{slide}.zarr`, also of a failed slide
    out : JSON file, written whole or not at all; the fields of `Card`, the picture as a data URI
    """
    card = _card(store)
    write_atomic(
        out,
        json.dumps(
            {**card._asdict(), "picture": None if card.picture is None else _data_uri(card.picture)}
        ),
    )


def read_card(path: Path) -> Card:
    """The card that `write_card` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["picture"] is not None:
        with Image.open(io.BytesIO(base64.b64decode(values["picture"].partition(",")[2]))) as image:
            values["picture"] = image.convert("RGB")
    return Card(**values)


def contact_sheet(cards: list[Path], png: Path, html: Path, *, tiles_per_s: float) -> None:
    """Write the preview of all slides, as a picture and as one self-contained page.

    Parameters
    ----------
    cards : files of `write_card`
    png, html : outputs, each written whole or not at all
    tiles_per_s : speed of prediction, measured on the CPU
    """
    from jinja2 import Environment, StrictUndefined

    shown = [read_card(path) for path in cards]
    tiles = sum(card.tiles for card in shown)
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    text = page.render(
        cards=shown,
        failed=sum(card.error is not None for card in shown),
        tiles=tiles,
        tissue_mm2=sum(card.tissue_mm2 for card in shown),
        rate=tiles_per_s,
        duration=duration_text(tiles / tiles_per_s),
        stored=sum(card.stored_bytes for card in shown),
        results=sum(card.result_bytes for card in shown),
        size=size_text,
        time=duration_text,
        uri=_data_uri,
        counted=counted,
    )
    write_atomic(png, png_bytes(_montage(shown)))
    write_atomic(html, text)


def duration_text(seconds: float) -> str:
    """A duration as people say it.

    >>> duration_text(7.2), duration_text(150), duration_text(3600 * 5.5)
    ('8 s', '3 min', '5.5 h')
    """
    if seconds < 100:
        return f"{int(np.ceil(seconds))} s"
    return f"{int(np.ceil(seconds / 60))} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size_text(size: float) -> str:
    """Bytes in decimal units.

    >>> size_text(950), size_text(12_340_000), size_text(3.2e9)
    ('1 kB', '12 MB', '3.2 GB')
    """
    if size < 1e6:
        return f"{int(np.ceil(size / 1e3))} kB"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def _card(store: Path) -> Card:
    slide = store.name.removesuffix(".zarr")
    error = recorded_error(store)
    if error is not None:
        return Card(slide, error)
    attributes = TileStore.read(store)
    table = read_table(store, "tiles", ("origin_yx_px", "status"))
    small = thumbnail(store, _CARD_PX)
    kept = table["status"] == 0
    side = attributes.tile_px
    stride = side - attributes.overlap_px
    return Card(
        slide,
        None,
        tiles=int(kept.sum()),
        left_out=int((~kept).sum()),
        tissue_mm2=attributes.tissue_um2 / 1e6,
        mpp_um=small.geometry.mpp,
        mpp_origin=attributes.mpp_origin,
        stored_bytes=sum(path.stat().st_size for path in store.rglob("*") if path.is_file()),
        # Neighbouring tiles share their overlap: each adds a square of one stride.
        result_bytes=int(kept.sum() * stride**2 * RESULT_BYTES_PER_PX),
        picture=_picture(store, small, table["origin_yx_px"], kept, attributes),
    )


def _picture(
    store: Path,
    small: Thumbnail,
    origin_yx_px: NDArray[np.int64],
    kept: NDArray[np.bool_],
    attributes: TileStore,
) -> Image.Image:
    """The thumbnail with the outlines of tissue and pen, and the tiles."""
    tissue, pen = (
        np.asarray(open_array(open_store(store), name)[...]) for name in ("tissue", "pen")
    )
    tile_px = attributes.tile_px
    pixel = attributes.tissue_mpp_um / small.geometry.mpp
    rows, columns = (
        np.minimum(((np.arange(length) + 0.5) * scale / pixel).astype(int), cells - 1)
        for length, scale, cells in zip(
            (small.image.height, small.image.width), small.px_per_pixel, tissue.shape, strict=True
        )
    )
    image = small.image.copy()
    draw = ImageDraw.Draw(image)
    down, right = small.px_per_pixel
    # Left-out tiles last: their frames lie on top of their neighbours'.
    for wanted, colour in ((True, _GRID), (False, LEFT_OUT)):
        for y, x in origin_yx_px[kept == wanted].tolist():
            draw.rectangle(
                (x / right, y / down, (x + tile_px) / right - 1, (y + tile_px) / down - 1),
                outline=colour,
            )
    # Half transparent: the overlaps of the tiles hide much of a small picture.
    image = Image.blend(small.image, image, 0.55)
    for mask, colour in ((pen, PEN), (tissue, TISSUE)):
        image = tint(image, inner_edges(mask[np.ix_(rows, columns)].astype(np.int32)), colour)
    return image


def _data_uri(picture: Image.Image) -> str:
    """A picture for the page; 256 colours, since a cohort has hundreds."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture.quantize(256))).decode()


def _montage(cards: list[Card]) -> Image.Image:
    """All cards in rows, on white."""
    columns = max(min(_COLUMNS, len(cards)), 1)
    pictures = [card.picture.height for card in cards if card.picture is not None]
    cell_h, cell_w = max(pictures, default=60) + 76, _CARD_PX + 24
    rows = -(-len(cards) // columns)
    page = Image.new("RGB", (columns * cell_w + 24, max(rows, 1) * cell_h + 24), "white")
    draw = ImageDraw.Draw(page)
    for index, card in enumerate(cards):
        x, y = 24 + index % columns * cell_w, 24 + index // columns * cell_h
        draw.text((x, y), cut_text(card.slide, 18, _CARD_PX), fill=INK, font=font(18))
        if card.picture is None:
            for line, text in enumerate(
                _wrap(draw, f"failed: {card.error}", 14, (cell_h - 50) // 19)
            ):
                draw.text((x, y + 26 + 19 * line), text, fill=ERROR, font=font(14))
            continue
        facts = f"{counted(card.tiles, 'tile')}, {card.tissue_mm2:.2f} mm², {card.mpp_um:.3g} µm/px"
        draw.text((x, y + 26), facts, fill=INK, font=font(14))
        page.paste(card.picture, (x, y + 48))
    return page


def _wrap(draw: ImageDraw.ImageDraw, text: str, size: int, most_lines: int) -> list[str]:
    """The text in lines as wide as a card; paths are broken anywhere."""
    lines, line = [], ""
    for letter in text.replace("\n", " "):
        if draw.textlength(line + letter, font=font(size)) > _CARD_PX:
            # Back to the last space, unless that leaves half a line empty.
            cut = line.rfind(" ") + 1 if line.rfind(" ") > len(line) // 2 else len(line)
            lines.append(line[:cut])
            line = line[cut:]
        line += letter
    return [*lines, line][:most_lines]
