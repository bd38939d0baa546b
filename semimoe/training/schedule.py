"""Number of steps per epoch, and the learning rate over the epochs."""

import math

from semimoe.settings import TrainingSettings

_WARM_UP_EPOCHS = 20
_HALVING_EPOCHS = 50


def steps_per_epoch(labelled: int, unlabelled: int, training: TrainingSettings) -> int:
    """Optimiser steps of an epoch.

    The setting `steps_per_epoch`; if it is None, one pass over the larger set of tiles, but at most
    `max_steps_per_epoch`.

    Parameters
    ----------
    labelled, unlabelled : number of tiles

    >>> steps_per_epoch(3, 33, TrainingSettings(batch=8))
    5
    >>> steps_per_epoch(3, 0, TrainingSettings(batch=8, steps_per_epoch=7))
    7
    """
    if training.steps_per_epoch is not None:
        return training.steps_per_epoch
    return min(math.ceil(max(labelled, unlabelled) / training.batch), training.max_steps_per_epoch)


def lr_factor(epoch: float, training: TrainingSettings) -> float:
    """Learning rate divided by the peak learning rate, [0, 1].

    Cosine: it falls from 1 to 0. Halving: it grows over 20 epochs, then halves every 50 epochs.

    Parameters
    ----------
    epoch : epochs that are done, with the fraction of the current one
    """
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(epoch / training.epochs, 1)))
    if epoch < _WARM_UP_EPOCHS:
        return (math.floor(epoch) + 1) / _WARM_UP_EPOCHS
    return float(0.5 ** ((epoch - _WARM_UP_EPOCHS) // _HALVING_EPOCHS))
