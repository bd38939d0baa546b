"""Semi-MoE: one expert and one gate for each task (eqs. 2, 3, 8, 9).

B batch, E experts, G gates, C width, K output channels of all gates, H, W sides (multiples of 16).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.networks.cpu_operations import pixels_of, products, with_mean
from semimoe.networks.experts import SeparateExperts, SharedExperts
from semimoe.networks.gates import PaperGate, PublicCodeGate
from semimoe.settings import STRIDE_PX, NetworkSettings

TASKS = ("seg", "sdf", "bnd")
_GATE_HEAD_STD = 0.01


class TaskLogits(NamedTuple):
    """Logits of each task; None if the network does not predict it.

    `signed_distance` of `sdf` is the distance; softmax of the other ones is a probability.
    """

    seg: Tensor  # (B, 2, H, W)
    sdf: Tensor | None  # (B, 1 or bins, H, W)
    bnd: Tensor | None  # (B, 2, H, W)


class NetworkOutputs(NamedTuple):
    """Result of one forward pass; `seg` of the gates is the predicted mask."""

    experts: TaskLogits
    gates: TaskLogits
    # (B, G, E), means over the pixels, the sum of each row is 1; None: without gates
    gate_weights: Tensor | None


class SemiMoE(nn.Module):
    """Experts, gates, and a last convolution ("head") for each of them.

    Parameters
    ----------
    settings : of the network
    mean, std : of the images, per channel, in [0, 1]; saved with the weights, so that images are
        always normalised as in training
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)
    gate_indices: Tensor  # int64 (K,): index of the gate of each output channel

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
            nn.Conv2d(width, settings.channels(task), 1) for task in settings.expert_tasks
        )
        gate = PaperGate if settings.gate == "paper" else PublicCodeGate
        self.gates = nn.ModuleList(
            gate(width, experts, settings.dropout) for _ in settings.gate_tasks
        )
        self.gate_heads = nn.ModuleList(
            nn.Conv2d(width, settings.channels(task), 1) for task in settings.gate_tasks
        )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        gate_indices: list[int] = []
        for index, task in enumerate(settings.gate_tasks):
            gate_indices += [index] * settings.channels(task)
        self.register_buffer("gate_indices", torch.tensor(gate_indices), persistent=False)
        initialise_weights(self)
        if settings.gate_heads == "small":
            # The input of the gates changes quickly while the experts begin to learn. Large initial
            # weights then need about a hundred steps to be corrected.
            for head in self.gate_heads:
                nn.init.normal_(head.get_parameter("weight"), std=_GATE_HEAD_STD)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Images uint8 (B, 3, H, W) -> logits of experts and gates."""
        x = normalise_images(images, self.mean, self.std)
        features = self.features(x)  # E x (B, C, H, W)
        if (
            self.settings.gate_pooling == "tile"
            and x.device.type == "cpu"
            and torch.is_grad_enabled()
        ):
            return self._outputs_by_products(features)
        experts = logits_by_task(
            self.settings.expert_tasks,
            [head(feature) for head, feature in zip(self.expert_heads, features, strict=True)],
        )
        weights = self._gate_weights(features)
        return NetworkOutputs(experts, self._gate_logits(features, weights), weights.mean((3, 4)))

    def _outputs_by_products(self, features: list[Tensor]) -> NetworkOutputs:
        """The same outputs, by one product of each feature for the heads of its expert and gates.

        For training on a CPU: with several operations on a feature, most time goes into the sum of
        their gradients.
        """
        images, _, height, width = features[0].shape
        pixels, means = zip(*(with_mean(pixels_of(feature)) for feature in features), strict=True)
        pooled = torch.cat(means, dim=1)
        weights = torch.stack([gate(pooled) for gate in self.gates], dim=1)  # (B, G, E)
        kernel, bias = _joined_heads(self.gate_heads)
        gate_kernels = weights[:, self.gate_indices, :, None].float() * kernel[:, None]  # (B,K,E,C)
        experts, gate_parts = [], []
        for i, head in enumerate(self.expert_heads):
            expert_kernel, expert_bias = _joined_heads([head])
            matrices = torch.cat([expert_kernel.expand(images, -1, -1), gate_kernels[:, :, i]], 1)
            with torch.autocast(pixels[i].device.type, enabled=False):
                planes = products(pixels[i], matrices.to(pixels[i].dtype))
            of_expert, of_gates = torch.split(planes, [len(expert_kernel), len(kernel)], 1)
            experts.append((of_expert + expert_bias[:, None]).view(images, -1, height, width))
            gate_parts.append(of_gates)
        mixed = (sum(gate_parts) + bias[:, None]).view(images, -1, height, width)
        return NetworkOutputs(
            logits_by_task(self.settings.expert_tasks, experts), self._by_gate(mixed), weights
        )

    def _by_gate(self, logits: Tensor) -> TaskLogits:
        """Logits of all gates (B, K, H, W) by their tasks."""
        tasks = self.settings.gate_tasks
        sizes = [self.settings.channels(task) for task in tasks]
        return logits_by_task(tasks, torch.split(logits, sizes, 1))

    def _gate_weights(self, features: list[Tensor]) -> Tensor:
        """Eq. 8: weights (B, G, E, 1, 1) of the tile, or (B, G, E, H, W) of each pixel."""
        if self.settings.gate_pooling == "tile":
            pooled = torch.cat([feature.mean(dim=(2, 3)) for feature in features], dim=1)
            return torch.stack([gate(pooled) for gate in self.gates], dim=1)[..., None, None]
        pixels = torch.cat(features, dim=1).movedim(1, -1)  # (B, H, W, E C)
        weights = torch.stack([gate(pixels) for gate in self.gates], dim=1)  # (B, G, H, W, E)
        return weights.movedim(-1, 2)

    def _gate_logits(self, features: list[Tensor], weights: Tensor) -> TaskLogits:
        """Eq. 9, G_m = Head_m(sum_i W_mi X_i), computed as sum_i W_mi Head_m(X_i).

        Both are equal, because the head is linear and the sum of the weights is 1. The second form
        reads each feature once for all tasks.
        """
        kernel, bias = _joined_heads(self.gate_heads)
        expert_weights = weights[:, self.gate_indices]  # (B, K, E, 1, 1) or (B, K, E, H, W)
        mixed = sum(
            expert_weights[:, :, i] * functional.conv2d(feature, kernel[..., None, None])
            for i, feature in enumerate(features)
        )  # (B, K, H, W)
        return self._by_gate(mixed + bias.view(1, -1, 1, 1))


def _joined_heads(heads: Iterable[nn.Module]) -> tuple[Tensor, Tensor]:
    """Kernels (K, C) and biases (K,) of all heads, which are 1 x 1 convolutions."""
    kernel = torch.cat([head.get_parameter("weight") for head in heads]).flatten(1)
    return kernel, torch.cat([head.get_parameter("bias") for head in heads])


def logits_by_task(tasks: Sequence[str], logits: Sequence[Tensor]) -> TaskLogits:
    """Assign logits to their tasks; the mask (`seg`) is always one of them."""
    by_task = dict(zip(tasks, logits, strict=True))
    return TaskLogits(by_task["seg"], by_task.get("sdf"), by_task.get("bnd"))


def signed_distance(logits: Tensor) -> Tensor:
    """Logits of the sdf task -> signed distance float32 (B, 1, H, W) in [-1, 1].

    tanh of one channel, or the mean of evenly spaced values from -1 to 1 under the softmax of
    several channels.
    """
    if logits.shape[1] == 1:
        return torch.tanh(logits.float())
    values = torch.linspace(-1, 1, logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    return (torch.softmax(logits.float(), 1) * values).sum(1, keepdim=True)


def normalise_images(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images uint8 (B, 3, H, W) -> float32 (B, 3, H, W), normalised, in channels-last memory.

    Raises
    ------
    ValueError
        The images have another data type or shape.
    """
    if (
        images.dtype != torch.uint8
        or images.ndim != 4
        or images.shape[1] != 3
        or any(side % STRIDE_PX for side in images.shape[2:])
    ):
        raise ValueError(
            f"images {images.dtype} {tuple(images.shape)}; uint8 (B, 3, H, W) is needed,"
            f" with sides that are multiples of {STRIDE_PX}"
        )
    return ((images / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def initialise_weights(model: nn.Module) -> None:
    """Set Kaiming-normal kernels and zero biases in all convolutions."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, including those of frozen stages."""
    return sum(parameter.numel() for parameter in model.parameters())
