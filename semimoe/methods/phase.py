"""What a method is made of: phases, each a loss on one step's batches."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from semimoe.data import Batch
from semimoe.losses import Terms
from semimoe.settings import NetworkSettings, TrainingSettings


class Step(NamedTuple):
    """What a phase sees of one optimiser step."""

    model: nn.Module  # images uint8 (B, 3, H, W) -> Outputs, in training mode
    aggregate: Callable[[Terms], Tensor]  # losses per task -> scalar (eq. 11, or the sum)
    labelled: Batch
    unlabelled: Batch | None
    share: float  # t / T, how much of the schedule is done, [0, 1)
    network: NetworkSettings
    training: TrainingSettings
    mpp_um: float


class PhaseLoss(NamedTuple):
    """What a phase gives back.

    Attributes
    ----------
    loss : scalar with gradient, its weight in the total included
    plain : the same without the adaptive weights: a plain weighted sum of the task losses, for comparing phases
    log : detached scalars, averaged over the epoch
    counts : detached sums that are added up over the epoch (overlap and size of pseudo-labels)
    gate_weights : mean over the batch, (tasks, experts), or None
    """

    loss: Tensor
    plain: Tensor
    log: dict[str, Tensor]
    counts: dict[str, Tensor]
    gate_weights: Tensor | None


Phase = Callable[[Step], PhaseLoss | None]
