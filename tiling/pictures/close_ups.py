"""Close-ups: which glands deserve one, and the picture of one with its outlines."""

from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.pictures.canvas import GLAND, inner_edges, magnified, tint, with_scale_bar
from tiling.raster.geometry import Geometry

_ROOM = 1.15
_SURROUNDINGS = 2  # of a small gland this many times its size is shown
_MOST_TIMES = 4
_WIDEST_PX = 4096  # of a gland as large as a slide its middle is shown


class CloseUp(NamedTuple):
    """A picture of one gland and its surroundings.

    Attributes
    ----------
    image : with scale bar
    window_px : y, x, height, width shown, stored pixels
    """

    image: Image.Image
    window_px: tuple[int, int, int, int]


def choose_close_ups(
    area_px: NDArray[np.int64],
    disagreement: NDArray[np.float64],
    contact_px: NDArray[np.int64],
    count: int,
) -> list[tuple[str, int]]:
    """Captions and rows of the objects worth a close look, each object once.

    Fragments below a quarter of the median area are never the least certain one: they would fill every picture.

    >>> choose_close_ups(np.array([100, 900, 110, 5]), np.array([3.0, 1, 9, 200]), np.array([7, 0, 2, 0]), 3)
    [('largest', 1), ('least certain', 2), ('touching', 0)]
    """
    if not len(area_px):
        return []
    fair = area_px >= np.median(area_px) / 4
    orders = {
        "largest": [int(i) for i in np.argsort(-area_px, kind="stable")],
        "least certain": [int(i) for i in np.argsort(-disagreement, kind="stable") if fair[i]],
        "touching": [int(i) for i in np.argsort(-contact_px, kind="stable") if contact_px[i]],
    }
    chosen: dict[int, str] = {}
    while len(chosen) < min(count, len(area_px)):
        before = len(chosen)
        for caption, order in orders.items():
            row = next((i for i in order if i not in chosen), None)
            if row is not None and len(chosen) < count:
                chosen[row] = caption
        if len(chosen) == before:
            break
    return [(caption, row) for row, caption in chosen.items()]


def close_up(
    pixels: zarr.Array[Any],
    labels: zarr.Array[Any],
    window_px: NDArray[np.int64],
    geometry: Geometry,
    panel_px: int,
) -> CloseUp:
    """One object and its surroundings with all outlines: a stored pixel per pixel, several for a small object, fewer for a large one.

    Parameters
    ----------
    pixels, labels : uint8 (3, y, x), int32 (y, x)
    window_px : y, x, h, w of the object
    panel_px : side of the picture
    """
    y, x, h, w = window_px.tolist()
    longest = max(h, w)
    times = min(max(panel_px // (_SURROUNDINGS * longest), 1), _MOST_TIMES)
    side = max(panel_px // times, min(int(_ROOM * longest), _WIDEST_PX))
    top = max(min(y + h // 2 - side // 2, geometry.height_px - side), 0)
    left = max(min(x + w // 2 - side // 2, geometry.width_px - side), 0)
    place = (
        slice(top, min(top + side, geometry.height_px)),
        slice(left, min(left + side, geometry.width_px)),
    )
    image = Image.fromarray(
        np.ascontiguousarray(np.moveaxis(np.asarray(pixels[:, place[0], place[1]]), 0, -1))
    )
    shown = np.asarray(labels[place])
    window = (top, left, *shown.shape)
    if max(image.size) > panel_px:
        factor = panel_px / max(image.size)
        image = image.resize(
            (max(round(image.width * factor), 1), max(round(image.height * factor), 1)),
            Image.Resampling.BOX,
        )
    else:
        image = magnified(image, panel_px)
    # Outlines are drawn on the picture's own pixels: as thin on a large gland as on a small one.
    rows, columns = (
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(image.size[::-1], shown.shape, strict=True)
    )
    image = tint(image, _two_px(shown[np.ix_(rows, columns)]), GLAND)
    return CloseUp(with_scale_bar(image, geometry.mpp_x * window[3] / image.width), window)


def _two_px(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Outlines two pixels wide that stay inside their objects, so that touching ones can be told apart."""
    edges = inner_edges(labels)
    return np.asarray(edges | (ndimage.binary_dilation(edges) & (labels != 0)))
