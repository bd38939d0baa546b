"""Semi-MoE: one expert per task, one gate per task (eqs. 2, 3, 8, 9).

B batch, E experts, G gates, C width, K classes of a task, H, W sides (multiples of 16).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.networks.experts import SeparateExperts, SharedExperts
from semimoe.networks.gates import CodeGate, PaperGate
from semimoe.settings import STRIDE_PX, NetworkSettings

TASKS = ("seg", "sdf", "bnd")
CLASSES = {"seg": 2, "sdf": 1, "bnd": 2}
_GATE_HEAD_STD = 0.01


class Heads(NamedTuple):
    """Logits of the tasks: tanh of `sdf` is the signed distance, softmax of the others a probability. None: there is no such head."""

    seg: Tensor  # (B, 2, H, W)
    sdf: Tensor | None  # (B, 1, H, W)
    bnd: Tensor | None  # (B, 2, H, W)


class Outputs(NamedTuple):
    """What one forward pass gives; the gates' `seg` is the method's output."""

    experts: Heads
    gates: Heads
    gate_weights: Tensor | None  # (B, G, E), rows add up to 1; None: a network without gates


class SemiMoE(nn.Module):
    """Experts, gates and heads.

    Parameters
    ----------
    settings : what to build
    mean, std : of the images, per channel, in [0, 1]; part of the model, so that there is one way of preparing images
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)
    gate_of_channel: Tensor  # int64 (2 + 1 + 2,): which gate decides on an output channel

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        width, experts = settings.width, len(settings.expert_tasks)
        self.settings = settings
        self.features = (
            SeparateExperts(settings) if settings.experts == "separate" else SharedExperts(settings)
        )
        self.expert_heads = nn.ModuleList(
            nn.Conv2d(width, CLASSES[task], 1) for task in settings.expert_tasks
        )
        gate = PaperGate if settings.gate == "paper" else CodeGate
        self.gates = nn.ModuleList(
            gate(width, experts, settings.dropout) for _ in settings.gate_tasks
        )
        self.gate_heads = nn.ModuleList(
            nn.Conv2d(width, CLASSES[task], 1) for task in settings.gate_tasks
        )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        channels = torch.tensor(
            [
                number
                for number, task in enumerate(settings.gate_tasks)
                for _ in range(CLASSES[task])
            ]
        )
        self.register_buffer("gate_of_channel", channels, persistent=False)
        start_weights(self)
        if settings.gate_heads == "small":
            # The gates read a mixture that shifts while the experts settle: large first weights cost them a hundred steps of unlearning.
            for head in self.gate_heads:
                nn.init.normal_(head.get_parameter("weight"), std=_GATE_HEAD_STD)

    def forward(self, images: Tensor) -> Outputs:
        """Images uint8 (B, 3, H, W) -> logits of experts and gates."""
        features = self.features(normalised(images, self.mean, self.std))  # E x (B, C, H, W)
        experts = heads_of(
            self.settings.expert_tasks,
            [head(feature) for head, feature in zip(self.expert_heads, features, strict=True)],
        )
        pooled = torch.cat([feature.mean(dim=(2, 3)) for feature in features], dim=1)  # (B, E C)
        weights = torch.stack([gate(pooled) for gate in self.gates], dim=1)  # (B, G, E)
        return Outputs(experts, self._gate_outputs(features, weights), weights)

    def _gate_outputs(self, features: list[Tensor], weights: Tensor) -> Heads:
        """Eq. 9, G_m = Head_m(sum_i W_mi X_i), computed as sum_i W_mi Head_m(X_i).

        The head is linear and the weights add up to 1, so both are equal; this one reads each feature once for all tasks.
        """
        kernel = torch.cat(
            [head.get_parameter("weight") for head in self.gate_heads]
        )  # (2 + 1 + 2, C, 1, 1)
        bias = torch.cat([head.get_parameter("bias") for head in self.gate_heads])  # (5,)
        share = weights[:, self.gate_of_channel]  # (B, 5, E)
        mixed = sum(
            share[:, :, i, None, None] * functional.conv2d(feature, kernel)
            for i, feature in enumerate(features)
        )  # (B, 5, 1, 1) x (B, 5, H, W) -> (B, 5, H, W)
        return heads_of(
            self.settings.gate_tasks,
            torch.split(
                mixed + bias.view(1, -1, 1, 1),
                [CLASSES[task] for task in self.settings.gate_tasks],
                dim=1,
            ),
        )


def heads_of(tasks: Sequence[str], logits: Sequence[Tensor]) -> Heads:
    """Logits by the task they are of; the mask is always among them."""
    named = dict(zip(tasks, logits, strict=True))
    return Heads(named["seg"], named.get("sdf"), named.get("bnd"))


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images uint8 (B, 3, H, W) as every network takes them: float32, channels last.

    Raises
    ------
    ValueError
        Another type or shape.
    """
    if (
        images.dtype != torch.uint8
        or images.ndim != 4
        or images.shape[1] != 3
        or any(side % STRIDE_PX for side in images.shape[2:])
    ):
        raise ValueError(
            f"images {images.dtype} {tuple(images.shape)}; uint8 (B, 3, H, W) with sides that divide by {STRIDE_PX} is needed"
        )
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def start_weights(model: nn.Module) -> None:
    """Kaiming-normal kernels and zero biases of all convolutions."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, those of frozen stages too."""
    return sum(parameter.numel() for parameter in model.parameters())
