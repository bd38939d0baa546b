"""EfficientNet-Lite0 as an encoder whose first weights know ImageNet, and a light decoder for it.

Tan and Le 2019 (arXiv 1905.11946); Lite: ReLU6, no squeeze-and-excitation. A few outlined images are too few to learn what edges and
textures are: here they only have to say what a gland is.

B batch, C width, H, W sides (multiples of 16).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.model_errors import ModelError

IMAGENET_WEIGHTS = Path(__file__).parent / "imagenet" / "efficientnet-lite0.safetensors"
_STEM = 32


class _Stage(NamedTuple):
    """Blocks of one shape; the first one has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    skip: bool  # its output is the last one of its resolution


# Table 1 of the paper without the last stage (320 channels) and the classifier.
_STAGES = (
    _Stage(1, 3, 1, 1, 16, True),
    _Stage(2, 3, 2, 6, 24, True),
    _Stage(2, 5, 2, 6, 40, True),
    _Stage(3, 3, 2, 6, 80, False),
    _Stage(3, 5, 1, 6, 112, True),
    _Stage(4, 5, 2, 6, 192, True),
)


def make_encoder(width: int) -> "LiteEncoder":
    """Contracting path with random weights; its channels do not depend on `width`."""
    return LiteEncoder()


def make_decoder(width: int) -> "LightDecoder":
    """Expanding path for that encoder."""
    return LightDecoder(width)


class LiteEncoder(nn.Module):
    """The stages up to a 32nd of the resolution."""

    channels = (3, *(stage.channels for stage in _STAGES if stage.skip))

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, _STEM, kernel=3, stride=2)
        stages, before = [], _STEM
        for stage in _STAGES:
            strides = [stage.stride, *[1] * (stage.blocks - 1)]
            inputs = [before, *[stage.channels] * (stage.blocks - 1)]
            stages.append(
                nn.Sequential(
                    *(
                        _Block(size, stride, stage)
                        for size, stride in zip(inputs, strides, strict=True)
                    )
                )
            )
            before = stage.channels
        self.stages = nn.ModuleList(stages)
        self._frozen: list[nn.Module] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> the images, and the features at 1/2, 1/4, .. 1/32 of their sides, rounded up."""
        features = [x]
        x = self.stem(x)
        for stage, module in zip(_STAGES, self.stages, strict=True):
            x = module(x)
            if stage.skip:
                features.append(x)
        return features

    def freeze(self, stages: int) -> None:
        """Leave the stem and the first stages as they are, running statistics included: no gradient goes through them."""
        self._frozen = [self.stem, *self.stages[:stages]] if stages else []
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "LiteEncoder":
        """What is frozen predicts as it would in use."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def load_pretrained(self, path: Path = IMAGENET_WEIGHTS) -> None:
        """Take the first weights from a file.

        Raises
        ------
        ModelError
            It is missing, damaged or of another network.
        """
        from semimoe.tensor_files import load_tensors

        if not path.is_file():
            raise ModelError(
                f"{path}: the first weights of the encoder are missing; fetch the folder anew, or set network.encoder: unet"
            )
        try:
            self.load_state_dict(load_tensors(path)[0])
        except RuntimeError as error:
            raise ModelError(
                f"{path}: not the weights of this encoder ({str(error).splitlines()[0]}); fetch the file anew"
            ) from error


class LightDecoder(nn.Module):
    """Expanding path: C, 2C, .. 5C channels from fine to coarse, one convolution after each skip connection."""

    def __init__(self, width: int, channels: Sequence[int] = LiteEncoder.channels) -> None:
        super().__init__()
        *skips, below = channels
        up, merge = [], []
        for level, skip in reversed(list(enumerate(skips, start=1))):
            size = level * width
            up.append(_convolution(below, size))
            merge.append(_convolution(size + skip, size))
            below = size
        self.up, self.merge = nn.ModuleList(up), nn.ModuleList(merge)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Encoder features (finest first) -> (B, C, H, W)."""
        *skips, x = features
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            # Convolved before it is enlarged: a quarter of the work. Sides that do not halve evenly were rounded up.
            x = functional.interpolate(up(x), scale_factor=2.0)[
                ..., : skip.shape[-2], : skip.shape[-1]
            ]
            x = merge(torch.cat([x, skip], dim=1))
        return x


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow; added to its input where both have one shape."""

    def __init__(self, before: int, stride: int, stage: _Stage) -> None:
        super().__init__()
        wide = before * stage.expansion
        units = [_unit(before, wide, kernel=1)] if stage.expansion > 1 else []
        units.append(_unit(wide, wide, kernel=stage.kernel, stride=stride, groups=wide))
        self.units = nn.Sequential(*units, _unit(wide, stage.channels, kernel=1, active=False))
        self.residual = stride == 1 and before == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, h, w) -> (B, channels, h / stride, w / stride)."""
        made: Tensor = self.units(x)
        return x + made if self.residual else made


class _Convolution(nn.Conv2d):
    """Padded as TensorFlow pads ("same"): with a stride, more to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return self._convolved(x, kernel // 2)
        short = [
            max((-(-side // stride) - 1) * stride + kernel - side, 0)
            for side in (x.shape[3], x.shape[2])
        ]
        return self._convolved(
            functional.pad(x, [part for gap in short for part in (gap // 2, gap - gap // 2)]), 0
        )

    def _convolved(self, x: Tensor, padding: int) -> Tensor:
        if self.groups > 1 and x.device.type == "cpu":
            # One filter per channel has little to add up; its gradient in bf16 takes a CPU five times as long as in fp32.
            with torch.autocast("cpu", enabled=False):
                return functional.conv2d(
                    x.float(), self.weight, None, self.stride, padding, 1, self.groups
                ).to(x.dtype)
        return functional.conv2d(x, self.weight, None, self.stride, padding, 1, self.groups)


def _unit(
    before: int, size: int, *, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    parts: list[nn.Module] = [
        _Convolution(before, size, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(size, eps=1e-3),
    ]
    return nn.Sequential(*parts, *([nn.ReLU6(inplace=True)] if active else []))


def _convolution(before: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, size, 3, padding=1, bias=False),
        nn.BatchNorm2d(size),
        nn.ReLU(inplace=True),
    )
