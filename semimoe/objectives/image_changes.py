"""Random changes of the stain and the focus of images.

B batch, H, W sides.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Largest standard deviation of a blur, px; also the largest gain of a sharpening.
_LARGEST_FOCUS_CHANGE = 1.5
_BLUR_RADIUS_PX = 5
# Optical density of haematoxylin, eosin and DAB in red, green, blue
# (Ruifrok and Johnston 2001; rows are normalised).
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)


class StainLimits(NamedTuple):
    """Bounds of a change of stain.

    Attributes
    ----------
    change : largest relative change of the amount of a stain
    shift : largest shift of a colour's optical density
    """

    change: float
    shift: float


STRONG_STAIN_CHANGE = StainLimits(0.4, 0.08)


def change_stain(image: Tensor, amounts: Tensor, shifts: Tensor, *, limits: StainLimits) -> Tensor:
    """Change the amount of each stain and the density of each colour (after Tellez et al. 2018).

    Parameters
    ----------
    image : float32 (B, 3, H, W), [0, 255]
    amounts, shifts : uniform numbers in [0, 1), (B, 3) each; 0.5 changes nothing
    """
    unmix, stains = _stain_matrices(image.device)
    factors = 1 + limits.change * (2 * amounts - 1)  # (B, 3)
    shift = limits.shift * (2 * shifts - 1)  # (B, 3)
    # Density of colours -> amounts of stains -> changed amounts -> density of colours.
    change = (unmix @ (factors[:, :, None] * stains)).transpose(1, 2)  # (B, 3, 3)
    density = math.log(256) - torch.log(image.flatten(2) + 1)  # (B, 3, H W)
    density = torch.baddbmm(shift[:, :, None], change, density)
    return (torch.exp(-density) * 256 - 1).clamp(0, 255).view(image.shape)


@cache
def _stain_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """From densities to amounts of stains, and back: float32 (3, 3)."""
    matrices = np.linalg.inv(_STAINS), _STAINS
    unmix, stains = (
        torch.tensor(matrix, dtype=torch.float32, device=device) for matrix in matrices
    )
    return unmix, stains


def change_focus(image: Tensor, focus: Tensor, changes: Tensor) -> Tensor:
    """Blur an image, or sharpen it by the difference between it and its blur of 1 px.

    Parameters
    ----------
    image : float32 (B, 3, H, W), [0, 255]
    focus : uniform numbers in [0, 1), (B,): below 0.5 sharper, above 0.5 blurred
    changes : uniform numbers in [0, 1), (B,): below 0.5 the focus changes
    """
    strength = _LARGEST_FOCUS_CHANGE * (2 * focus - 1)  # (B,)
    blurred = _blur(image, torch.where(strength > 0, strength, 1.0))
    share = torch.where(strength > 0, 1.0, strength)
    share = share * (changes < 0.5)
    return torch.lerp(image, blurred, share.view(-1, 1, 1, 1))


def _blur(image: Tensor, std_px: Tensor) -> Tensor:
    """Gaussian blur with one standard deviation per tile, (B,)."""
    batch, channels, height, width = image.shape
    radius = min(_BLUR_RADIUS_PX, height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / std_px[:, None].clamp(min=1e-2)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # (B, 2 radius + 1)
    groups = batch * channels
    kernel = kernel.repeat_interleave(channels, 0)[:, None]  # (B C, 1, taps)
    padded = functional.pad(image, (radius,) * 4, mode="reflect").view(
        1, groups, -1, width + 2 * radius
    )
    rows = functional.conv2d(padded, kernel[..., None], groups=groups)
    return functional.conv2d(rows, kernel[:, :, None], groups=groups).view(image.shape)
