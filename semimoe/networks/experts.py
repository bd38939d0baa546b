"""The experts: networks without their last convolution (E_m of eq. 2).

B batch, C width, H, W sides (multiples of 16).
"""

from torch import Tensor, nn

from semimoe.encoders import ENCODERS
from semimoe.settings import NetworkSettings


class SeparateExperts(nn.Module):
    """An encoder and a decoder for each expert."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(make_encoder(settings) for _ in settings.expert_tasks)
        self.decoders = nn.ModuleList(make_decoder(settings) for _ in settings.expert_tasks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C, H, W) per expert."""
        return [
            decoder(encoder(x))
            for encoder, decoder in zip(self.encoders, self.decoders, strict=True)
        ]


class SharedExperts(nn.Module):
    """One encoder for all experts, and a decoder for each."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.encoder = make_encoder(settings)
        self.decoders = nn.ModuleList(make_decoder(settings) for _ in settings.expert_tasks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C, H, W) per expert."""
        features = self.encoder(x)
        return [decoder(features) for decoder in self.decoders]


def make_encoder(settings: NetworkSettings) -> nn.Module:
    """Build the encoder of the settings, with random weights."""
    return ENCODERS[settings.encoder].load_module().make_encoder(settings.width)


def make_decoder(settings: NetworkSettings) -> nn.Module:
    """Build the decoder that fits the encoder of the settings."""
    return ENCODERS[settings.encoder].load_module().make_decoder(settings.width)
