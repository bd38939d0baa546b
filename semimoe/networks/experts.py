"""The experts: U-Nets up to their last decoder feature (E_m of eq. 2).

B batch, C width, H, W sides (multiples of 16).
"""

import torch
from torch import Tensor, nn

from semimoe.networks.efficientnet import LightDecoder, LiteEncoder
from semimoe.settings import NetworkSettings

_LEVELS = 5


class Encoder(nn.Module):
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


class Decoder(nn.Module):
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


class SeparateExperts(nn.Module):
    """Networks that share nothing, one per expert."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(make_encoder(settings) for _ in settings.experts_of)
        self.decoders = nn.ModuleList(make_decoder(settings) for _ in settings.experts_of)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C, H, W) per expert."""
        return [
            decoder(encoder(x))
            for encoder, decoder in zip(self.encoders, self.decoders, strict=True)
        ]


class SharedExperts(nn.Module):
    """One encoder, a decoder per expert."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.encoder = make_encoder(settings)
        self.decoders = nn.ModuleList(make_decoder(settings) for _ in settings.experts_of)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C, H, W) per expert."""
        features = self.encoder(x)
        return [decoder(features) for decoder in self.decoders]


def make_encoder(settings: NetworkSettings) -> Encoder | LiteEncoder:
    """Contracting path of the settings, with random weights."""
    return Encoder(settings.width) if settings.encoder == "unet" else LiteEncoder()


def make_decoder(settings: NetworkSettings) -> Decoder | LightDecoder:
    """Expanding path that fits the encoder."""
    return Decoder(settings.width) if settings.encoder == "unet" else LightDecoder(settings.width)


def _block(before: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, size, 3, padding=1),
        nn.BatchNorm2d(size),
        nn.ReLU(inplace=True),
        nn.Conv2d(size, size, 3, padding=1),
        nn.BatchNorm2d(size),
        nn.ReLU(inplace=True),
    )
