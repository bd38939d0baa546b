"""Random views of a tile: from a tile as read to a training tile without borders.

Labels are resampled by nearest neighbour; targets are made from them afterwards, so a distance stays a distance.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from semimoe.settings import Augmentation
from tiling.raster.tile import Tile

_SCALES = (0.8, 1.25)
_CROP_SHARE = 224 / 256  # the public code: random 224 of 256, resized back
# Share by which the amount of a stain varies, and the density of a colour, shifted.
_STAIN = {"slides": (0.2, 0.04), "scanners": (0.4, 0.08)}
_EDGES = 2  # most edges of tissue in a tile
_GLASS = (225, 252)  # grey values
_WAVE = 0.06  # largest amplitude of an edge that is not straight, of the tile's side
_FOCUS = 1.5  # largest standard deviation of a blur, px, and largest gain of a sharpening
# Optical density of haematoxylin, eosin and DAB in red, green, blue (Ruifrok and Johnston 2001, rows normalised).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)
_DENSITY = -np.log((np.arange(256) + 1) / 256).astype(np.float32)


class AugmentedTile(NamedTuple):
    """One tile with what is known of it; all arrays share (H, W)."""

    image: NDArray[np.uint8]  # (3, H, W)
    labels: NDArray[np.int32] | None  # (H, W)
    weight: NDArray[np.uint8]  # (H, W), 0 where nothing is known
    inside: NDArray[np.uint8]  # (H, W), 0 where the image was padded or shows no tissue
    pseudo: NDArray[np.uint8] | None  # (3, H, W): mask 0/1, quantised sdf, boundary 0/1
    scale: float  # content is this many times larger than as read; distances (the sdf channel) are still as read


def as_augmented_tile(item: Tile) -> AugmentedTile:
    """Add what a source may leave out: without a mask of its own every pixel counts."""
    weight = item.weight if item.weight is not None else np.ones(item.image.shape[1:], np.uint8)
    inside = item.inside if item.inside is not None else np.ones(item.image.shape[1:], np.uint8)
    return AugmentedTile(item.image, item.labels, weight, inside, item.pseudo, 1.0)


def augment(
    tile: AugmentedTile, *, tile_px: int, augmentation: Augmentation, rng: np.random.Generator
) -> AugmentedTile:
    """A random tile of `tile_px` from a tile, which may be larger or smaller.

    Parameters
    ----------
    augmentation : slides: scale 0.8..1.25, shift, flips, quarter turns, stain; scanners: with twice the change of stain, glass beyond up to
        two edges, and blurred or sharpened half of the time; paper: crop of 7/8 resized (half of the time), flips,
        quarter turns; flips: those alone, of any place; none: the centre
    rng : the only source of chance
    """
    scale = 1.0
    if augmentation in _STAIN:
        scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
    elif augmentation == "paper" and rng.random() < 0.5:
        scale = 1 / _CROP_SHARE
    side = round(tile_px / scale)
    tile = _pad(tile, side)
    height, width = tile.weight.shape
    spare = np.array([height - side, width - side])
    corner = spare // 2 if augmentation == "none" else rng.integers(0, spare + 1)
    tile = _resize(_crop(tile, int(corner[0]), int(corner[1]), side), tile_px)
    if augmentation == "none":
        return tile
    tile = _turn(tile, flip=bool(rng.integers(2)), quarter_turns=int(rng.integers(4)))
    if augmentation in _STAIN:
        tile = tile._replace(image=_change_stain(tile.image, *_STAIN[augmentation], rng))
    if augmentation != "scanners":
        return tile
    for _ in range(_EDGES):
        if rng.random() < 0.5:
            tile = _add_glass_edge(tile, rng)
    return tile._replace(image=_change_focus(tile.image, rng)) if rng.random() < 0.5 else tile


def _pad(tile: AugmentedTile, side: int) -> AugmentedTile:
    """Grown to at least `side`: the image mirrored, the rest unknown."""
    height, width = tile.weight.shape
    short = [max(side - height, 0), max(side - width, 0)]
    if not any(short):
        return tile
    around = tuple((gap // 2, gap - gap // 2) for gap in short)

    def unknown(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if array is None else np.pad(array, (((0, 0),) * (array.ndim - 2)) + around)

    image = np.pad(tile.image, ((0, 0), *around), mode="symmetric")
    weight, inside = np.pad(tile.weight, around), np.pad(tile.inside, around)
    return tile._replace(
        image=image,
        labels=unknown(tile.labels),
        weight=weight,
        inside=inside,
        pseudo=unknown(tile.pseudo),
    )


def _crop(tile: AugmentedTile, y: int, x: int, side: int) -> AugmentedTile:
    box = (..., slice(y, y + side), slice(x, x + side))
    return tile._replace(
        image=tile.image[box],
        labels=None if tile.labels is None else tile.labels[box],
        weight=tile.weight[box],
        inside=tile.inside[box],
        pseudo=None if tile.pseudo is None else tile.pseudo[box],
    )


def _resize(tile: AugmentedTile, tile_px: int) -> AugmentedTile:
    side = tile.weight.shape[0]
    if side == tile_px:
        return tile
    smooth = Image.Resampling.BILINEAR
    rows = (np.arange(tile_px) + 0.5) * (side / tile_px)
    nearest = np.ix_(rows.astype(int), rows.astype(int))
    rgb = Image.fromarray(np.ascontiguousarray(tile.image.transpose(1, 2, 0))).resize(
        (tile_px, tile_px), smooth
    )
    pseudo = None
    if tile.pseudo is not None:
        mask, sdf, boundary = tile.pseudo
        field = np.asarray(
            Image.fromarray(np.ascontiguousarray(sdf)).resize((tile_px, tile_px), smooth)
        )
        pseudo = np.stack([mask[nearest], field, boundary[nearest]])
    return AugmentedTile(
        np.asarray(rgb).transpose(2, 0, 1),
        None if tile.labels is None else tile.labels[nearest],
        tile.weight[nearest],
        tile.inside[nearest],
        pseudo,
        tile_px / side,
    )


def _turn(tile: AugmentedTile, *, flip: bool, quarter_turns: int) -> AugmentedTile:
    def turn(array: NDArray[Any]) -> NDArray[Any]:
        return np.rot90(array[..., ::-1] if flip else array, quarter_turns, axes=(-2, -1))

    return tile._replace(
        image=turn(tile.image),
        labels=None if tile.labels is None else turn(tile.labels),
        weight=turn(tile.weight),
        inside=turn(tile.inside),
        pseudo=None if tile.pseudo is None else turn(tile.pseudo),
    )


def _change_stain(
    image: NDArray[np.uint8], scale: float, shift_by: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Amounts of the stains scaled, and the density of each colour shifted (after Tellez et al. 2018)."""
    amounts = np.diag(rng.uniform(1 - scale, 1 + scale, 3))
    shift = rng.uniform(-shift_by, shift_by, 3)
    change = (_UNMIX @ amounts @ _STAINS).T.astype(
        np.float32
    )  # density (colour) -> amounts -> density
    density = change @ _DENSITY[image].reshape(3, -1) + shift[:, None].astype(np.float32)
    colours: NDArray[np.uint8] = (
        np.clip(np.exp(-density) * 256 - 1, 0, 255).round().astype(np.uint8).reshape(image.shape)
    )
    return colours


def _add_glass_edge(tile: AugmentedTile, rng: np.random.Generator) -> AugmentedTile:
    """Glass beyond an edge, straight as of a core or wavy as of a section, over at most half of the tile: no gland there.

    Images for training are cut out of tissue; on slides half a tile may be glass. A gland that is cut by it ends at the cut.
    """
    side = tile.weight.shape[0]
    y = x = (np.arange(side) + 0.5) / side - 0.5
    angle, wave = rng.uniform(0, 2 * np.pi), rng.uniform(0, _WAVE) * (rng.random() < 0.5)
    if rng.random() < 0.5:
        angle = round(angle / (np.pi / 2)) * np.pi / 2
    across = np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]
    along = np.cos(angle) * y[:, None] - np.sin(angle) * x[None, :]
    edge = wave * np.sin(2 * np.pi * (rng.uniform(1, 4) * along + rng.random()))
    glass = across + edge > rng.uniform(0.05, 0.45)
    colour = rng.uniform(*_GLASS) + rng.uniform(-4, 4, 3)
    grain = colour[:, None] + rng.normal(0, 1.5, (3, int(glass.sum())))
    image, inside = tile.image.copy(), tile.inside.copy()
    image[:, glass] = np.clip(grain, 0, 255).round().astype(np.uint8)
    inside[glass] = 0
    labels = None if tile.labels is None else np.where(glass, 0, tile.labels)
    return tile._replace(image=image, labels=labels, inside=inside)


def _change_focus(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """As of another lens: blurred, or sharpened by what a blur of 1 px takes away."""
    strength = rng.uniform(-_FOCUS, _FOCUS)
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    blurred = picture.filter(ImageFilter.GaussianBlur(strength if strength > 0 else 1.0))
    if strength < 0:
        blurred = Image.blend(picture, blurred, strength)
    return np.ascontiguousarray(np.asarray(blurred).transpose(2, 0, 1))
