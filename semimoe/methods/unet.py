"""A plain U-Net on labelled tiles: the baseline without experts, gates and pseudo-labels."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from semimoe.methods.learner import (
    PLACEHOLDER_MEAN,
    PLACEHOLDER_STD,
    Learner,
    Network,
    Phase,
    PhaseLoss,
    Step,
    detached_sum,
    task_log,
    weight_sdf_loss,
)
from semimoe.networks.mixture import NetworkOutputs, TaskLogits
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import AdaptiveLoss, SumLoss, TaskLosses, task_losses
from semimoe.settings import NetworkSettings


class UNetLearner(Learner):
    """One U-Net with a head for each task, and the plain sum of their losses.

    Attributes
    ----------
    network_class : network that predicts; a method may have a U-Net of its own
    """

    network_class: ClassVar[type[UNet]] = UNet

    @classmethod
    def build_network(
        cls,
        settings: NetworkSettings,
        *,
        mean: Sequence[float] = PLACEHOLDER_MEAN,
        std: Sequence[float] = PLACEHOLDER_STD,
    ) -> Network:
        """See `Learner`."""
        return cls.network_class(settings, mean=mean, std=std)

    def build_aggregate(self) -> AdaptiveLoss | SumLoss:
        """Build the plain sum: the adaptive scales are a part of Semi-MoE."""
        return SumLoss()

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return (self.supervised_phase,)

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """Learn mask, distance and boundary from the labelled batch."""
        return self.supervised_loss(step, self.network)

    def supervised_loss(self, step: Step, network: nn.Module) -> PhaseLoss:
        """Loss of one network on the labelled batch."""
        outputs: NetworkOutputs = step.forward(network, step.labelled.image)
        return self.loss_of_logits(outputs.experts, step.labelled)

    def loss_of_logits(self, logits: TaskLogits, batch: Batch) -> PhaseLoss:
        """Loss of logits for a labelled batch."""
        assert batch.targets is not None  # the loader refuses labelled tiles without labels
        training = self.context.training
        losses = task_losses(logits, batch.targets, batch.weight, training=training)
        return self.sum_of_losses(losses, batch)

    def sum_of_losses(self, losses: TaskLosses, batch: Batch) -> PhaseLoss:
        """Result of a phase with these losses of a labelled batch."""
        losses = losses.times(batch.share)
        weighted_losses = weight_sdf_loss(losses, self.context.training)
        loss = self.aggregate(weighted_losses, batch.share.tiles)
        return PhaseLoss(
            loss, detached_sum(weighted_losses), task_log("sup_{}_expert", losses), {}, None
        )


METHOD_LEARNER = UNetLearner
