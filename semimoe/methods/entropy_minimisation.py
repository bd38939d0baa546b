"""Entropy minimisation (EM): Vu et al. 2019, "ADVENT", arXiv 1811.12833, the direct entropy loss.

The network learns from the labelled tiles, and on unlabelled tiles it learns to be certain. With
the softmax P of the mask at pixel v and C = 2 classes (equations numbered here):

(1) E(v) = -1 / log C sum_c P(v, c) log P(v, c), in [0, 1]: 0 for a certain prediction, 1 for a
    uniform one (their normalised entropy map)
(2) L_ent = mean over v of E(v)
(3) L = L_sup + lambda L_ent

Hyper-parameters of the paper: lambda = 0.001 for a domain without labels. Here lambda is
`unsup_max` over the schedule.

Differences. The paper writes (2) as a sum over the pixels; its public code takes the mean, as here.
Its optional loss of expected class shares is left out. SSL4MIS and XNet apply the loss to the
labelled tiles too (XNet with the weight 1); the paper and this file to the unlabelled ones only.
The entropy is computed from logits, so that no constant is added inside the logarithm (1e-30 in the
paper's code, 1e-6 in the others). Only the mask has an entropy loss; distance and boundary are
learnt from labels.
"""

import math

import torch
from torch import Tensor

from semimoe.methods.learner import (
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.objectives.losses import pixel_mean


class EntropyMinimisationLearner(UNetLearner):
    """One U-Net that learns certain predictions on unlabelled tiles."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.entropy_phase

    def entropy_phase(self, step: Step) -> PhaseLoss:
        """Learn a certain mask on the unlabelled batch."""
        batch = step.unlabelled_batch
        logits = self.forward_unlabelled(step, self.network, batch.image).gates.seg
        entropy = batch.share.pixels * pixel_mean(normalised_entropy(logits), batch.weight)
        counts = pseudo_label_counts(logits.detach().argmax(1), batch)
        return self.unsupervised_mask_loss(step, entropy, counts)


def normalised_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax divided by that of a uniform one (eq. 1).

    Parameters
    ----------
    logits : (B, C, H, W)

    Returns
    -------
    Tensor
        float32 (B, H, W), in [0, 1].
    """
    log_probability = torch.log_softmax(logits.float(), dim=1)
    entropy = -(log_probability.exp() * log_probability).sum(1)
    return entropy / math.log(logits.shape[1])


METHOD_LEARNER = EntropyMinimisationLearner
