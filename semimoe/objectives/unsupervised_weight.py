"""The weight of the unsupervised loss over the schedule (eq. 7)."""

import math

from semimoe.settings import TrainingOptions


def unsupervised_weight(progress: float, training: TrainingOptions) -> float:
    """Weight lambda_unsup(t) of eq. 7.

    Linear: unsup_max t / T. Gaussian: unsup_max exp(-5 (1 - t / T)^2).

    Parameters
    ----------
    progress : t / T, part of the schedule that is done, [0, 1]

    >>> unsupervised_weight(0.5, TrainingOptions(unsup_max=1.0))
    0.5
    """
    if training.unsup_schedule == "linear":
        return training.unsup_max * progress
    return training.unsup_max * math.exp(-5 * (1 - progress) ** 2)
