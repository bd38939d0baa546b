"""Base class of the methods: the networks that are trained, and the losses of an optimiser step.

A method's file defines a subclass of `Learner` and names it `METHOD_LEARNER`. It works on batches
of tensors and does not use slides, folders or files.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from semimoe.methods.optimizers import make_optimizers
from semimoe.networks.mixture import NetworkOutputs, SemiMoE
from semimoe.networks.moving_average import update_moving_average
from semimoe.networks.plain_unet import UNet
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import AdaptiveLoss, SumLoss, TaskLosses
from semimoe.objectives.unsupervised_weight import unsupervised_weight
from semimoe.settings import NetworkSettings, TrainingSettings

Network = SemiMoE | UNet
# Normalisation of a network until the weights of a model are loaded; they include their own.
PLACEHOLDER_MEAN, PLACEHOLDER_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
Outputs = TypeVar("Outputs")


class LearnerContext(NamedTuple):
    """Settings and constants from which a learner is built.

    Attributes
    ----------
    mean, std : of the images per channel, in [0, 1]
    mpp_um : um per pixel of the tiles
    """

    network: NetworkSettings
    training: TrainingSettings
    mean: Sequence[float]
    std: Sequence[float]
    mpp_um: float


class Forward(Protocol):
    """Runs a network, or another function of images, at the precision of the run."""

    def __call__(self, network: Callable[[Tensor], Outputs], images: Tensor, /) -> Outputs:
        """Outputs for images uint8 (B, 3, H, W)."""


class Step(NamedTuple):
    """Input of a phase in one optimiser step.

    Attributes
    ----------
    forward : runs a network of the learner on images uint8 (B, 3, H, W), at the run's precision
    progress : float32 scalar, t / T, part of the schedule that is done, [0, 1)
    """

    forward: Forward
    labelled: Batch
    unlabelled: Batch | None
    progress: Tensor

    @property
    def unlabelled_batch(self) -> Batch:
        """The unlabelled batch, in an unsupervised phase: it is left out in steps without one."""
        assert self.unlabelled is not None
        return self.unlabelled


class PhaseLoss(NamedTuple):
    """Result of a phase.

    Attributes
    ----------
    loss : scalar with gradient, multiplied by its weight in the total
    plain : scalar without gradient: the weighted sum of the task losses without the adaptive
        scales, so that phases can be compared
    log : detached scalars, averaged over the epoch
    counts : detached sums that are added up over the epoch (overlap and size of pseudo-labels)
    gate_weights : mean over the batch, (gates, experts), or None

    All values are multiplied by the share that the tiles have of their batch: the sum over the
    parts of a batch is the value of the whole batch.
    """

    loss: Tensor
    plain: Tensor
    log: dict[str, Tensor]
    counts: dict[str, Tensor]
    gate_weights: Tensor | None

    def with_loss_of(self, other: "PhaseLoss") -> "PhaseLoss":
        """Add the loss of another network; log, counts and gate weights stay those of this one."""
        return self._replace(loss=self.loss + other.loss, plain=self.plain + other.plain)


Phase = Callable[[Step], PhaseLoss]


class Learner(nn.Module):
    """Networks of a method, and the learnt scales of its loss.

    Every module and buffer that is an attribute is part of a checkpoint: a method keeps its state
    in modules (a teacher, a second network) and buffers.

    Attributes
    ----------
    network : the network that predicts, unless `average` does
    average : moving average of `network` if `training.ema_decay` is set
    aggregate : module that combines the losses of the tasks into one scalar
    context : settings and constants of the learner
    is_recordable : whether the phases can be recorded as a CUDA graph: no value is copied to the
        CPU, and no choice depends on the value of a tensor
    """

    network: Network
    is_recordable: bool = True
    aggregate: AdaptiveLoss | SumLoss

    def __init__(self, context: LearnerContext) -> None:
        super().__init__()
        self.context = context
        self.network = self.build_network(context.network, mean=context.mean, std=context.std)
        self.aggregate = self.build_aggregate()
        self.average: Network | None = None

    @property
    def predicting_network(self) -> Network:
        """The network that is validated and saved as the model."""
        return self.network if self.average is None else self.average

    @classmethod
    def build_network(
        cls,
        settings: NetworkSettings,
        *,
        mean: Sequence[float] = PLACEHOLDER_MEAN,
        std: Sequence[float] = PLACEHOLDER_STD,
    ) -> Network:
        """Build the network that predicts, with random weights.

        Parameters
        ----------
        mean, std : as in `LearnerContext`; weights that are loaded later include their own
        """
        return SemiMoE(settings, mean=mean, std=std)

    def build_aggregate(self) -> AdaptiveLoss | SumLoss:
        """Build `aggregate`: the adaptive loss (eq. 11), or the plain sum."""
        training = self.context.training
        return AdaptiveLoss(training.gamma) if training.aggregate == "amol" else SumLoss()

    def trained_networks(self) -> Sequence[nn.Module]:
        """Networks that the optimiser updates."""
        return (self.network,)

    def optimizers(self, *, lr: float) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by name.

        The schedule sets their learning rates, except that of `s`, the scales of the loss.
        """
        return make_optimizers(
            self.trained_networks(), self.aggregate, self.context.training, lr=lr
        )

    def phases(self) -> tuple[Phase, ...]:
        """Functions that compute the losses of one step; every method must define them.

        If there are two, the second one is the unsupervised loss. It is left out if there is no
        unlabelled batch, or if its weight is 0.
        """
        raise NotImplementedError

    def forward_unlabelled(self, step: Step, network: nn.Module, images: Tensor) -> NetworkOutputs:
        """Outputs for unlabelled images.

        They change the running statistics only if the settings say so (`training.statistics`).
        """
        with self.statistics_of_unlabelled(network):
            outputs: NetworkOutputs = step.forward(network, images)
        return outputs

    @contextmanager
    def statistics_of_unlabelled(self, network: nn.Module) -> Iterator[None]:
        """Run parts of a network on unlabelled images, see `forward_unlabelled`."""
        keeps_statistics = self.context.training.statistics == "labelled"
        with keep_running_statistics(network) if keeps_statistics else nullcontext():
            yield

    def unsupervised_mask_loss(
        self, step: Step, loss: Tensor, counts: dict[str, Tensor]
    ) -> PhaseLoss:
        """Result of a phase whose only loss is that of the mask on unlabelled tiles.

        Parameters
        ----------
        loss : scalar, multiplied by the share of the batch, not yet by its weight over the schedule
        counts : see `pseudo_label_counts`
        """
        weight, detached = unsupervised_weight(step.progress, self.context.training), loss.detach()
        return PhaseLoss(weight * loss, weight * detached, {"unsup_seg": detached}, counts, None)

    def labelled_before_division(self, step: Step, *, most_tiles: int) -> Step:
        """Label the unlabelled batch of a step that will be divided, as far as a method needs it.

        Each part of a batch is multiplied by its share of the pixels that count. A method whose
        pseudo-labels decide which pixels count must make them for the whole batch before.

        Parameters
        ----------
        most_tiles : largest number of tiles in one forward pass
        """
        return step

    def after_loading(self) -> None:
        """Update copies of `network`, after the weights of another model were loaded into it."""

    def start_average(self) -> None:
        """Begin the moving average of `network`, after its initial weights were loaded."""
        if self.context.training.ema_decay:
            self.average = copy.deepcopy(self.network).requires_grad_(False)

    def update_average(self, step: int) -> None:
        """Update the moving average after optimiser step `step` (0, 1, ...).

        The decay grows from 0.1 to `training.ema_decay`, so that the initial weights are forgotten.
        """
        if self.average is not None:
            decay = min(self.context.training.ema_decay, (step + 1) / (step + 10))
            update_moving_average(self.average, self.network, decay=decay)

    def after_update(self, step: int) -> None:
        """Update state that has no gradient, after optimiser step `step` (0, 1, ...)."""


LearnerFactory = type[Learner]


def task_log(column: str, losses: TaskLosses) -> dict[str, Tensor]:
    """Losses without gradient, by column of the log.

    Parameters
    ----------
    column : name of a column, with {} in the place of the task
    """
    return {column.format(task): loss.detach() for task, loss in losses.present().items()}


def weight_sdf_loss(losses: TaskLosses, training: TrainingSettings) -> TaskLosses:
    """Multiply the distance loss by its factor in the settings."""
    return losses if losses.sdf is None else losses._replace(sdf=training.sdf_weight * losses.sdf)


def detached_sum(losses: TaskLosses) -> Tensor:
    """Sum of the task losses without scales and gradient, for `PhaseLoss.plain`."""
    return torch.stack(list(losses.present().values())).sum().detach()


def pseudo_label_counts(mask: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Numerator and denominator of the Dice of pseudo-labels, over annotated pixels that count.

    Parameters
    ----------
    mask : int64 (B, H, W), pseudo-labels of the mask
    """
    has_truth = (batch.truth_weight > 0) & (batch.weight > 0)
    predicted, true = (mask > 0) & has_truth, (batch.truth > 0) & has_truth
    return {
        "pseudo_overlap": 2 * (predicted & true).sum(),
        "pseudo_size": predicted.sum() + true.sum(),
    }


def sum_of_parts(parts: list[PhaseLoss]) -> PhaseLoss:
    """Add the results of the parts of a batch; the sum has no gradient."""
    first = parts[0]
    gates = [part.gate_weights for part in parts if part.gate_weights is not None]
    return PhaseLoss(
        _sum([part.loss.detach() for part in parts]),
        _sum([part.plain for part in parts]),
        {name: _sum([part.log[name] for part in parts]) for name in first.log},
        {name: _sum([part.counts[name] for part in parts]) for name in first.counts},
        _sum(gates) if gates else None,
    )


def _sum(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
