"""Encoder and decoder of a U-Net (Ronneberger 2015, arXiv 1505.04597).

B batch, C width, H, W sides (multiples of 16).
"""

import torch
from torch import Tensor, nn

from semimoe.networks.cpu_operations import Rectifier

_LEVELS = 5


def make_encoder(width: int) -> "UNetEncoder":
    """Build the encoder with random weights."""
    return UNetEncoder(width)


def make_decoder(width: int) -> "UNetDecoder":
    """Build the decoder that fits `UNetEncoder`."""
    return UNetDecoder(width)


class UNetEncoder(nn.Module):
    """Encoder with C, 2C, 4C, 8C, 16C channels and four max-poolings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(_LEVELS)]
        in_sizes = [3, *sizes[:-1]]
        self.levels = nn.ModuleList(
            _two_convolutions(in_size, size) for in_size, size in zip(in_sizes, sizes, strict=True)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of all levels, finest first."""
        features: list[Tensor] = []  # level l: (B, C 2^l, H / 2^l, W / 2^l)
        for level in self.levels:
            x = level(self.pool(x) if features else x)
            features.append(x)
        return features


class UNetDecoder(nn.Module):
    """Decoder with skip connections; its last feature has C channels at full resolution.

    Attributes
    ----------
    level_channels : of the features of all levels, coarsest first
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width * 2**level for level in reversed(range(_LEVELS - 1))]
        self.level_channels = tuple(sizes)
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                nn.Conv2d(2 * size, size, 3, padding=1),
                nn.BatchNorm2d(size),
                Rectifier(),
            )
            for size in sizes
        )
        self.merge = nn.ModuleList(_two_convolutions(2 * size, size) for size in sizes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Encoder features (finest first) -> (B, C, H, W)."""
        return self.levels(features)[-1]

    def levels(self, features: list[Tensor]) -> list[Tensor]:
        """Encoder features (finest first) -> features of all levels, coarsest first."""
        *skips, x = features
        levels: list[Tensor] = []
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
            levels.append(x)
        return levels


def _two_convolutions(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        Rectifier(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        Rectifier(),
    )
