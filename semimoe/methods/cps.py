"""Cross pseudo supervision (Chen et al. 2021, arXiv 2106.01226), as in the paper's Table 1.

Two networks of the same structure and different initial weights learn from the labelled tiles. On
unlabelled tiles each learns, by cross-entropy, the mask that the other one predicts (their eq. 2);
no gradient goes through a pseudo-label. The weight of this loss is `unsup_max` over the schedule
(the paper: a constant 1.5 on PASCAL VOC).
Chen et al. apply this loss to the labelled tiles too; the public code base of Table 1 and this file
apply it to the unlabelled ones only. The first network predicts.
"""

from torch import Tensor, nn

from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.objectives.losses import pixel_cross_entropy, pixel_mean


class CrossPseudoSupervisionLearner(UNetLearner):
    """Two networks that supervise each other.

    Attributes
    ----------
    network : the first network, which predicts
    second : the other one
    """

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        # Its random initial weights differ from those of the first network; pretrained ones do not,
        # and stay equal in frozen stages.
        self.second = self.build_network(context.network, mean=context.mean, std=context.std)

    def trained_networks(self) -> tuple[nn.Module, ...]:
        """See `Learner`."""
        return self.network, self.second

    def after_loading(self) -> None:
        """Keep the initial weights of the second network: equal networks would stay equal."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.cross_phase

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """Both networks learn from the labelled batch; the log shows the first one."""
        networks = self.trained_networks()
        first, second = (self.supervised_loss(step, network) for network in networks)
        return first.with_loss_of(second)

    def cross_phase(self, step: Step) -> PhaseLoss:
        """Each network learns the mask of the other one on the unlabelled batch."""
        batch = step.unlabelled_batch
        first, second = (
            self.forward_unlabelled(step, network, batch.image).gates.seg  # (B, 2, H, W)
            for network in self.trained_networks()
        )
        pseudo_of_first = first.detach().argmax(1)  # (B, H, W)
        pseudo_of_second = second.detach().argmax(1)
        cross = batch.share.pixels * (
            _cross_entropy(first, pseudo_of_second, batch.weight)
            + _cross_entropy(second, pseudo_of_first, batch.weight)
        )
        counts = pseudo_label_counts(pseudo_of_first, batch)
        return self.unsupervised_mask_loss(step, cross, counts)


def _cross_entropy(logits: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Mean over the pixels that count."""
    return pixel_mean(pixel_cross_entropy(logits, mask), weight)


METHOD_LEARNER = CrossPseudoSupervisionLearner
