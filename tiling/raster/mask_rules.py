"""What a mask image may hold; the same for masks of slides and for folders of images.

An instance mask has one channel of whole numbers: 0 is background, and each gland has a number of
its own. A mask with only one number above 0 is split into its 8-connected components instead.
Several equal channels count as one, and an alpha channel without effect does not count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A piece of a number counts if it has at least this share of the area of the largest piece.
_MIN_PIECE_SHARE = 0.25
# A mask with fewer different numbers than this is not checked for resampled edges.
_MIN_CHECKED_NUMBERS = 8


def shares_one_number(numbers: NDArray[Any]) -> bool:
    """Whether all glands of a mask share one number, so that components take its place.

    Parameters
    ----------
    numbers : (n,), the different numbers in the mask, 0 included

    >>> shares_one_number(np.array([0, 255])), shares_one_number(np.array([0, 1, 2]))
    (True, False)
    """
    return bool(np.count_nonzero(numbers > 0) <= 1)


def solid_numbers(pixels: NDArray[Any]) -> NDArray[Any]:
    """Numbers that fill a square of 3 x 3 pixels somewhere.

    Parameters
    ----------
    pixels : (h + 2, w + 2), part of a mask with one more pixel on each side (at the edges of the
        mask: the edge repeated)

    >>> solid_numbers(np.array([[1, 1, 1, 5], [1, 1, 1, 5], [1, 1, 1, 5]])).tolist()
    [1]
    """
    rows = (pixels[:, :-2] == pixels[:, 1:-1]) & (pixels[:, 1:-1] == pixels[:, 2:])
    columns = (pixels[:-2] == pixels[1:-1]) & (pixels[1:-1] == pixels[2:])
    solid = rows[:-2] & rows[1:-1] & rows[2:] & columns[:, 1:-1]
    return different_numbers(pixels[1:-1, 1:-1][solid])


def different_numbers(pixels: NDArray[Any]) -> NDArray[Any]:
    """The different numbers of a mask, ascending: `numpy.unique`, faster for equal neighbours.

    >>> different_numbers(np.array([[7, 7, 7], [2, 2, 7]])).tolist()
    [2, 7]
    """
    values = pixels.ravel()
    return np.unique(values[_run_starts(values)])


def _run_starts(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """First index of each run of equal rows."""
    is_start = np.ones(len(columns[0]), bool)
    is_start[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_start)


def mask_problem(numbers: NDArray[Any], solid: NDArray[Any]) -> str | None:
    """What is wrong with the numbers of a mask; None: nothing.

    Glands are solid. The grey values along edges that were resampled, or compressed with losses,
    are not, and would each become a gland.

    Parameters
    ----------
    numbers : (n,), the different numbers in the mask
    solid : those that are solid somewhere, see `solid_numbers`

    >>> mask_problem(np.array([0, 1, 7]), np.array([0, 1])) is None
    True
    """
    if (numbers != np.rint(numbers)).any():
        return "fractions in it; a mask holds whole numbers, 0 for background and one per gland"
    if (numbers < 0).any():
        return "negative numbers in it; give one positive whole number per gland, 0 for background"
    if len(numbers) >= _MIN_CHECKED_NUMBERS and 2 * len(solid) < len(numbers):
        return (
            f"{len(numbers)} different numbers, most of them nowhere 3 x 3 pixels large: "
            "resized or saved with losses; "
            "a mask is 0 and one other number, or one number per gland"
        )
    return None


def without_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Colours of a mask image, without an alpha channel that has no effect on them.

    Parameters
    ----------
    pixels : (h, w) or (h, w, channels); with 2 or 4 channels, the last one is alpha

    Raises
    ------
    ValueError
        A transparent pixel has a colour, so that colours and alpha are two different masks.

    >>> without_alpha(np.array([[[7, 255], [0, 255]]])).tolist()
    [[[7], [0]]]
    """
    if pixels.ndim != 3 or pixels.shape[-1] not in (2, 4):
        return pixels
    colours, alpha = pixels[..., :-1], pixels[..., -1]
    if colours[alpha == 0].any():
        raise ValueError(
            "transparent pixels have a colour, so that the alpha channel and the colours are two "
            "different masks; save it without alpha channel"
        )
    return colours


def one_channel(pixels: NDArray[Any]) -> NDArray[Any]:
    """The numbers of an instance mask, (h, w).

    Parameters
    ----------
    pixels : (h, w) or (h, w, channels)

    Raises
    ------
    ValueError
        The channels differ.
    """
    colours = without_alpha(pixels)
    if colours.ndim == 3 and (colours == colours[..., :1]).all():
        colours = colours[..., 0]
    if colours.ndim != 2:
        raise ValueError(
            f"an image of shape {pixels.shape} with different channels is not an instance mask; "
            "give one channel of whole numbers, one per gland"
        )
    return colours


class MaskPieces(NamedTuple):
    """How much of each component of a mask has each number.

    Attributes
    ----------
    number, component, area_px : int64 (n,); each pair of number and component occurs once
    """

    number: NDArray[np.int64]
    component: NDArray[np.int64]
    area_px: NDArray[np.int64]

    def scattered(self) -> dict[int, int]:
        """Numbers of several pieces -> how many; small pieces beside a large one do not count.

        >>> pieces(np.array([[1, 1, 0, 1, 0, 2]]), np.array([[1, 1, 0, 2, 0, 3]])).scattered()
        {1: 2}
        """
        order = np.lexsort((-self.area_px, self.number))
        number, area = self.number[order], self.area_px[order]
        is_first = np.ones(len(number), bool)
        is_first[1:] = number[1:] != number[:-1]
        largest = area[is_first][np.cumsum(is_first) - 1]
        values, counts = np.unique(number[area >= _MIN_PIECE_SHARE * largest], return_counts=True)
        several = counts > 1
        return dict(zip(values[several].tolist(), counts[several].tolist(), strict=True))

    def problem(self) -> str | None:
        """What is wrong with the pieces of a mask of several numbers; None: nothing."""
        count, scattered = len(np.unique(self.number)), self.scattered()
        if count < 2 or 2 * len(scattered) < count:
            return None
        return (
            f"{len(scattered)} of its {count} numbers have several pieces: a mask of classes, not "
            "of glands; give each gland a number of its own, or all glands the same number"
        )

    def message(self) -> str | None:
        """What a person should know about a mask that has no problem; None: nothing."""
        scattered = self.scattered()
        if not scattered:
            return None
        names = ", ".join(f"{number}: {count} pieces" for number, count in scattered.items())
        return (
            f"{len(scattered)} numbers of several pieces ({names[:200]}); each counts as one gland"
        )


def pieces(numbers: NDArray[Any], components: NDArray[Any]) -> MaskPieces:
    """Pieces of a mask, or of one block of it.

    Parameters
    ----------
    numbers : (h, w), mask
    components : (h, w), components of its pixels above 0
    """
    is_inside = components > 0
    number, component = numbers[is_inside], components[is_inside]
    starts = _run_starts(number, component)
    area_px = np.diff(starts, append=len(number))
    runs = (number[starts], component[starts], area_px)
    return merge_pieces([MaskPieces(*(values.astype(np.int64) for values in runs))])


def merge_pieces(parts: Sequence[MaskPieces]) -> MaskPieces:
    """Pieces of a mask from those of its blocks, with components of the whole mask."""
    number = np.concatenate([part.number for part in parts])
    component = np.concatenate([part.component for part in parts])
    area_px = np.concatenate([part.area_px for part in parts])
    unique, index = np.unique(np.stack([number, component]), axis=1, return_inverse=True)
    total = np.bincount(index.ravel(), weights=area_px, minlength=unique.shape[1])
    return MaskPieces(unique[0], unique[1], total.astype(np.int64))
