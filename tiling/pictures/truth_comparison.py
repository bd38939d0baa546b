"""Which glands a prediction misses or adds, by the rule of object F1, block by block."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image

from tiling.pictures.canvas import (
    FALSE_COLOUR,
    MISSED_COLOUR,
    Thumbnail,
    colour_mask,
    mark_pixels,
)
from tiling.raster.edges import inner_edges
from tiling.raster.geometry import Block, blocks
from tiling.stores.arrays import SHARD_PX, open_array

_STRIPE_PX, _STRIPE_WIDTH_PX = 6, 2
_KEY_BITS = 32  # labels are int32


class GlandComparison(NamedTuple):
    """Where truth and prediction of a slide differ, in its annotated pixels.

    Attributes
    ----------
    true_count : annotated glands
    missed_count : annotated glands that no predicted gland covers by more than half
    false_count : predicted glands that do not cover an annotated one by more than half
    missed, false : bool (height, width), pixels of such glands on the grid of a thumbnail
    """

    true_count: int
    missed_count: int
    false_count: int
    missed: NDArray[np.bool_]
    false: NDArray[np.bool_]

    def draw(self, image: Image.Image) -> Image.Image:
        """A copy of a picture of the size of the thumbnail, with stripes in these glands.

        The stripes of missed and of false glands have two directions, so that they can be told
        apart without colours.
        """
        rows, columns = np.indices(self.missed.shape)
        for mask, diagonal, colour in (
            (self.missed, rows + columns, MISSED_COLOUR),
            (self.false, rows - columns, FALSE_COLOUR),
        ):
            stripes = diagonal % _STRIPE_PX < _STRIPE_WIDTH_PX
            edges = inner_edges(np.pad(mask, 1).astype(np.int32))[1:-1, 1:-1]
            image = colour_mask(image, mask & (stripes | edges), colour)
        return image


def compare_glands(
    truth: zarr.Group,
    prediction: zarr.Array[Any],
    thumbnail: Thumbnail,
    *,
    block_px: int = SHARD_PX,
) -> GlandComparison:
    """Compare the annotated and the predicted glands of a slide.

    Only annotated pixels count. A predicted gland is right if it covers more than half of the
    annotated gland with which it shares the most pixels, as in object F1.

    Parameters
    ----------
    truth : label store, with arrays `labels` and `weight`
    prediction : int32 (y, x), 0 background
    thumbnail : of the slide
    block_px : side of a block, stored pixels
    """
    height, width = prediction.shape
    grid = blocks(height, width, block_px)
    pixels = _ScoredPixels(truth, prediction)
    counts = [_pairs(*pixels[block]) for block in grid]
    pairs = _merged_pairs(counts)
    missed, false = _unmatched(pairs)
    is_missed, is_false = (
        np.zeros((thumbnail.image.height, thumbnail.image.width), bool) for _ in range(2)
    )
    if len(missed) or len(false):
        for block in grid:
            true, predicted = pixels[block]
            mark_pixels(is_missed, np.isin(true, missed), block, thumbnail)
            mark_pixels(is_false, np.isin(predicted, false), block, thumbnail)
    true_count = len(np.unique(pairs.true[pairs.true > 0]))
    return GlandComparison(true_count, len(missed), len(false), is_missed, is_false)


class _Pairs(NamedTuple):
    """Pixels of each pair of an annotated and a predicted gland, (n,) each; 0 is no gland."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    shared_px: NDArray[np.int64]


class _ScoredPixels:
    """Blocks of truth and prediction, int64 (h, w) each, 0 where nothing is annotated."""

    def __init__(self, truth: zarr.Group, prediction: zarr.Array[Any]) -> None:
        self._labels, self._weight = open_array(truth, "labels"), open_array(truth, "weight")
        self._prediction = prediction

    def __getitem__(self, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        is_scored = np.asarray(self._weight[block]) > 0
        true, predicted = (
            np.where(is_scored, np.asarray(array[block]), 0).astype(np.int64)
            for array in (self._labels, self._prediction)
        )
        return true, predicted


def _pairs(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> _Pairs:
    """Pairs of one block."""
    is_gland = (true > 0) | (predicted > 0)
    keys, counts = np.unique(_key(true[is_gland], predicted[is_gland]), return_counts=True)
    return _pairs_of_keys(keys, counts)


def _merged_pairs(parts: Sequence[_Pairs]) -> _Pairs:
    """Pairs of a slide from those of its blocks."""
    true, predicted, shared_px = (np.concatenate(column) for column in zip(*parts, strict=True))
    keys, index = np.unique(_key(true, predicted), return_inverse=True)
    return _pairs_of_keys(keys, np.bincount(index, shared_px, len(keys)))


def _key(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each pair."""
    return (true << _KEY_BITS) | predicted


def _pairs_of_keys(keys: NDArray[np.int64], shared_px: NDArray[Any]) -> _Pairs:
    mask = (1 << _KEY_BITS) - 1
    return _Pairs(keys >> _KEY_BITS, keys & mask, shared_px.astype(np.int64))


def _unmatched(pairs: _Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the annotated glands that are missed, and of the predicted ones that are false.

    >>> one = np.array([1, 1, 0, 2])
    >>> [part.tolist() for part in _unmatched(_Pairs(one, np.array([7, 0, 8, 0]), one + 4))]
    [[1, 2], [7, 8]]
    """
    true_area_px = np.bincount(pairs.true, pairs.shared_px)
    has_both = (pairs.true > 0) & (pairs.predicted > 0)
    both = _Pairs(*(column[has_both] for column in pairs))
    order = np.lexsort((both.true, -both.shared_px, both.predicted))
    predicted, first = np.unique(both.predicted[order], return_index=True)
    partner, shared_px = both.true[order][first], both.shared_px[order][first]
    is_right = 2 * shared_px > true_area_px[partner]
    all_true, all_predicted = (
        np.unique(column[column > 0]) for column in (pairs.true, pairs.predicted)
    )
    missed = np.setdiff1d(all_true, partner[is_right])
    return missed, np.setdiff1d(all_predicted, predicted[is_right])
