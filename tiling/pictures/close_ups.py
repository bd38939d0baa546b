"""Close-ups of glands: which glands are shown, and the picture of one with its outlines."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tiling.pictures.canvas import (
    OUTLINE_COLOUR,
    Thumbnail,
    colour_mask,
    enlarged,
    rgb_image,
    with_scale_bar,
)
from tiling.raster.edges import inner_edges
from tiling.raster.geometry import Geometry, Window

_MARGIN = 1.15  # side of the picture, in lengths of a large gland
_SMALL_GLAND_MARGIN = 2  # the same for a small gland
_MAX_ENLARGEMENT = 4
_SHOWN_EDGE_PX = 5  # thickness of the outline of the object that is shown; of others it is two
_MAX_SIDE_PX = 4096  # only the middle of a larger gland is shown
_MIN_AREA_OF_MEDIAN = 0.25
Reason = Literal["largest", "least certain", "touching"]
# See `choose_close_ups`.
Suits = Callable[[int, Sequence[int], bool], bool]
_MIN_TISSUE = 0.6
_MOST_OVERLAP = 0.2


class ChosenObject(NamedTuple):
    """An object that is shown.

    Attributes
    ----------
    reason : why
    row : of the object
    is_first : no other object that may be shown for this reason is larger, less certain, or touches
        others more
    """

    reason: Reason
    row: int
    is_first: bool

    @property
    def reason_text(self) -> str:
        """The reason for the caption: only one object is the largest, or the least certain one.

        >>> ChosenObject("largest", 3, True).reason_text
        'largest'
        >>> ChosenObject("largest", 4, False).reason_text
        'among the largest'
        >>> ChosenObject("touching", 5, False).reason_text
        'touching'
        """
        if self.is_first or self.reason == "touching":
            return self.reason
        return f"among the {self.reason}"


class CloseUp(NamedTuple):
    """A picture of one gland and its surroundings.

    Attributes
    ----------
    image : with scale bar
    window_px : what is shown, stored pixels
    """

    image: Image.Image
    window_px: Window


def choose_close_ups(
    area_px: NDArray[np.int64],
    disagreement: NDArray[np.float64],
    contact_px: NDArray[np.int64],
    count: int,
    suits: Suits = lambda row, chosen, any_tissue: True,
) -> list[ChosenObject]:
    """Objects that are shown, each once.

    The reasons alternate. An object smaller than a quarter of the median area is never shown as
    the least certain one: such fragments would fill every picture.

    Parameters
    ----------
    area_px, disagreement, contact_px : of each object; contact with other objects
    count : number of objects
    suits : whether the picture of an object, by its row, is worth showing beside those of the
        chosen rows; with `any_tissue`, it may show mostly glass (if there are not enough others)

    >>> area = np.array([100, 900, 110, 5])
    >>> chosen = choose_close_ups(area, np.array([3.0, 1, 9, 200]), np.array([7, 0, 2, 0]), 3)
    >>> [(one.reason, one.row) for one in chosen]
    [('largest', 1), ('least certain', 2), ('touching', 0)]
    """
    if not len(area_px):
        return []
    is_large_enough = area_px >= np.median(area_px) * _MIN_AREA_OF_MEDIAN
    by_disagreement = np.argsort(-disagreement, kind="stable").tolist()
    by_contact = np.argsort(-contact_px, kind="stable").tolist()
    candidates: dict[Reason, list[int]] = {
        "largest": np.argsort(-area_px, kind="stable").tolist(),
        "least certain": [row for row in by_disagreement if is_large_enough[row]],
        "touching": [row for row in by_contact if contact_px[row]],
    }
    chosen: dict[int, ChosenObject] = {}
    for any_tissue in (False, True):
        while len(chosen) < min(count, len(area_px)):
            count_before = len(chosen)
            for reason, rows in candidates.items():
                new = (row for row in rows if row not in chosen)
                row = next((row for row in new if suits(row, list(chosen), any_tissue)), None)
                if row is not None and len(chosen) < count:
                    chosen[row] = ChosenObject(reason, row, row == rows[0])
            if len(chosen) == count_before:
                break
    return list(chosen.values())


class CloseUpPlaces:
    """Where close-ups of the objects of a slide would be, and what they would show.

    Parameters
    ----------
    windows_px : int64 (n, 4), y, x, height, width of each object
    tissue : bool, on any coarser grid over the slide
    geometry : of the slide
    panel_px : side of a close-up
    """

    def __init__(
        self,
        windows_px: NDArray[np.int64],
        tissue: NDArray[np.bool_],
        geometry: Geometry,
        panel_px: int,
    ) -> None:
        self._windows_px, self._tissue = windows_px, tissue
        self._geometry, self._panel_px = geometry, panel_px

    def suits(self, row: int, chosen: Sequence[int], any_tissue: bool) -> bool:
        """Whether a close-up shows enough tissue, and another place than the chosen ones."""
        window = self._window(row)
        if not any_tissue and self._tissue_share(window) < _MIN_TISSUE:
            return False
        return all(_overlap(window, self._window(other)) <= _MOST_OVERLAP for other in chosen)

    def _window(self, row: int) -> Window:
        gland = Window(*self._windows_px[row].tolist())
        return _window_around(gland, self._geometry, self._panel_px)

    def _tissue_share(self, window: Window) -> float:
        rows, columns = (
            slice(start * cells // side, max(-(-stop * cells // side), 1))
            for start, stop, cells, side in (
                (window.y, window.bottom, self._tissue.shape[0], self._geometry.height_px),
                (window.x, window.right, self._tissue.shape[1], self._geometry.width_px),
            )
        )
        return float(self._tissue[rows, columns].mean())


def _overlap(a: Window, b: Window) -> float:
    """Common area of two windows, as a share of the smaller one."""
    height = min(a.bottom, b.bottom) - max(a.y, b.y)
    width = min(a.right, b.right) - max(a.x, b.x)
    smaller = min(a.height * a.width, b.height * b.width)
    return max(height, 0) * max(width, 0) / smaller


def draw_close_up(
    pixels: zarr.Array[Any],
    labels: zarr.Array[Any],
    window_px: NDArray[np.int64],
    thumbnail: Thumbnail,
    panel_px: int,
    *,
    label: int,
) -> CloseUp:
    """One object and its surroundings with all outlines; its own outline is the thickest.

    A stored pixel is one pixel of the picture, several for a small object, and less than one for a
    large object.

    Parameters
    ----------
    pixels, labels : uint8 (3, y, x), int32 (y, x)
    window_px : y, x, height, width of the object
    thumbnail : of the slide; shown where no pixels are stored
    panel_px : side of the picture
    label : of the object
    """
    geometry = thumbnail.geometry
    window = _window_around(Window(*window_px.tolist()), geometry, panel_px)
    rows, columns = window.slices
    image = rgb_image(np.asarray(pixels[:, rows, columns]))
    image = thumbnail.fill_missing(image, window)
    window_labels = np.asarray(labels[rows, columns])
    if max(image.size) > panel_px:
        factor = panel_px / max(image.size)
        size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
        image = image.resize(size, Image.Resampling.BOX)
    else:
        image = enlarged(image, panel_px)
    # Outlines are drawn on the pixels of the picture, so that all outlines are equally thick.
    rows_of_image, columns_of_image = (
        ((np.arange(count) + 0.5) * side / count).astype(int)
        for count, side in zip(image.size[::-1], window_labels.shape, strict=True)
    )
    labels_of_image = window_labels[np.ix_(rows_of_image, columns_of_image)]
    shown = labels_of_image == label
    # Beyond the picture the object may go on: its border is no edge.
    inner = ndimage.binary_erosion(shown, iterations=_SHOWN_EDGE_PX, border_value=1)
    edges = _thick_edges(labels_of_image) | (shown & ~inner)
    image = colour_mask(image, edges, OUTLINE_COLOUR)
    um_per_pixel = geometry.mpp_x * window.width / image.width
    return CloseUp(with_scale_bar(image, um_per_pixel), window)


def _window_around(gland: Window, geometry: Geometry, panel_px: int) -> Window:
    """The part of the slide that a close-up of a gland shows."""
    longest_px = max(gland.height, gland.width)
    times = min(max(panel_px // (_SMALL_GLAND_MARGIN * longest_px), 1), _MAX_ENLARGEMENT)
    side = max(panel_px // times, min(int(_MARGIN * longest_px), _MAX_SIDE_PX))
    top = max(min(gland.y + gland.height // 2 - side // 2, geometry.height_px - side), 0)
    left = max(min(gland.x + gland.width // 2 - side // 2, geometry.width_px - side), 0)
    height = min(side, geometry.height_px - top)
    width = min(side, geometry.width_px - left)
    return Window(top, left, height, width)


def _thick_edges(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Outlines two pixels thick that stay inside their objects.

    The outlines of objects that touch each other do not overlap.
    """
    edges = inner_edges(labels)
    return np.asarray(edges | (ndimage.binary_dilation(edges) & (labels != 0)))
