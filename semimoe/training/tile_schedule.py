"""The order of the tiles in each epoch, and the random numbers of their augmentation.

Both depend on (seed, role, epoch) only: not on the tiles that were read before, on the number of
processes, or on the epoch at which a killed run stopped.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.training.random_columns import NUMBERS_PER_TILE
from semimoe.training.recipe import Recipe, Role

# Number of the random stream of each role.
_STREAMS: dict[Role, int] = {"labelled": 0, "unlabelled": 1}
_ORDER, _AUGMENTATION = 0, 1


class BatchPlan(NamedTuple):
    """Which batches are read.

    Attributes
    ----------
    steps : batches per epoch
    first_epoch : batches of the epochs before it are skipped
    part, parts : index of this process, and number of the processes that share every batch
    """

    steps: int
    first_epoch: int = 0
    part: int = 0
    parts: int = 1


class ScheduledBatch(NamedTuple):
    """Tiles of a batch, and the random numbers of their augmentation.

    Attributes
    ----------
    tiles : int64 (B,), index of each tile in its source
    numbers : float64 (B, NUMBERS_PER_TILE), uniform in [0, 1)
    """

    tiles: NDArray[np.int64]
    numbers: NDArray[np.float64]


def scheduled_batches(
    tiles: int, role: Role, recipe: Recipe, plan: BatchPlan
) -> Iterator[ScheduledBatch]:
    """All batches from `plan.first_epoch` to the end of the training schedule.

    An epoch consists of shuffled passes over the source; the last pass is truncated.

    Parameters
    ----------
    tiles : number of tiles of the source
    """
    batch = recipe.training.batch
    count = plan.steps * batch
    rows_of_part = slice(plan.part * batch // plan.parts, (plan.part + 1) * batch // plan.parts)
    for epoch in range(plan.first_epoch, recipe.training.epochs):
        stream = [recipe.seed, _STREAMS[role], epoch]
        order_rng = np.random.default_rng([*stream, _ORDER])
        augmentation_rng = np.random.default_rng([*stream, _AUGMENTATION])
        passes = -(-count // tiles)
        order = np.concatenate([order_rng.permutation(tiles) for _ in range(passes)])
        for step in range(plan.steps):
            numbers = augmentation_rng.random((batch, NUMBERS_PER_TILE))
            chosen = order[step * batch : (step + 1) * batch]
            yield ScheduledBatch(chosen[rows_of_part], numbers[rows_of_part])
