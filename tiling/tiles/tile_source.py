"""Stored tiles as a map-style source of training and prediction, and the windows it is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiling.raster.tile import Tile
from tiling.stores.arrays import open_array, open_store, read_table
from tiling.stores.attributes import geometry_of
from tiling.stores.chunk_cache import CachedChunks
from tiling.stores.layout import LabelStore, TileStore
from tiling.stores.ome_pyramid import WHITE

_MIN_ANNOTATED = 0.1
Windows = NDArray[np.int64]  # (N, 4): y, x, height, width in stored pixels


class StoredTiles:
    """Windows of one slide's stores; picklable, opens the stores on first use (inside the worker).

    Parameters
    ----------
    tiles : tile store
    windows_px : int64 (N, 4), y, x, height, width in stored pixels; may overhang the slide
    labels : label store of the same slide, or None
    pseudo : pseudo-label store, or None
    pseudo_rows : int64 (N,), row of that store for each window; by default row i belongs to window i
    tissue : give each tile its `inside` as well
    cache_bytes : of decoded chunks of the image that are kept, for windows in an order that comes back to them; 0: none
    """

    def __init__(
        self,
        tiles: Path,
        windows_px: NDArray[np.int64],
        *,
        labels: Path | None = None,
        pseudo: Path | None = None,
        pseudo_rows: NDArray[np.int64] | None = None,
        tissue: bool = False,
        cache_bytes: int = 0,
    ) -> None:
        self.tiles, self.labels, self.pseudo = tiles, labels, pseudo
        self.windows_px = np.asarray(windows_px, np.int64).reshape(-1, 4)
        self._pseudo_rows = (
            np.arange(len(self.windows_px))
            if pseudo_rows is None
            else np.asarray(pseudo_rows, np.int64)
        )
        if len(self._pseudo_rows) != len(self.windows_px):
            raise ValueError(
                f"{len(self._pseudo_rows)} pseudo-label rows for {len(self.windows_px)} windows: give one per window"
            )
        self._tissue: Tissue | None = None
        self._wants_tissue = tissue
        self._cache_bytes = cache_bytes
        self._arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.windows_px)

    def __getitem__(self, index: int) -> Tile:
        window = self.windows_px[index]
        image = read_window(self._array("0", self.tiles), window, fill=WHITE)
        labels = weight = pseudo = None
        if self.labels is not None:
            labels = read_window(self._array("labels", self.labels), window, fill=0)
            weight = read_window(self._array("weight", self.labels), window, fill=0)
        if self.pseudo is not None:
            pseudo = np.asarray(self._array("pseudo", self.pseudo)[int(self._pseudo_rows[index])])
        inside = None
        if self._wants_tissue:
            self._tissue = self._tissue or Tissue(self.tiles)
            inside = self._tissue.read(window).astype(np.uint8)
        return Tile(image, labels, weight, pseudo, inside)

    def _array(self, name: str, store: Path) -> Any:  # noqa: ANN401  # zarr.Array, whose type parameter says nothing here
        if name not in self._arrays:
            geometry_of(store)  # raises the recorded error of a failed slide
            array = open_array(open_store(store), name)
            cached = name == "0" and self._cache_bytes
            self._arrays[name] = (
                CachedChunks(array, most_bytes=self._cache_bytes) if cached else array
            )
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}, "_tissue": None}


class Tissue:
    """Where a slide has tissue, and glass beside it if asked for: farther off predictions mean nothing, for nobody outlines glass.

    Parameters
    ----------
    margin_um : glass this near to tissue counts too, unless there is ink of a pen
    """

    def __init__(self, tiles: Path, *, margin_um: float = 0.0) -> None:
        attributes, store = TileStore.read(tiles), open_store(tiles)
        self._stride_px = attributes.tissue_stride_px
        self._mask = np.asarray(open_array(store, "tissue")[...]) > 0
        self._pen, self._margin = None, 0.0  # the margin in pixels of the mask
        if margin_um:
            self._pen = np.asarray(open_array(store, "pen")[...]) > 0
            self._margin = margin_um / (attributes.geometry.mpp * self._stride_px)

    def read(self, window: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tissue in a (y, x, height, width) window of stored pixels, bool (height, width); False outside the slide."""
        y, x, height, width = (int(value) for value in window)
        rows, columns = (
            np.arange(start, start + size) // self._stride_px
            for start, size in ((y, height), (x, width))
        )
        top, left = int(rows[0]), int(columns[0])
        here = self._coarse((top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left))
        return np.asarray(here[rows - top][:, columns - left])

    def _coarse(self, window: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        """The same in pixels of the mask."""
        if self._pen is None:
            return read_window(self._mask, window, fill=False)
        y, x, height, width = window
        far = int(np.ceil(self._margin))
        around = read_window(
            self._mask, (y - far, x - far, height + 2 * far, width + 2 * far), fill=False
        )
        near = (
            np.asarray(ndimage.distance_transform_edt(~around)) <= self._margin
            if around.any()
            else around
        )
        tissue, beside = (plane[far : far + height, far : far + width] for plane in (around, near))
        return np.asarray(tissue | (beside & ~read_window(self._pen, window, fill=True)))


class JoinedTiles:
    """Several sources one after another."""

    def __init__(self, sources: Sequence[StoredTiles]) -> None:
        self.sources = list(sources)
        self._ends = np.cumsum([len(source) for source in self.sources], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Tile:
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        index %= len(self)
        source = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[source][index - (int(self._ends[source - 1]) if source else 0)]


def read_window(
    array: Any,  # noqa: ANN401
    window: Sequence[int] | NDArray[np.int64],
    *,
    fill: int,
) -> NDArray[Any]:  # zarr or numpy array
    """A (y, x, height, width) window of the last two axes, padded with `fill` where it leaves the array.

    >>> read_window(np.ones((2, 2), np.uint8), (1, -1, 2, 2), fill=7).tolist()
    [[7, 1], [7, 7]]
    """
    y, x, height, width = (int(value) for value in window)
    rows, columns = array.shape[-2:]
    top, left = min(max(y, 0), rows), min(max(x, 0), columns)
    bottom, right = max(min(y + height, rows), top), max(min(x + width, columns), left)
    if (top, left, bottom, right) == (y, x, y + height, x + width):
        return np.asarray(array[..., top:bottom, left:right])
    out = np.full((*array.shape[:-2], height, width), fill, array.dtype)
    if bottom > top and right > left:
        out[..., top - y : bottom - y, left - x : right - x] = array[..., top:bottom, left:right]
    return out


def tile_windows(tiles: Path) -> Windows:
    """Windows of the tiles in use (status 0), int64 (N, 4), in the order of the tile table.

    Raises
    ------
    SlideError
        The slide failed: its recorded error.
    """
    side = TileStore.read(tiles).tile_px
    table = read_table(tiles, "tiles", ("origin_yx_px", "status"))
    origins = table["origin_yx_px"][table["status"] == 0]
    return np.concatenate([origins, np.full_like(origins, side)], axis=1)


def sample_windows(tiles: Path, *, count: int, read_px: int, seed: int) -> Windows:
    """At most `count` tiles in use, drawn without replacement, as windows of `read_px` around their centres: int64 (n, 4), in table order.

    Parameters
    ----------
    tiles : tile store
    count : most windows
    read_px : side of the windows (a tile and the margin that augmentation needs)
    seed : of the draw; the slide's own fingerprint is mixed in, so that slides of one size do not give the same places
    """
    windows = tile_windows(tiles)
    mark = int(TileStore.read(tiles).fingerprint[:8], 16)
    chosen = np.random.default_rng([seed, mark]).permutation(len(windows))[:count]
    kept = windows[np.sort(chosen)]
    centre = kept[:, :2] + kept[:, 2:] // 2
    return np.concatenate([centre - read_px // 2, np.full_like(centre, read_px)], axis=1)


def region_windows(labels: Path, *, read_px: int, stride_px: int) -> Windows:
    """Windows for training at a dense stride around every region, int64 (N, 4), in raster order without repeats.

    A window counts when at least 10 % of its middle (half its side) is annotated, or, for a region smaller than that,
    when the middle holds at least half of what any window can hold of it.

    Parameters
    ----------
    labels : label store
    read_px : side of the windows
    stride_px : step of the windows' origins

    Raises
    ------
    SlideError
        The slide or its annotation failed: the recorded error.
    """
    found: set[tuple[int, int]] = set()
    weight = _weight(labels)
    for window in _regions(labels):
        found.update(_windows_of(weight, window, read_px, stride_px))
    origins = np.array(sorted(found), np.int64).reshape(-1, 2)
    return np.concatenate([origins, np.full_like(origins, read_px)], axis=1)


def _windows_of(
    weight: Any,  # noqa: ANN401
    window: Sequence[int],
    read_px: int,
    stride_px: int,
) -> list[tuple[int, int]]:  # zarr array
    """Origins (y, x) of the windows that serve one region, on a grid of multiples of the stride shifted to the region's centre."""
    core = max(read_px // 2, 1)
    margin = (read_px - core) // 2
    y, x, height, width = (int(value) for value in window)
    # Origins of the windows' middles: centred on the region, then outwards until a middle no longer touches it.
    axes = [_middles(start, size, core, stride_px) for start, size in ((y, height), (x, width))]
    left, reach = int(axes[1][0]), int(axes[1][-1] - axes[1][0]) + core
    columns = axes[1] - left
    held = np.zeros((len(axes[0]), len(columns)), np.int64)
    for row, top in enumerate(
        axes[0]
    ):  # one band at a time: a slide annotated as a whole does not fit in memory
        band = read_window(weight, (int(top), left, core, reach), fill=0) > 0
        sums = np.concatenate([[0], band.sum(axis=0, dtype=np.int64).cumsum()])
        held[row] = sums[columns + core] - sums[columns]
    enough = (held > 0) & (held >= min(_MIN_ANNOTATED * core * core, held.max() / 2))
    return [(int(axes[0][i]) - margin, int(axes[1][j]) - margin) for i, j in np.argwhere(enough)]


def _middles(start: int, size: int, core: int, stride: int) -> NDArray[np.int64]:
    centred = start + (size - core) // 2
    before = (centred - (start - core)) // stride
    return centred + np.arange(-before, before + 1, dtype=np.int64) * stride


def region_pieces(labels: Path, *, max_px: int, multiple: int = 16) -> Windows:
    """Windows that cover each region's bounding window once, cut into near-equal pieces: int64 (N, 4), y, x, height, width.

    Parameters
    ----------
    labels : label store
    max_px : longest side of a piece
    multiple : sides are rounded up to multiples of this (the network halves its input four times); the overhang lies at the far
        edge of the region, where it may reach over a neighbour: count pixels by `region`, or take regions apart
    """
    pieces: list[tuple[int, int, int, int]] = []
    for y, x, height, width in _regions(labels):
        for top, h in _cut(int(height), max_px, multiple):
            pieces.extend(
                (int(y) + top, int(x) + left, h, w)
                for left, w in _cut(int(width), max_px, multiple)
            )
    return np.array(pieces, np.int64).reshape(-1, 4)


def _cut(size: int, max_px: int, multiple: int) -> list[tuple[int, int]]:
    """(start, length) of pieces that cover [0, size), each a multiple long and at most max_px.

    >>> _cut(100, 64, 16), _cut(10, 64, 16)
    ([(0, 64), (64, 48)], [(0, 16)])
    """
    most = max_px // multiple * multiple
    if most < 1:
        raise ValueError(
            f"max_px {max_px} is less than {multiple}, which every side must be a multiple of"
        )
    count = -(-size // most)
    side = -(-size // (count * multiple)) * multiple
    return [
        (start, min(side, -(-(size - start) // multiple) * multiple))
        for start in range(0, size, side)
    ]


def _regions(labels: Path) -> list[Sequence[int]]:
    return [region.window for region in LabelStore.read(labels).regions]


def _weight(labels: Path) -> Any:  # noqa: ANN401  # zarr array
    return open_array(open_store(labels), "weight")
