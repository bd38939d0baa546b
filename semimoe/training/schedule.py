"""How many steps, and at which learning rate."""

import math

from semimoe.settings import TrainingSettings

_WARM_UP_EPOCHS = 20
_HALVED_EVERY = 50


def steps_per_epoch(labelled: int, unlabelled: int, training: TrainingSettings) -> int:
    """Optimiser steps of an epoch: as set, or one pass over the larger of the two lists, bounded.

    >>> steps_per_epoch(3, 33, TrainingSettings(batch=8)), steps_per_epoch(3, 0, TrainingSettings(batch=8, steps_per_epoch=7))
    (5, 7)
    """
    if training.steps_per_epoch is not None:
        return training.steps_per_epoch
    return min(math.ceil(max(labelled, unlabelled) / training.batch), training.max_steps_per_epoch)


def lr_factor(epoch: float, training: TrainingSettings) -> float:
    """Learning rate over its peak.

    Parameters
    ----------
    epoch : epochs done, with their fraction
    """
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(epoch / training.epochs, 1)))
    if epoch < _WARM_UP_EPOCHS:
        return (math.floor(epoch) + 1) / _WARM_UP_EPOCHS
    return float(0.5 ** ((epoch - _WARM_UP_EPOCHS) // _HALVED_EVERY))
