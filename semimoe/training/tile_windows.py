"""Windows of tiles as they are read, and a source that decodes each tile once.

B batch, S side of the windows.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semimoe.model_errors import DataError
from semimoe.objectives.skeleton_distance import skeleton_distance
from semimoe.settings import Augmentation
from semimoe.training.recipe import Role, TileSource
from semimoe.training.tile_geometry import Crop, random_crop, window_px
from semimoe.training.tile_schedule import ScheduledBatch
from tiling.raster.tile import Tile

# Memory for compressed skeletons, as a share of that for tiles: 1 in this number.
_SKELETON_SHARE = 8


class TileWindows(NamedTuple):
    """Windows of B tiles that hold the crops of their training tiles.

    Pixels of a window outside its tile are 0 in all arrays.

    Attributes
    ----------
    image : uint8 (B, 3, S, S)
    labels : int32 (B, S, S), 0 without labels
    weight : uint8 (B, S, S), 1 on annotated pixels
    inside : uint8 (B, S, S), 1 on tissue
    pseudo : uint8 (B, 3, S, S), as in `Tile`; None: no tile has pseudo-labels
    skeleton : uint8 (B, S, S), as in `Tile`; None: no tile has it
    size : float32 (B, 2), height and width of the part that holds pixels, at the upper left
    corner : float32 (B, 2), y and x of the crop in the window; it may overhang a small tile
    side : float32 (B,), side of the crop
    has_labels : bool (B,)
    """

    image: Tensor
    labels: Tensor
    weight: Tensor
    inside: Tensor
    pseudo: Tensor | None
    skeleton: Tensor | None
    size: Tensor
    corner: Tensor
    side: Tensor
    has_labels: Tensor

    def to(self, device: torch.device) -> "TileWindows":
        """Copy on a device."""
        present = {name: part for name, part in self._asdict().items() if part is not None}
        copies = {name: part.to(device, non_blocking=True) for name, part in present.items()}
        return self._replace(**copies)


class CachedTiles:
    """A source whose tiles are decoded once, as long as they fit into memory.

    Parameters
    ----------
    source : the tiles
    most_bytes : tiles that do not fit are read again each time
    with_skeleton : compute the skeleton-aware distance of tiles with labels; that of a tile which
        does not fit is kept compressed, up to an eighth of `most_bytes` more

    Attributes
    ----------
    name : function: index -> name of a tile, for messages; None: the source has no names
    """

    def __init__(self, source: TileSource, most_bytes: int, *, with_skeleton: bool = False) -> None:
        self.source, self._with_skeleton = source, with_skeleton
        self.name: Callable[[int], str] | None = getattr(source, "name", None)
        self._free_bytes = most_bytes
        self._free_skeleton_bytes = most_bytes // _SKELETON_SHARE
        self._tiles: dict[int, Tile] = {}
        self._skeletons: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tile:
        tile = self._tiles.get(index)
        if tile is None:
            tile = self.source[index]
            if self._with_skeleton and tile.labels is not None:
                tile = tile._replace(skeleton=self._skeleton(index, tile.labels))
            size = sum(array.nbytes for array in tile if array is not None)
            if size <= self._free_bytes:
                self._free_bytes -= size
                self._tiles[index] = tile
            elif tile.skeleton is not None:
                self._keep_skeleton(index, tile.skeleton)
        return tile

    def _skeleton(self, index: int, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Skeleton-aware distance; it takes much longer than decoding a tile."""
        compressed = self._skeletons.get(index)
        if compressed is None:
            return skeleton_distance(labels)
        return np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(labels.shape)

    def _keep_skeleton(self, index: int, skeleton: NDArray[np.uint8]) -> None:
        if index in self._skeletons:
            return
        compressed = zlib.compress(skeleton.tobytes(), 1)
        if len(compressed) <= self._free_skeleton_bytes:
            self._free_skeleton_bytes -= len(compressed)
            self._skeletons[index] = compressed


def read_windows(
    source: TileSource,
    role: Role,
    batch: ScheduledBatch,
    *,
    tile_px: int,
    augmentation: Augmentation,
    pin_memory: bool = False,
) -> TileWindows:
    """Read the tiles of a batch, and cut the windows that hold their crops.

    Parameters
    ----------
    pin_memory : into memory from which a GPU copies without waiting

    Raises
    ------
    DataError
        A labelled tile has no labels, or only some of the tiles have pseudo-labels.
    """
    tiles = [source[int(number)] for number in batch.tiles]
    check_tiles(batch.tiles, tiles, role)
    # The same side in every batch: operations on a GPU are recorded for one shape.
    side = window_px(tile_px, augmentation)
    windows = _empty_windows(
        len(tiles),
        side,
        pseudo=all(tile.pseudo is not None for tile in tiles),
        skeleton=all(tile.skeleton is not None for tile in tiles),
        pin_memory=pin_memory,
    )
    for row, (tile, numbers) in enumerate(zip(tiles, batch.numbers, strict=True)):
        height, width = tile.image.shape[1:]
        crop = random_crop(numbers, (height, width), tile_px=tile_px, augmentation=augmentation)
        _cut(windows, row, tile, crop)
    return windows


def check_tiles(numbers: Iterable[int], tiles: Sequence[Tile], role: Role) -> None:
    """Check that all tiles have what their role needs.

    Parameters
    ----------
    numbers : index of each tile in its source

    Raises
    ------
    DataError
        See `read_windows`.
    """
    for number, tile in zip(numbers, tiles, strict=True):
        if role == "labelled" and tile.labels is None:
            raise DataError(f"labelled tile {number} has no labels")
    with_pseudo = [tile.pseudo is not None for tile in tiles]
    if any(with_pseudo) and not all(with_pseudo):
        raise DataError(
            f"only some {role} tiles have pseudo-labels; compute them for all tiles, or for none"
        )


def window_origin(crop: Crop, shape: tuple[int, int], side: int) -> tuple[int, int]:
    """First pixel (y, x) of the window around a crop, in a tile of `shape`."""
    y, x = (
        min(max(corner + (crop.side - side) // 2, 0), max(length - side, 0))
        for corner, length in zip((crop.y, crop.x), shape, strict=True)
    )
    return y, x


def _empty_windows(
    count: int, side: int, *, pseudo: bool, skeleton: bool, pin_memory: bool
) -> TileWindows:
    def zeros(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
        return torch.zeros(count, *shape, dtype=dtype, pin_memory=pin_memory)

    return TileWindows(
        image=zeros(3, side, side),
        labels=zeros(side, side, dtype=torch.int32),
        weight=zeros(side, side),
        inside=zeros(side, side),
        pseudo=zeros(3, side, side) if pseudo else None,
        skeleton=zeros(side, side) if skeleton else None,
        size=zeros(2, dtype=torch.float32),
        corner=zeros(2, dtype=torch.float32),
        side=zeros(dtype=torch.float32),
        has_labels=zeros(dtype=torch.bool),
    )


def _cut(windows: TileWindows, row: int, tile: Tile, crop: Crop) -> None:
    """Copy the window around a crop into row `row`."""
    side = windows.image.shape[-1]
    height, width = tile.image.shape[1:]
    y, x = window_origin(crop, (height, width), side)
    rows, columns = slice(y, y + side), slice(x, x + side)

    def copy(target: Tensor, pixels: NDArray[np.generic]) -> None:
        part = pixels[..., rows, columns]
        target[row].numpy()[..., : part.shape[-2], : part.shape[-1]] = part

    all_pixels = np.broadcast_to(np.uint8(1), (height, width))
    copy(windows.image, tile.image)
    copy(windows.weight, all_pixels if tile.weight is None else tile.weight)
    copy(windows.inside, all_pixels if tile.inside is None else tile.inside)
    if tile.labels is not None:
        copy(windows.labels, tile.labels)
    if windows.pseudo is not None and tile.pseudo is not None:
        copy(windows.pseudo, tile.pseudo)
    if windows.skeleton is not None and tile.skeleton is not None:
        copy(windows.skeleton, tile.skeleton)
    windows.size[row] = torch.tensor([min(height, side), min(width, side)])
    windows.corner[row] = torch.tensor([crop.y - y, crop.x - x])
    windows.side[row] = crop.side
    windows.has_labels[row] = tile.labels is not None
