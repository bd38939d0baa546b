"""What a method is made of: phases, each a loss on one step's batches."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semimoe.objectives.losses import Terms
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batches import Batch


class Step(NamedTuple):
    """What a phase sees of one optimiser step."""

    model: nn.Module  # images uint8 (B, 3, H, W) -> Outputs, in training mode
    aggregate: Callable[
        [Terms, float], Tensor
    ]  # losses per task, share of the batch -> scalar (eq. 11, or the sum)
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
    gate_weights : mean over the batch, (gates, experts), or None

    All are scaled by the share that the tiles are of their batch: those of the parts add up to those of the whole.
    """

    loss: Tensor
    plain: Tensor
    log: dict[str, Tensor]
    counts: dict[str, Tensor]
    gate_weights: Tensor | None


def task_log(name: str, terms: Terms) -> dict[str, Tensor]:
    """Detached losses under `name` with the task put in for {}."""
    return {name.format(task): loss.detach() for task, loss in terms.known().items()}


def weighted_sdf(terms: Terms, training: TrainingSettings) -> Terms:
    """The distance term times its factor of the settings."""
    return terms if terms.sdf is None else terms._replace(sdf=training.sdf_weight * terms.sdf)


def summed(terms: Terms) -> Tensor:
    """Plain sum, detached: what is compared between phases."""
    return torch.stack(list(terms.known().values())).sum().detach()


def whole(parts: list[PhaseLoss]) -> PhaseLoss:
    """What the parts of a batch gave, together; without gradient."""
    first = parts[0]
    gates = [part.gate_weights for part in parts if part.gate_weights is not None]
    return PhaseLoss(
        _total([part.loss.detach() for part in parts]),
        _total([part.plain for part in parts]),
        {name: _total([part.log[name] for part in parts]) for name in first.log},
        {name: _total([part.counts[name] for part in parts]) for name in first.counts},
        _total(gates) if gates else None,
    )


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


Phase = Callable[[Step], PhaseLoss | None]
