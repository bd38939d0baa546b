"""Prevent updates of the running statistics of batch normalisation."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def keep_running_statistics(network: nn.Module) -> Iterator[None]:
    """Run forward passes in training mode that do not update the running statistics.

    Unlabelled tiles show structures without labels (glass, fat, blood). If they updated the
    running statistics, the network at test time would differ from the one that the supervised loss
    trained.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def freeze_running_statistics(network: nn.Module) -> None:
    """Normalise with the running statistics and never update them, until the next `train()`."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
