"""Exponential moving average of the weights of a network."""

from itertools import chain

import torch
from torch import Tensor, nn


def update_moving_average(average: nn.Module, latest: nn.Module, *, decay: float) -> None:
    """Set weights and statistics to decay x average + (1 - decay) x latest, in place.

    Counters are copied.

    Parameters
    ----------
    average, latest : networks of the same structure
    """
    means, latest_values, counters, latest_counters = [], [], [], []
    with torch.no_grad():
        for tensor, new in zip(_tensors(average), _tensors(latest), strict=True):
            if tensor.is_floating_point():
                means.append(tensor)
                latest_values.append(new)
            else:
                counters.append(tensor)
                latest_counters.append(new)
        # In few GPU operations.
        torch._foreach_lerp_(means, latest_values, 1 - decay)
        if counters:
            torch._foreach_copy_(counters, latest_counters)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers of all modules; `state_dict` takes three times as long."""
    return [
        tensor
        for module in network.modules()
        for tensor in chain(module._parameters.values(), module._buffers.values())
        if tensor is not None
    ]
