"""Operations with gradients that take less time on a CPU than those of torch, with equal results.

B batch, C channels of a feature, K output channels, H, W sides, P = H W pixels. All are written for
features in channels-last memory.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Pixels that are one row of an addition: torch adds long rows faster than the channels of a pixel.
_PIXELS_PER_ROW = 256


class Rectifier(nn.Module):
    """ReLU, or ReLU with an upper limit.

    In place, except in bf16 on a CPU: there a new tensor takes half the time.

    Parameters
    ----------
    limit : largest output; None: no limit
    """

    def __init__(self, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """max(0, x), at most the limit; the same shape."""
        inplace = x.device.type != "cpu" or x.dtype != torch.bfloat16
        if self.limit is None:
            return functional.relu(x, inplace=inplace)
        return functional.hardtanh(x, 0.0, self.limit, inplace=inplace)


def enlarge_and_join(x: Tensor, skip: Tensor) -> Tensor:
    """Enlarge x to twice its sides, and append the channels of `skip`.

    Parameters
    ----------
    x : (B, C, h, w)
    skip : (B, K, H, W) with H = 2 h or 2 h - 1, W = 2 w or 2 w - 1

    Returns
    -------
    Tensor
        (B, C + K, H, W) in the data type of x
    """
    if x.device.type == "cpu" and torch.is_grad_enabled():
        joined: Tensor = _EnlargeAndJoin.apply(x, skip)  # type: ignore[no-untyped-call]
        return joined
    return _enlarged_and_joined(x, skip)


def _enlarged_and_joined(x: Tensor, skip: Tensor) -> Tensor:
    enlarged = functional.interpolate(x, scale_factor=2.0)
    # The encoder rounds odd sides up: remove the extra row and column.
    enlarged = enlarged[..., : skip.shape[-2], : skip.shape[-1]]
    # A cat of bf16 and fp32 would be fp32, and be copied to bf16 again.
    return torch.cat([enlarged, skip.to(x.dtype)], dim=1)


class _EnlargeAndJoin(torch.autograd.Function):
    """The gradient of x is a sum of 2 x 2 pixels, without a copy of its part of the channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, skip: Tensor) -> Tensor:  # noqa: ANN401
        ctx.shape, ctx.skip_dtype = x.shape, skip.dtype
        return _enlarged_and_joined(x, skip)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        _, channels, height, width = ctx.shape
        of_skip = None
        if ctx.needs_input_grad[1]:
            of_skip = gradient[:, channels:].to(ctx.skip_dtype)
        extra = (2 * width - gradient.shape[3], 2 * height - gradient.shape[2])
        if any(extra):
            gradient = functional.pad(gradient, (0, extra[0], 0, extra[1]))
        return 4 * functional.avg_pool2d(gradient, 2)[:, :channels], of_skip


def pixels_of(feature: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, P, C), without a copy from channels-last memory."""
    return feature.movedim(1, -1).flatten(1, 2)


def with_mean(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels (B, P, C), and their mean (B, C).

    If other operations take these pixels, not those of before, one addition makes their gradient.
    """
    results: tuple[Tensor, Tensor] = _WithMean.apply(pixels)  # type: ignore[no-untyped-call]
    return results


class _WithMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return pixels.view_as(pixels), pixels.mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, of_mean: Tensor) -> Tensor:  # noqa: ANN401
        batch, pixels, channels = gradient.shape
        row = _PIXELS_PER_ROW  # sides are multiples of 16
        rows = gradient.reshape(batch, pixels // row, row * channels)
        return (rows + (of_mean / pixels).repeat(1, row)[:, None]).view(gradient.shape)


def products(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Product of each pixel of an image with the matrix of the image.

    Parameters
    ----------
    pixels : (B, P, C)
    matrices : (B, K, C), of the same data type

    Returns
    -------
    Tensor
        (B, K, P), one plane of pixels for each output channel
    """
    planes: Tensor = _Products.apply(pixels, matrices)  # type: ignore[no-untyped-call]
    return planes


class _Products(torch.autograd.Function):
    """The gradient of the pixels has the layout of the pixels: torch would give it as planes."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, matrices: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(pixels, matrices)
        return matrices @ pixels.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        pixels, matrices = ctx.saved_tensors
        planes = gradient.contiguous()
        return planes.mT @ matrices, planes @ pixels
