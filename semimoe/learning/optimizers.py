"""Optimisers of experts and gates, and of the log-scales of the adaptive loss."""

import torch
from torch import nn

from semimoe.learning.losses import AdaptiveLoss, SumLoss
from semimoe.settings import TrainingSettings

_MOMENTUM = 0.9


def make_optimizers(
    net: nn.Module, aggregate: AdaptiveLoss | SumLoss, training: TrainingSettings, lr: float
) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name: `network`, and `s` where the loss has scales to learn."""
    if training.optimizer == "sgd":
        network: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=_MOMENTUM, weight_decay=training.weight_decay)
    else:
        network = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=training.weight_decay)
    optimizers = {"network": network}
    if isinstance(aggregate, AdaptiveLoss):
        optimizers["s"] = torch.optim.Adam(aggregate.parameters(), lr=training.amol_lr, weight_decay=training.amol_weight_decay)
    return optimizers
