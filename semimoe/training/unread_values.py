"""Losses and gradient norms that are read a few steps later: reading them waits for the GPU."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semimoe.model_errors import TrainingError


class StepTiles(NamedTuple):
    """Index of each tile of a step in its source, int64 (B,)."""

    labelled: Tensor
    unlabelled: Tensor | None


class UnreadValues(NamedTuple):
    """Losses and gradient norm of an update that were not read yet.

    Attributes
    ----------
    step : number of the step, 1, 2, ...
    """

    step: int
    tiles: StepTiles
    names: tuple[str, ...]
    values: Tensor


class NotFiniteError(TrainingError):
    """A loss or gradient is infinite or not a number.

    Attributes
    ----------
    tiles : of the step
    steps_ago : 0 for the latest step
    """

    def __init__(self, message: str, tiles: StepTiles, steps_ago: int) -> None:
        super().__init__(message)
        self.tiles, self.steps_ago = tiles, steps_ago


def check_finite(unread: Sequence[UnreadValues], *, latest_step: int) -> None:
    """Read the values of updates.

    Raises
    ------
    NotFiniteError
        One of them is not finite.
    """
    all_values = torch.cat([update.values for update in unread]).tolist()
    names = [(update, name) for update in unread for name in update.names]
    for (update, name), value in zip(names, all_values, strict=True):
        if not math.isfinite(value):
            steps_ago = latest_step - update.step
            raise NotFiniteError(f"{name} is {value}", update.tiles, steps_ago)
