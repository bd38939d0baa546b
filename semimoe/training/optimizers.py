"""Optimisers of experts and gates, and of the log-scales of the adaptive loss."""

from typing import Any

import torch
from torch import nn

from semimoe.networks.efficientnet import LiteEncoder
from semimoe.objectives.losses import AdaptiveLoss, SumLoss
from semimoe.settings import TrainingSettings

_MOMENTUM = 0.9


def make_optimizers(
    net: nn.Module, aggregate: AdaptiveLoss | SumLoss, training: TrainingSettings, lr: float
) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name: `network`, and `s` where the loss has scales to learn."""
    groups = _groups(net, lr=lr, encoder_lr=lr * training.encoder_lr)
    if training.optimizer == "sgd":
        network: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=lr, momentum=_MOMENTUM, weight_decay=training.weight_decay
        )
    else:
        network = torch.optim.AdamW(groups, lr=lr, weight_decay=training.weight_decay)
    optimizers = {"network": network}
    if isinstance(aggregate, AdaptiveLoss):
        optimizers["s"] = torch.optim.Adam(
            aggregate.parameters(), lr=training.amol_lr, weight_decay=training.amol_weight_decay
        )
    return optimizers


def _groups(net: nn.Module, *, lr: float, encoder_lr: float) -> list[dict[str, Any]]:
    """Parameters by learning rate: those of encoders that know something already change less."""
    known = {
        p
        for module in net.modules()
        if isinstance(module, LiteEncoder)
        for p in module.parameters()
    }
    new = [p for p in net.parameters() if p not in known]
    groups: list[dict[str, Any]] = [{"params": new, "lr": lr, "initial_lr": lr}]
    return (
        [
            *groups,
            {
                "params": [p for p in net.parameters() if p in known],
                "lr": encoder_lr,
                "initial_lr": encoder_lr,
            },
        ]
        if known
        else groups
    )
