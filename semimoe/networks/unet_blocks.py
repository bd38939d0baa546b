"""The contracting and the expanding path of a U-Net (Ronneberger 2015, arXiv 1505.04597).

B batch, C width, H, W sides (multiples of 16).
"""

import torch
from torch import Tensor, nn

_LEVELS = 5


def make_encoder(width: int) -> "UNetEncoder":
    """Contracting path with random weights."""
    return UNetEncoder(width)


def make_decoder(width: int) -> "UNetDecoder":
    """Expanding path for that encoder."""
    return UNetDecoder(width)


class UNetEncoder(nn.Module):
    """Contracting path: C, 2C, 4C, 8C, 16C channels, four max-pools."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width * 2**level for level in range(_LEVELS)]
        self.levels = nn.ModuleList(
            _block(before, size) for before, size in zip([3, *sizes[:-1]], sizes, strict=True)
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
    """Expanding path with skip connections; the last feature has C channels at full resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width * 2**level for level in reversed(range(_LEVELS - 1))]
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                nn.Conv2d(2 * size, size, 3, padding=1),
                nn.BatchNorm2d(size),
                nn.ReLU(inplace=True),
            )
            for size in sizes
        )
        self.merge = nn.ModuleList(_block(2 * size, size) for size in sizes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Encoder features (finest first) -> (B, C, H, W)."""
        *skips, x = features
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return x


def _block(before: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, size, 3, padding=1),
        nn.BatchNorm2d(size),
        nn.ReLU(inplace=True),
        nn.Conv2d(size, size, 3, padding=1),
        nn.BatchNorm2d(size),
        nn.ReLU(inplace=True),
    )
