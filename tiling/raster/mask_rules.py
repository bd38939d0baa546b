"""What an instance mask may hold; the same for masks of slides and for folders of images.

A mask has one channel of whole numbers: 0 is background, and each gland has a number of its own. A
mask with only one number above 0 is split into its 8-connected components instead.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    return np.unique(pixels[1:-1, 1:-1][solid])


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
