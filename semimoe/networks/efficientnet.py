"""EfficientNet-Lite0 as an encoder pretrained on ImageNet, and a light decoder for it.

Tan and Le 2019 (arXiv 1905.11946). The Lite variant uses ReLU6 and no squeeze-and-excitation. A few
outlined images are not enough to learn edges and textures from random weights; the pretrained
weights already detect them.

B batch, C width, H, W sides (multiples of 16), h, w sides of any feature.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.model_errors import ModelError
from tiling.raster.atomic_files import file_checksum

_IMAGENET_SHA256 = "5e92801669c8785f4965c5863f3ccb8a02035d693c3bb348709aece5d2fb6d1f"
IMAGENET_WEIGHTS = Path(__file__).parent / "imagenet" / "efficientnet-lite0.safetensors"
_STEM_CHANNELS = 32


class _EncoderStage(NamedTuple):
    """Consecutive blocks with the same output size."""

    blocks: int
    kernel: int
    stride: int  # of the first block; the others have stride 1
    expansion: int
    channels: int
    is_skip: bool  # the last stage of its resolution: its output goes to the decoder


# Table 1 of the paper without the last stage (320 channels) and the classifier.
_STAGES = (
    _EncoderStage(1, 3, 1, 1, 16, True),
    _EncoderStage(2, 3, 2, 6, 24, True),
    _EncoderStage(2, 5, 2, 6, 40, True),
    _EncoderStage(3, 3, 2, 6, 80, False),
    _EncoderStage(3, 5, 1, 6, 112, True),
    _EncoderStage(4, 5, 2, 6, 192, True),
)


def make_encoder(width: int) -> "LiteEncoder":
    """Build the encoder with random weights; its channels do not depend on `width`."""
    return LiteEncoder()


def make_decoder(width: int) -> "LightDecoder":
    """Build the decoder that fits `LiteEncoder`."""
    return LightDecoder(width)


class LiteEncoder(nn.Module):
    """Stem and stages of EfficientNet-Lite0 down to 1/32 of the resolution.

    Attributes
    ----------
    channels : of the features that `forward` returns
    """

    channels = (3, *(stage.channels for stage in _STAGES if stage.is_skip))

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution_unit(3, _STEM_CHANNELS, kernel=3, stride=2)
        stages, in_channels = [], _STEM_CHANNELS
        for stage in _STAGES:
            stages.append(_stage_blocks(in_channels, stage))
            in_channels = stage.channels
        self.stages = nn.ModuleList(stages)
        self._frozen: list[nn.Module] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features of all resolutions.

        Parameters
        ----------
        x : normalised images float32 (B, 3, H, W)

        Returns
        -------
        list of Tensor
            The images themselves, then features at 1/2, 1/4, ..., 1/32 of their sides, rounded up.
        """
        features = [x]
        x = self.stem(x)
        for stage, module in zip(_STAGES, self.stages, strict=True):
            x = module(x)
            if stage.is_skip:
                features.append(x)
        return features

    def freeze(self, stages: int) -> None:
        """Exclude the stem and the first `stages` stages from training; 0: nothing.

        Their weights get no gradient, and their running statistics stay as they are.
        """
        self._frozen = [self.stem, *self.stages[:stages]] if stages else []
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "LiteEncoder":
        """Set the training mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def load_pretrained(self, path: Path = IMAGENET_WEIGHTS) -> None:
        """Load pretrained weights from a file.

        Raises
        ------
        ModelError
            The file is missing or damaged, or holds the weights of another network.
        """
        from semimoe.tensor_files import load_tensors

        if not path.is_file():
            raise ModelError(
                f"{path}: the pretrained weights of the encoder are missing;"
                " fetch the folder again, or set network.encoder: unet"
            )
        if path == IMAGENET_WEIGHTS and file_checksum(path) != _IMAGENET_SHA256:
            raise ModelError(f"{path}: damaged (wrong checksum); fetch the file again")
        try:
            self.load_state_dict(load_tensors(path)[0])
        except RuntimeError as error:
            raise ModelError(
                f"{path}: not the weights of this encoder ({str(error).splitlines()[0]});"
                " fetch the file again"
            ) from error


class LightDecoder(nn.Module):
    """Decoder with C, 2C, ..., 5C channels from fine to coarse.

    One convolution follows each skip connection.

    Attributes
    ----------
    level_channels : of the features of all levels, coarsest first
    """

    def __init__(self, width: int, channels: Sequence[int] = LiteEncoder.channels) -> None:
        super().__init__()
        *skip_channels, in_channels = channels
        up, merge = [], []
        for level, skip in reversed(list(enumerate(skip_channels, start=1))):
            out_channels = level * width
            up.append(_decoder_convolution(in_channels, out_channels))
            merge.append(_decoder_convolution(out_channels + skip, out_channels))
            in_channels = out_channels
        self.up, self.merge = nn.ModuleList(up), nn.ModuleList(merge)
        self.level_channels = tuple(level * width for level in range(len(merge), 0, -1))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Encoder features (finest first) -> (B, C, H, W)."""
        return self.levels(features)[-1]

    def levels(self, features: list[Tensor]) -> list[Tensor]:
        """Encoder features (finest first) -> features of all levels, coarsest first."""
        *skips, x = features
        levels: list[Tensor] = []
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            # The convolution before the enlargement takes a quarter of the work.
            enlarged = functional.interpolate(up(x), scale_factor=2.0)
            # The encoder rounds odd sides up: remove the extra row and column.
            x = enlarged[..., : skip.shape[-2], : skip.shape[-1]]
            x = merge(torch.cat([x, skip], dim=1))
            levels.append(x)
        return levels


def _stage_blocks(in_channels: int, stage: _EncoderStage) -> nn.Sequential:
    blocks = [_InvertedResidual(in_channels, stage.stride, stage)]
    blocks += [_InvertedResidual(stage.channels, 1, stage) for _ in range(stage.blocks - 1)]
    return nn.Sequential(*blocks)


class _InvertedResidual(nn.Module):
    """Inverted residual block: expand the channels, filter each one, reduce the channels.

    The input is added to the result if both have the same shape.
    """

    def __init__(self, in_channels: int, stride: int, stage: _EncoderStage) -> None:
        super().__init__()
        expanded = in_channels * stage.expansion
        units = []
        if stage.expansion > 1:
            units.append(_convolution_unit(in_channels, expanded, kernel=1))
        units.append(
            _convolution_unit(
                expanded, expanded, kernel=stage.kernel, stride=stride, groups=expanded
            )
        )
        units.append(_convolution_unit(expanded, stage.channels, kernel=1, activation=False))
        self.units = nn.Sequential(*units)
        self.residual = stride == 1 and in_channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, ceil(h / stride), ceil(w / stride))."""
        result: Tensor = self.units(x)
        return x + result if self.residual else result


class _SamePaddedConvolution(nn.Conv2d):
    """Convolution with the padding of TensorFlow ("same").

    With a stride, the padding is larger at the right and at the bottom.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return self._convolve(x, kernel // 2)
        height, width = x.shape[2:]
        padding = (*_same_padding(width, kernel, stride), *_same_padding(height, kernel, stride))
        return self._convolve(functional.pad(x, padding), 0)

    def _convolve(self, x: Tensor, padding: int) -> Tensor:
        if self.groups > 1 and x.device.type == "cpu":
            # One filter per channel: on a CPU its gradient takes five times as long in bf16 as in
            # fp32.
            with torch.autocast("cpu", enabled=False):
                return functional.conv2d(
                    x.float(), self.weight, self.bias, self.stride, padding, 1, self.groups
                ).to(x.dtype)
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)


def _same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding of one axis before and after: the output has ceil(side / stride) pixels."""
    outputs = -(-side // stride)
    total = max((outputs - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _convolution_unit(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation, and ReLU6 if there is an activation."""
    layers: list[nn.Module] = [
        _SamePaddedConvolution(
            in_channels, out_channels, kernel, stride, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels, eps=1e-3),
    ]
    if activation:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


def _decoder_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
