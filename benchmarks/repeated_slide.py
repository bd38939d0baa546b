"""Large slides in a second: a pyramidal TIFF that repeats and mirrors an image.

Each different tile is stored once, and the index of a level names it for every place where it is
repeated. Readers decode every tile as in another slide; only the file is small.
"""

import io
import itertools
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiling.raster.area_average import area_average

TILE_PX = 256
MPP_UM = 0.25
LEVEL_FACTORS = (1, 4, 16)
_JPEG_QUALITY = 85
# Types of values in a TIFF.
_SHORT, _LONG, _RATIONAL, _LONG8 = 3, 4, 5, 16
_DTYPES = {_SHORT: "<u2", _LONG: "<u4", _RATIONAL: "<u4", _LONG8: "<u8"}
_TILE_OFFSETS, _TILE_BYTE_COUNTS = 324, 325


class _Tag(NamedTuple):
    kind: int
    values: Sequence[int] | NDArray[np.uint64]


def image_of_slide(path: Path) -> NDArray[np.uint8]:
    """Level 0 of a small slide, enlarged to `MPP_UM`; uint8 (H, W, 3)."""
    import openslide

    with openslide.OpenSlide(str(path)) as slide:
        factor = float(slide.properties.get(openslide.PROPERTY_NAME_MPP_X, MPP_UM)) / MPP_UM
        image = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    width, height = (round(side * factor) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def synthetic_image(
    height_px: int = 6000, width_px: int = 8000, *, seed: int = 0
) -> NDArray[np.uint8]:
    """H&E of the project's generator, enlarged from 0.5 um to `MPP_UM`; uint8 (H, W, 3)."""
    from tiling.synthetic.section_plan import plan_section
    from tiling.synthetic.slide_image import draw_slide

    plan_rng, image_rng = np.random.default_rng(seed).spawn(2)
    drawn_px = (height_px // 2, width_px // 2)  # 0.5 um; the plan has 1 um
    plan = plan_section((height_px // 4, width_px // 4), plan_rng, tissue_share=0.9)
    image = Image.fromarray(draw_slide(plan, drawn_px, image_rng, pen=False, folds=[]))
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BICUBIC))


def write_slide(path: Path, image: NDArray[np.uint8], area_mm2: float) -> tuple[int, int]:
    """Write a slide of about this area; returns its height and width in px.

    Parameters
    ----------
    image : uint8 (H, W, 3), at `MPP_UM`
    """
    multiple = TILE_PX * LEVEL_FACTORS[-1] // 2
    missing = [(0, max(multiple - side, 0)) for side in image.shape[:2]]
    image = np.pad(image, [*missing, (0, 0)], mode="symmetric")
    height, width = (side // multiple * multiple for side in image.shape[:2])
    image = image[:height, :width]
    half = np.concatenate([image, image[::-1]])
    period = np.concatenate([half, half[:, ::-1]], axis=1)
    side_px = (area_mm2 * 1e6) ** 0.5 / MPP_UM
    repeats = [max(1, round(side_px / side)) for side in period.shape[:2]]
    with path.open("wb") as file, ThreadPoolExecutor() as pool:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))  # BigTIFF; directory at byte 16
        for factor in LEVEL_FACTORS:
            level = area_average(period, (factor, factor)) if factor > 1 else period
            corners = itertools.product(
                range(0, level.shape[0], TILE_PX), range(0, level.shape[1], TILE_PX)
            )
            encoded = list(pool.map(lambda corner, level=level: _encoded(level, *corner), corners))
            _write_level(file, level.shape[:2], repeats, encoded, factor)
    return repeats[0] * period.shape[0], repeats[1] * period.shape[1]


def _encoded(level: NDArray[np.uint8], top: int, left: int) -> bytes:
    tile = Image.fromarray(level[top : top + TILE_PX, left : left + TILE_PX])
    text = io.BytesIO()
    tile.save(text, "jpeg", quality=_JPEG_QUALITY, subsampling="4:2:0")
    return text.getvalue()


def _write_level(
    file: io.BufferedWriter,
    level_px: tuple[int, ...],
    repeats: list[int],
    encoded: list[bytes],
    factor: int,
) -> None:
    """Write directory, index and tiles of a level; the last level ends the chain."""
    grid = (level_px[0] // TILE_PX, level_px[1] // TILE_PX)
    lengths = np.array([len(data) for data in encoded], np.uint64)
    first = np.cumsum(lengths) - lengths
    per_cm = round(1e4 / (MPP_UM * factor))
    tags = {
        254: _Tag(_LONG, [int(factor > 1)]),  # whether it is a smaller copy of the first image
        256: _Tag(_LONG, [repeats[1] * level_px[1]]),
        257: _Tag(_LONG, [repeats[0] * level_px[0]]),
        258: _Tag(_SHORT, [8, 8, 8]),
        259: _Tag(_SHORT, [7]),  # JPEG
        262: _Tag(_SHORT, [6]),  # YCbCr
        277: _Tag(_SHORT, [3]),
        282: _Tag(_RATIONAL, [per_cm, 1]),
        283: _Tag(_RATIONAL, [per_cm, 1]),
        284: _Tag(_SHORT, [1]),
        296: _Tag(_SHORT, [3]),  # centimetres
        322: _Tag(_LONG, [TILE_PX]),
        323: _Tag(_LONG, [TILE_PX]),
        _TILE_OFFSETS: _Tag(_LONG8, np.tile(first.reshape(grid), repeats).ravel()),
        _TILE_BYTE_COUNTS: _Tag(_LONG, np.tile(lengths.reshape(grid), repeats).ravel()),
        530: _Tag(_SHORT, [2, 2]),
    }
    start = file.tell()
    data_start = start + len(_directory(tags, start, 0))
    tags[_TILE_OFFSETS] = _Tag(_LONG8, np.asarray(tags[_TILE_OFFSETS].values) + data_start)
    data_end = data_start + int(lengths.sum())
    padding = -data_end % 8
    following = 0 if factor == LEVEL_FACTORS[-1] else data_end + padding
    file.write(_directory(tags, start, following))
    for data in encoded:
        file.write(data)
    file.write(bytes(padding))


def _directory(tags: dict[int, _Tag], start: int, following: int) -> bytes:
    """A directory of BigTIFF at byte `start`, with the values that do not fit into its entries."""
    entries, outside = struct.pack("<Q", len(tags)), b""
    outside_start = start + 8 + 20 * len(tags) + 8
    for number, (kind, values) in sorted(tags.items()):
        data = np.asarray(values).astype(_DTYPES[kind]).tobytes()
        count = len(values) // (2 if kind == _RATIONAL else 1)
        entries += struct.pack("<HHQ", number, kind, count)
        if len(data) <= 8:
            entries += data.ljust(8, b"\0")
        else:
            entries += struct.pack("<Q", outside_start + len(outside))
            outside += data + bytes(-len(data) % 8)
    return entries + struct.pack("<Q", following) + outside
