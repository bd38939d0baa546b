"""Embedded colour profiles: from the scanner's colours to sRGB."""

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageCms
from numpy.typing import NDArray

Convert = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def profile_name(profile: bytes) -> str:
    """What an ICC profile calls itself.

    Raises
    ------
    ValueError
        It is damaged.
    """
    try:
        return PIL.ImageCms.getProfileDescription(
            PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ).strip()
    except (OSError, PIL.ImageCms.PyCMSError) as error:
        raise ValueError(f"the colour profile is damaged ({error})") from error


def to_srgb(profile: bytes) -> Convert:
    """A function that brings uint8 (h, w, 3) from a profile's colours to sRGB; safe to call from several threads.

    Relative colorimetric with black point compensation, the intent viewers take.

    Raises
    ------
    ValueError
        The profile is damaged, or not one of RGB.
    """
    try:
        transform = PIL.ImageCms.buildTransform(
            PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            PIL.ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            PIL.ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # Without the one-pixel cache threads can share the transform.
            PIL.ImageCms.Flags.BLACKPOINTCOMPENSATION | PIL.ImageCms.Flags.NOCACHE,
        )
    except (OSError, PIL.ImageCms.PyCMSError) as error:
        raise ValueError(f"the colour profile cannot be applied ({error})") from error

    def convert(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(transform.apply(PIL.Image.fromarray(rgb)))

    return convert
