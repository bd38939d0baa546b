"""The OME-Zarr pyramid (NGFF 0.5, axes c, y, x) of a tile store: its levels by exact 2 x 2 averages, and its metadata."""

from typing import Any

import numpy as np
import PIL.Image
import zarr
from numpy.typing import NDArray

from tiling.geometry import Geometry, blocks
from tiling.parallel import for_each
from tiling.store.arrays import SHARD_PX, create_array, open_array
from tiling.store.atomic import Partial

_LEAST_PX = 512
WHITE = 255


def level_shapes(height_px: int, width_px: int) -> list[tuple[int, int]]:
    """(height, width) of each pyramid level: halved, rounded up, until the longer side is at most 512 px.

    >>> level_shapes(3000, 1025)
    [(3000, 1025), (1500, 513), (750, 257), (375, 129)]
    """
    shapes = [(height_px, width_px)]
    while max(shapes[-1]) > _LEAST_PX:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def halved(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2 x 2 pixels rounded half up, uint8 (3, h, w) -> (3, ceil(h / 2), ceil(w / 2)); at an odd edge of the pixels there are."""
    return np.stack([np.asarray(PIL.Image.fromarray(channel).reduce(2)) for channel in rgb])


def write_pyramid(
    group: zarr.Group, partial: Partial, touched: NDArray[np.bool_], *, chunk_px: tuple[int, int], workers: int, progress: bool
) -> int:
    """Write levels 1, 2, ... below a finished level 0.

    Parameters
    ----------
    group : store under construction, with array `0`
    partial : its journal
    touched : bool (chunk rows, chunk columns): chunks of level 0 that were written; what lies over none of them stays absent
    chunk_px : (y, x) sides of those chunks in level-0 pixels
    workers, progress : see `for_each`

    Returns
    -------
    Number of levels, level 0 included.
    """
    shapes = level_shapes(*open_array(group, "0").shape[-2:])
    for level, (height, width) in enumerate(shapes[1:], start=1):
        source = open_array(group, str(level - 1))
        target = create_array(group, str(level), (3, height, width), np.uint8, fill=WHITE)
        scale = 2**level

        def is_touched(block: tuple[slice, slice], scale: int = scale) -> bool:
            rows, columns = (
                slice(side.start * scale // chunk, -(-side.stop * scale // chunk)) for side, chunk in zip(block, chunk_px, strict=True)
            )
            return bool(touched[rows, columns].any())

        def reduce(
            block: tuple[slice, slice], source: zarr.Array[Any] = source, target: zarr.Array[Any] = target, level: int = level
        ) -> None:
            rows, columns = block
            target[:, rows, columns] = halved(np.asarray(source[:, 2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop]))
            partial.done(_key(level, block))

        todo = [block for block in blocks(height, width, SHARD_PX) if is_touched(block) and not partial.is_done(_key(level, block))]
        for_each(reduce, todo, workers=workers, what=f"pyramid level {level}", progress=progress)
    return len(shapes)


def _key(level: int, block: tuple[slice, slice]) -> str:
    return f"{level}/{block[0].start}/{block[1].start}"


def ome_attributes(name: str, geometry: Geometry, levels: int) -> dict[str, Any]:
    """The `ome` attribute of a store (NGFF 0.5): scales in micrometres, origin at the centre of the first level-0 pixel.

    An NGFF coordinate is a pixel's centre: the first pixel of level k, 2^k pixels wide, lies (2^k - 1) / 2 of them further in.
    """
    datasets = []
    for level in range(levels):
        factor = 2**level
        shift = (factor - 1) / 2
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0, geometry.mpp_y * factor, geometry.mpp_x * factor]}]
        if level:
            transforms.append({"type": "translation", "translation": [0.0, geometry.mpp_y * shift, geometry.mpp_x * shift]})
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx")]
    multiscale = {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}
    return {"version": "0.5", "multiscales": [multiscale], "omero": {"channels": _channels(), "rdefs": {"model": "color"}}}


def _channels() -> list[dict[str, Any]]:
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    colours = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    return [{"label": label, "color": colour, "active": True, "window": window} for label, colour in colours]
