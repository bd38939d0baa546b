"""Embedded colour profiles: conversion from the colours of the scanner to sRGB."""

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageCms
from numpy.typing import NDArray

ColourConversion = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def profile_name(profile: bytes) -> str:
    """The name that an ICC profile contains.

    Raises
    ------
    ValueError
        The profile is damaged.
    """
    try:
        parsed = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return PIL.ImageCms.getProfileDescription(parsed).strip()
    except (OSError, PIL.ImageCms.PyCMSError) as error:
        raise ValueError(f"the colour profile is damaged ({error})") from error


def to_srgb(profile: bytes) -> ColourConversion:
    """A function that converts uint8 (h, w, 3) from the colours of a profile to sRGB.

    Several threads may call it. The rendering intent is relative colorimetric with black point
    compensation, as in slide viewers.

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
            # Threads can share the transform only without its one-pixel cache.
            PIL.ImageCms.Flags.BLACKPOINTCOMPENSATION | PIL.ImageCms.Flags.NOCACHE,
        )
    except (OSError, PIL.ImageCms.PyCMSError) as error:
        raise ValueError(f"the colour profile cannot be applied ({error})") from error

    def convert(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(transform.apply(PIL.Image.fromarray(rgb)))

    return convert
