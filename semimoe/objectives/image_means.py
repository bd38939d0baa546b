"""Means over the images of a batch, so that the parts of a divided batch add up to the whole."""

from torch import Tensor

_LEAST_WEIGHT = 1e-8


def weighted_image_mean(error: Tensor, pixel_weight: Tensor, counts: Tensor) -> Tensor:
    """Weighted mean over the pixels of each image, then the mean over the images.

    Multiply it by `BatchShare.images`.

    Parameters
    ----------
    error : (B, H, W)
    pixel_weight : (B, H, W), 0 or more; an image in which all are 0 has the mean 0
    counts : (B, H, W), above 0 on pixels that count; images without such a pixel are left out

    Returns
    -------
    Tensor
        Scalar; 0 if no image is left.
    """
    weight = pixel_weight * (counts > 0)
    means = (error * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=_LEAST_WEIGHT)  # (B,)
    has_pixels = (counts > 0).flatten(1).any(1).float()
    return (means * has_pixels).sum() / has_pixels.sum().clamp(min=1.0)
