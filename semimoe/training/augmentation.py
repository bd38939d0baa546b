"""Random augmentation: from a tile as it is read to a training tile.

Labels are resampled by nearest neighbour. Targets are computed from the augmented labels, so that
distances are correct after a change of scale.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from semimoe.settings import Augmentation
from tiling.raster.tile import Tile

_SCALES = (0.8, 1.25)
# The public code takes a random crop of 224 of 256 px and resizes it to 256 px.
_CROP_SHARE = 224 / 256
# Largest relative change of the amount of a stain, and largest shift of a colour's optical density.
_STAIN_CHANGES = {"slides": (0.2, 0.04), "scanners": (0.4, 0.08)}
_MOST_GLASS_EDGES = 2
_GLASS_GREY = (225, 252)
_LARGEST_WAVE = 0.06  # largest amplitude of a wavy glass edge, as a share of the tile's side
# Largest standard deviation of a blur, px; also the largest gain of a sharpening.
_LARGEST_FOCUS_CHANGE = 1.5
# Optical density of haematoxylin, eosin and DAB in red, green, blue
# (Ruifrok and Johnston 2001; rows are normalised).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNMIX = np.linalg.inv(_STAINS)
_DENSITY = -np.log((np.arange(256) + 1) / 256).astype(np.float32)


class AugmentedTile(NamedTuple):
    """One tile during and after augmentation; all arrays have the same height and width.

    Attributes
    ----------
    image : (3, H, W)
    labels : (H, W), or None
    weight : (H, W), 0 where nothing is annotated
    inside : (H, W), 0 where the image was padded or is not tissue
    pseudo : (3, H, W), mask 0/1, quantised sdf, boundary 0/1; or None
    scale : the content is this many times larger than in the tile that was read; the sdf channel
        keeps the distances of the tile that was read
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32] | None
    weight: NDArray[np.uint8]
    inside: NDArray[np.uint8]
    pseudo: NDArray[np.uint8] | None
    scale: float


def as_augmented_tile(tile: Tile) -> AugmentedTile:
    """Convert a tile that was read; where it has no `weight` or `inside`, all pixels count."""
    all_pixels = np.ones(tile.image.shape[1:], np.uint8)
    weight = tile.weight if tile.weight is not None else all_pixels
    inside = tile.inside if tile.inside is not None else all_pixels
    return AugmentedTile(tile.image, tile.labels, weight, inside, tile.pseudo, 1.0)


def augment(
    tile: AugmentedTile, *, tile_px: int, augmentation: Augmentation, rng: np.random.Generator
) -> AugmentedTile:
    """Make a random training tile of `tile_px` from a tile of any size.

    Parameters
    ----------
    augmentation : kind of augmentation.
        slides: scale 0.8 to 1.25, shift, flip, quarter turns, change of stain;
        scanners: slides with twice the change of stain, glass beyond at most two edges, and a blur
        or a sharpening with probability 1/2;
        paper: a crop of 7/8 that is resized, with probability 1/2, shift, flip, quarter turns;
        flips: shift, flip, quarter turns;
        none: the centre of the tile
    rng : all random numbers come from it
    """
    scale = 1.0
    if augmentation in _STAIN_CHANGES:
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
    if augmentation in _STAIN_CHANGES:
        tile = tile._replace(image=_change_stain(tile.image, *_STAIN_CHANGES[augmentation], rng))
    if augmentation != "scanners":
        return tile
    for _ in range(_MOST_GLASS_EDGES):
        if rng.random() < 0.5:
            tile = _add_glass_edge(tile, rng)
    if rng.random() < 0.5:
        tile = tile._replace(image=_change_focus(tile.image, rng))
    return tile


def _pad(tile: AugmentedTile, side: int) -> AugmentedTile:
    """Enlarge a tile to at least `side`: mirror the image, fill the other arrays with 0."""
    height, width = tile.weight.shape
    missing = [max(side - height, 0), max(side - width, 0)]
    if not any(missing):
        return tile
    padding = tuple((pixels // 2, pixels - pixels // 2) for pixels in missing)
    image = np.pad(tile.image, ((0, 0), *padding), mode="symmetric")
    labels = None if tile.labels is None else np.pad(tile.labels, padding)
    pseudo = None if tile.pseudo is None else np.pad(tile.pseudo, ((0, 0), *padding))
    return tile._replace(
        image=image,
        labels=labels,
        weight=np.pad(tile.weight, padding),
        inside=np.pad(tile.inside, padding),
        pseudo=pseudo,
    )


def _crop(tile: AugmentedTile, y: int, x: int, side: int) -> AugmentedTile:
    """Square window of a tile, with its upper left corner at (y, x)."""
    window = (..., slice(y, y + side), slice(x, x + side))
    return tile._replace(
        image=tile.image[window],
        labels=None if tile.labels is None else tile.labels[window],
        weight=tile.weight[window],
        inside=tile.inside[window],
        pseudo=None if tile.pseudo is None else tile.pseudo[window],
    )


def _resize(tile: AugmentedTile, tile_px: int) -> AugmentedTile:
    """Resize a square tile: image and sdf bilinearly, the other arrays by nearest neighbour."""
    side = tile.weight.shape[0]
    if side == tile_px:
        return tile
    rows = (np.arange(tile_px) + 0.5) * (side / tile_px)
    nearest = np.ix_(rows.astype(int), rows.astype(int))
    pseudo = None
    if tile.pseudo is not None:
        mask, sdf, boundary = tile.pseudo
        pseudo = np.stack([mask[nearest], _resize_smoothly(sdf, tile_px), boundary[nearest]])
    return AugmentedTile(
        _resize_smoothly(tile.image.transpose(1, 2, 0), tile_px).transpose(2, 0, 1),
        None if tile.labels is None else tile.labels[nearest],
        tile.weight[nearest],
        tile.inside[nearest],
        pseudo,
        tile_px / side,
    )


def _resize_smoothly(pixels: NDArray[np.uint8], tile_px: int) -> NDArray[np.uint8]:
    """Bilinear; (H, W) or (H, W, 3)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((tile_px, tile_px), Image.Resampling.BILINEAR))


def _turn(tile: AugmentedTile, *, flip: bool, quarter_turns: int) -> AugmentedTile:
    """Flip a tile left to right if `flip`, then turn it counterclockwise."""

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
    image: NDArray[np.uint8],
    largest_change: float,
    largest_shift: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Change the amount of each stain and the density of each colour (after Tellez et al. 2018)."""
    factors = np.diag(rng.uniform(1 - largest_change, 1 + largest_change, 3))
    shift = rng.uniform(-largest_shift, largest_shift, 3)
    # Density of colours -> amounts of stains -> changed amounts -> density of colours.
    change = (_UNMIX @ factors @ _STAINS).T.astype(np.float32)
    density = change @ _DENSITY[image].reshape(3, -1) + shift[:, None].astype(np.float32)
    colours = np.clip(np.exp(-density) * 256 - 1, 0, 255).round()
    changed: NDArray[np.uint8] = colours.astype(np.uint8).reshape(image.shape)
    return changed


def _add_glass_edge(tile: AugmentedTile, rng: np.random.Generator) -> AugmentedTile:
    """Replace the part of a tile beyond a random edge, at most one half, by glass without glands.

    Training images are crops of tissue, but tiles of slides may contain glass. The edge is straight
    (as of a tissue core) or wavy (as of a section). A gland that crosses it ends there.
    """
    side = tile.weight.shape[0]
    y = x = (np.arange(side) + 0.5) / side - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    amplitude = rng.uniform(0, _LARGEST_WAVE) * (rng.random() < 0.5)
    if rng.random() < 0.5:
        angle = round(angle / (np.pi / 2)) * np.pi / 2
    across = np.cos(angle) * x[None, :] + np.sin(angle) * y[:, None]
    along = np.cos(angle) * y[:, None] - np.sin(angle) * x[None, :]
    wave = amplitude * np.sin(2 * np.pi * (rng.uniform(1, 4) * along + rng.random()))
    glass = across + wave > rng.uniform(0.05, 0.45)
    colour = rng.uniform(*_GLASS_GREY) + rng.uniform(-4, 4, 3)
    glass_pixels = colour[:, None] + rng.normal(0, 1.5, (3, int(glass.sum())))
    image, inside = tile.image.copy(), tile.inside.copy()
    image[:, glass] = np.clip(glass_pixels, 0, 255).round().astype(np.uint8)
    inside[glass] = 0
    labels = None if tile.labels is None else np.where(glass, 0, tile.labels)
    return tile._replace(image=image, labels=labels, inside=inside)


def _change_focus(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur the image, or sharpen it by the difference between it and its blur of 1 px."""
    strength = rng.uniform(-_LARGEST_FOCUS_CHANGE, _LARGEST_FOCUS_CHANGE)
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    blurred = picture.filter(ImageFilter.GaussianBlur(strength if strength > 0 else 1.0))
    if strength < 0:
        blurred = Image.blend(picture, blurred, strength)
    return np.ascontiguousarray(np.asarray(blurred).transpose(2, 0, 1))
