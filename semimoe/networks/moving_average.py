"""Exponential moving average of the weights of a network."""

import torch
from torch import nn


def update_moving_average(average: nn.Module, latest: nn.Module, *, decay: float) -> None:
    """Set weights and statistics to decay x average + (1 - decay) x latest, in place.

    Counters are copied.

    Parameters
    ----------
    average, latest : networks of the same structure
    """
    new = latest.state_dict()
    means, latest_values = [], []
    with torch.no_grad():
        for name, tensor in average.state_dict().items():
            if tensor.is_floating_point():
                means.append(tensor)
                latest_values.append(new[name])
            else:
                tensor.copy_(new[name])
        torch._foreach_lerp_(means, latest_values, 1 - decay)  # in few GPU operations
