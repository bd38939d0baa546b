"""EfficientNet-Lite as an encoder pretrained on ImageNet, and a light decoder for it.

Tan and Le 2019 (arXiv 1905.11946). The Lite variants use ReLU6 and no squeeze-and-excitation.
EfficientNet-Lite0 is described here, a larger one in a file of its own. A few outlined images are
not enough to learn edges and textures from random weights; the pretrained weights already detect
them.

B batch, C width, H, W sides (multiples of 16), h, w sides of any feature.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.model_errors import ModelError
from semimoe.networks.cpu_operations import Rectifier, enlarge_and_join
from tiling.raster.atomic_files import file_checksum

_STEM_CHANNELS = 32


class EncoderStage(NamedTuple):
    """Consecutive blocks with the same output size."""

    blocks: int
    kernel: int
    stride: int  # of the first block; the others have stride 1
    expansion: int
    channels: int
    is_skip: bool  # the last stage of its resolution: its output goes to the decoder


class LiteVariant(NamedTuple):
    """One of the EfficientNet-Lite networks, without its last stage and the classifier.

    Attributes
    ----------
    name : also of the file of its weights
    sha256 : checksum of that file
    """

    name: str
    sha256: str
    stages: tuple[EncoderStage, ...]

    @property
    def weights(self) -> Path:
        """File of the pretrained weights."""
        return Path(__file__).parent / "imagenet" / f"{self.name}.safetensors"

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the images and of the features that the encoder returns."""
        return (3, *(stage.channels for stage in self.stages if stage.is_skip))


# Table 1 of the paper without the last stage (320 channels) and the classifier.
LITE0 = LiteVariant(
    "efficientnet-lite0",
    "5e92801669c8785f4965c5863f3ccb8a02035d693c3bb348709aece5d2fb6d1f",
    (
        EncoderStage(1, 3, 1, 1, 16, True),
        EncoderStage(2, 3, 2, 6, 24, True),
        EncoderStage(2, 5, 2, 6, 40, True),
        EncoderStage(3, 3, 2, 6, 80, False),
        EncoderStage(3, 5, 1, 6, 112, True),
        EncoderStage(4, 5, 2, 6, 192, True),
    ),
)


def make_encoder(width: int) -> "LiteEncoder":
    """Build the encoder with random weights; its channels do not depend on `width`."""
    return LiteEncoder(LITE0)


def make_decoder(width: int) -> "LightDecoder":
    """Build the decoder that fits the encoder."""
    return LightDecoder(width, LITE0.channels)


class LiteEncoder(nn.Module):
    """Stem and stages of an EfficientNet-Lite down to 1/32 of the resolution."""

    def __init__(self, variant: LiteVariant) -> None:
        super().__init__()
        self.variant = variant
        self.stem = _convolution_unit(3, _STEM_CHANNELS, kernel=3, stride=2)
        stages, in_channels = [], _STEM_CHANNELS
        for stage in variant.stages:
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
        for stage, module in zip(self.variant.stages, self.stages, strict=True):
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

    def load_pretrained(self, path: Path | None = None) -> None:
        """Load pretrained weights: those of the variant, or from another file.

        Raises
        ------
        ModelError
            The file is missing or damaged, or holds the weights of another network.
        """
        from semimoe.tensor_files import load_tensors

        path = path or self.variant.weights
        if not path.is_file():
            raise ModelError(
                f"{path}: the pretrained weights of the encoder are missing;"
                " fetch the folder again, or set network.encoder: unet"
            )
        if path == self.variant.weights and file_checksum(path) != self.variant.sha256:
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

    Parameters
    ----------
    channels : of the features of the encoder, finest first

    Attributes
    ----------
    level_channels : of the features of all levels, coarsest first
    """

    def __init__(self, width: int, channels: Sequence[int]) -> None:
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
            x = merge(enlarge_and_join(up(x), skip))
            levels.append(x)
        return levels


def _stage_blocks(in_channels: int, stage: EncoderStage) -> nn.Sequential:
    blocks = [_InvertedResidual(in_channels, stage.stride, stage)]
    blocks += [_InvertedResidual(stage.channels, 1, stage) for _ in range(stage.blocks - 1)]
    return nn.Sequential(*blocks)


class _InvertedResidual(nn.Module):
    """Inverted residual block: expand the channels, filter each one, reduce the channels.

    The input is added to the result if both have the same shape.
    """

    def __init__(self, in_channels: int, stride: int, stage: EncoderStage) -> None:
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
        layers.append(Rectifier(6.0))
    return nn.Sequential(*layers)


def _decoder_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        Rectifier(),
    )
