"""Stored tiles as a map-style source for training and prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiling.raster.tile import Tile
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of
from tiling.stores.chunk_cache import CachedChunks
from tiling.stores.ome_pyramid import WHITE
from tiling.stores.window_reading import read_window
from tiling.tiles.tissue_store import StoredTissue
from tiling.tiles.training_windows import RegionParts


class StoredTiles:
    """Windows of one slide's stores.

    It opens its stores at the first use.

    Parameters
    ----------
    tiles : tile store
    windows_px : int64 (N, 4), y, x, height, width in stored pixels; they may overhang the slide
    labels : label store of the same slide, or None
    pseudo : pseudo-label store, or None
    pseudo_rows : int64 (N,), row of that store for each window; by default row i for window i
    tissue : whether each tile gets its `inside`
    cache_bytes : bytes of decoded chunks of the image that are kept, which is useful when windows
        that follow each other share chunks; 0: none

    Raises
    ------
    ValueError
        There is not one pseudo-label row for each window.
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
        rows = np.arange(len(self.windows_px)) if pseudo_rows is None else pseudo_rows
        self._pseudo_rows = np.asarray(rows, np.int64)
        if len(self._pseudo_rows) != len(self.windows_px):
            raise ValueError(
                f"{len(self._pseudo_rows)} pseudo-label rows for {len(self.windows_px)} windows: "
                "give one per window"
            )
        self._with_tissue = tissue
        self._tissue: StoredTissue | None = None
        self._cache_bytes = cache_bytes
        self._arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.windows_px)

    def __getitem__(self, index: int) -> Tile:
        window = self.windows_px[index]
        image = read_window(self._array("0", self.tiles), window, fill=WHITE)
        labels = weight = pseudo = inside = None
        if self.labels is not None:
            labels = read_window(self._array("labels", self.labels), window, fill=0)
            weight = read_window(self._array("weight", self.labels), window, fill=0)
        if self.pseudo is not None:
            pseudo = np.asarray(self._array("pseudo", self.pseudo)[int(self._pseudo_rows[index])])
        if self._with_tissue:
            self._tissue = self._tissue or StoredTissue(self.tiles)
            inside = self._tissue.read(window).astype(np.uint8)
        return Tile(image, labels, weight, pseudo, inside)

    def _array(self, name: str, store: Path) -> Any:  # noqa: ANN401  # a Zarr array or CachedChunks
        if name not in self._arrays:
            geometry_of(store)  # raises the recorded error of a failed slide
            array = open_array(open_store(store), name)
            cached = name == "0" and self._cache_bytes
            self._arrays[name] = (
                CachedChunks(array, max_bytes=self._cache_bytes) if cached else array
            )
        return self._arrays[name]


class RegionTiles(StoredTiles):
    """Parts of annotated regions with their surroundings, for validation.

    On a slide the network sees what is around a region, so it must see it here. Only the pixels of
    the part that belong to its region count.

    Parameters
    ----------
    tiles, labels : stores of one slide
    parts : of its regions
    margin_px : width of the surroundings on each side
    """

    def __init__(self, tiles: Path, parts: RegionParts, *, labels: Path, margin_px: int) -> None:
        margin = np.array([-margin_px, -margin_px, 2 * margin_px, 2 * margin_px])
        super().__init__(tiles, parts.windows_px + margin, labels=labels)
        self._label_store, self._regions, self._margin_px = labels, parts.regions, margin_px

    def __getitem__(self, index: int) -> Tile:
        tile = super().__getitem__(index)
        assert tile.weight is not None  # there are labels
        numbers = self._array("region", self._label_store)
        region = read_window(numbers, self.windows_px[index], fill=0)
        weight = np.zeros_like(tile.weight)
        height, width = (side - self._margin_px for side in weight.shape)
        part = np.s_[self._margin_px : height, self._margin_px : width]
        weight[part] = (tile.weight * (region == self._regions[index]))[part]
        return tile._replace(weight=weight)


class JoinedTiles:
    """Several sources as one: first all tiles of the first source, then those of the second, ..."""

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
        before = int(self._ends[source - 1]) if source else 0
        return self.sources[source][index - before]
