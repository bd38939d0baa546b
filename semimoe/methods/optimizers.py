"""Optimisers of the networks, and of the log-scales of the adaptive loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from semimoe.networks.pretrained import pretrained_encoders
from semimoe.objectives.losses import AdaptiveLoss, SumLoss
from semimoe.settings import TrainingOptions

LOSS_SCALES = "s"
_MOMENTUM = 0.9


def make_optimizers(
    networks: Sequence[nn.Module],
    aggregate: AdaptiveLoss | SumLoss,
    training: TrainingOptions,
    *,
    lr: float,
) -> dict[str, torch.optim.Optimizer]:
    """Optimisers by name: `network` for all networks, and `s` if the loss has scales to learn.

    Parameters
    ----------
    lr : peak learning rate; that of pretrained encoders is `training.encoder_lr` times `lr`
    """
    groups = _parameter_groups(networks, lr=lr, encoder_lr=lr * training.encoder_lr)
    if training.optimizer == "sgd":
        network: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=lr, momentum=_MOMENTUM, weight_decay=training.weight_decay, fused=True
        )
    else:
        network = torch.optim.AdamW(groups, lr=lr, weight_decay=training.weight_decay, fused=True)
    optimizers = {"network": network}
    if isinstance(aggregate, AdaptiveLoss):
        optimizers[LOSS_SCALES] = torch.optim.Adam(
            aggregate.parameters(),
            lr=training.amol_lr,
            weight_decay=training.amol_weight_decay,
            fused=True,
        )
    return optimizers


def _parameter_groups(
    networks: Sequence[nn.Module], *, lr: float, encoder_lr: float
) -> list[dict[str, Any]]:
    """Parameters in one group for each learning rate: pretrained encoders have a lower one."""
    pretrained = {
        parameter
        for network in networks
        for encoder in pretrained_encoders(network)
        for parameter in encoder.parameters()
    }
    parameters = [parameter for network in networks for parameter in network.parameters()]
    new = [parameter for parameter in parameters if parameter not in pretrained]
    groups: list[dict[str, Any]] = [{"params": new, "lr": lr, "initial_lr": lr}]
    if pretrained:
        # A list, because the order of a set is not fixed.
        old = [parameter for parameter in parameters if parameter in pretrained]
        groups.append({"params": old, "lr": encoder_lr, "initial_lr": encoder_lr})
    return groups
