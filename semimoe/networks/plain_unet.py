"""A plain U-Net that predicts all tasks: the baseline without experts, gates or pseudo-labels.

B batch, C width, H, W sides (multiples of 16).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semimoe.networks.experts import make_decoder, make_encoder
from semimoe.networks.mixture import (
    NetworkOutputs,
    initialise_weights,
    logits_by_task,
    normalise_images,
)
from semimoe.settings import NetworkSettings


class UNet(nn.Module):
    """One expert of Semi-MoE, with a last convolution ("head") for each task.

    Parameters
    ----------
    settings : of the network; those of experts and gates have no effect
    mean, std : as of `SemiMoE`
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = make_encoder(settings), make_decoder(settings)
        self.heads = nn.ModuleList(
            nn.Conv2d(settings.width, settings.channels(task), 1) for task in settings.expert_tasks
        )
        self.settings = settings
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        initialise_weights(self)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Images uint8 (B, 3, H, W) -> logits, the same ones as `experts` and as `gates`."""
        return self.outputs(self.decoder(self.encode(images)))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Images uint8 (B, 3, H, W) -> features of the encoder, finest first."""
        features: list[Tensor] = self.encoder(normalise_images(images, self.mean, self.std))
        return features

    def outputs(self, feature: Tensor) -> NetworkOutputs:
        """Feature of the decoder (B, C, H, W) -> logits."""
        tasks = self.settings.expert_tasks
        logits = logits_by_task(tasks, [head(feature) for head in self.heads])
        return NetworkOutputs(logits, logits, None)
