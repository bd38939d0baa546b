"""Alpha channels: what the samples beside the colours mean, and pixels over a background."""

from enum import Enum

import numpy as np
import tifffile
from numpy.typing import NDArray

from tiling.slides.backend import Rgb

_COLOURS = 3
UNUSED_CHANNEL = "the fourth channel is not declared as alpha: it is not used"


class Alpha(Enum):
    """What the fourth sample of a pixel is.

    Attributes
    ----------
    UNUSED : there is none, or it is no alpha: the colours are complete without it
    STRAIGHT : alpha; the colours do not depend on it
    PREMULTIPLIED : alpha; the colours are already multiplied by it
    """

    UNUSED = "unused"
    STRAIGHT = "straight"
    PREMULTIPLIED = "premultiplied"


def alpha_of_page(page: tifffile.TiffPage) -> Alpha:
    """What a TIFF declares its fourth sample to be.

    A sample that is not declared as alpha (near infrared, a selection of an image editor) must not
    be used as one: zeros in it would make the whole slide white.
    """
    if page.samplesperpixel <= _COLOURS or not page.extrasamples:
        return Alpha.UNUSED
    if page.extrasamples[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        return Alpha.PREMULTIPLIED
    straight = page.extrasamples[0] == tifffile.EXTRASAMPLE.UNASSALPHA
    return Alpha.STRAIGHT if straight else Alpha.UNUSED


def has_unused_channel(page: tifffile.TiffPage) -> bool:
    """Whether a TIFF has a fourth sample that is not declared as alpha."""
    return page.samplesperpixel > _COLOURS and alpha_of_page(page) is Alpha.UNUSED


def flatten_alpha(
    pixels: NDArray[np.uint8], background: NDArray[np.uint16], alpha: Alpha = Alpha.STRAIGHT
) -> Rgb:
    """Pixels uint8 (h, w, 3 or 4) over a background colour uint16 (3,)."""
    rgb = pixels[..., :_COLOURS]
    if pixels.shape[2] == _COLOURS or alpha is Alpha.UNUSED:
        return np.ascontiguousarray(rgb)
    opacity = pixels[..., _COLOURS:]
    if opacity.min(initial=255) == 255:
        return np.ascontiguousarray(rgb)
    opacity16 = opacity.astype(np.uint16)
    under = background * (255 - opacity16)
    if alpha is Alpha.STRAIGHT:
        return ((rgb * opacity16 + under + 127) // 255).astype(np.uint8)
    # Colours larger than their alpha, which a correct file does not have, end at white.
    return np.minimum(rgb + (under + 127) // 255, 255).astype(np.uint8)
