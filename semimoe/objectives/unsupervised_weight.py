"""The weight of the unsupervised loss over the schedule (eq. 7)."""

import torch
from torch import Tensor

from semimoe.settings import TrainingOptions

_RAMP = 0.1  # part of the schedule


def unsupervised_weight(progress: Tensor, training: TrainingOptions) -> Tensor:
    """Weight lambda_unsup(t) of eq. 7, a scalar.

    Linear: unsup_max t / T. Gaussian: unsup_max exp(-5 (1 - t / T)^2). Ramp: unsup_max
    min(10 t / T, 1).

    Parameters
    ----------
    progress : scalar, t / T, part of the schedule that is done, [0, 1]

    >>> float(unsupervised_weight(torch.tensor(0.5), TrainingOptions(unsup_max=1.0)))
    0.5
    """
    if training.unsup_schedule == "linear":
        return training.unsup_max * progress
    if training.unsup_schedule == "ramp":
        return training.unsup_max * (progress / _RAMP).clamp(max=1)
    return training.unsup_max * torch.exp(-5 * (1 - progress) ** 2)
