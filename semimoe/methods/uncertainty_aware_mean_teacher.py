"""Uncertainty-aware Mean Teacher (UA-MT): Yu et al. 2019, arXiv 1907.07034.

Mean Teacher (`mean_teacher`) whose student learns only where the teacher is certain. The teacher is
asked T times about each unlabelled tile, with other noise and dropout each time. With its mask
probabilities p_t at pixel v, those of the student f and of one more pass of the teacher f'
(equations numbered here):

(1) mu(v, c) = 1/T sum_t p_t(v, c)
(2) u(v) = -sum_c mu(v, c) log mu(v, c), the predictive entropy
(3) L_c = sum_v 1[u(v) < H] |f'(v) - f(v)|^2 / sum_v 1[u(v) < H]
(4) H = (3/4 + 1/4 exp(-5 (1 - t/T_max)^2)) log 2: log 2 is the largest uncertainty
(5) teacher = .99 teacher + .01 student, less than .99 in the first steps

Hyper-parameters of the paper: T = 8, dropout .5 in training only, noise with standard deviation .1,
cut at .2; decay .99; lambda(t) = .1 exp(-5 (1 - t/T_max)^2), here `unsup_max` over the schedule.

Differences. |.|^2 is the mean over the classes, as in `mean_teacher`. (3) is computed per image, as
it is written, and averaged over the images; SSL4MIS, XNet and the paper's code divide once for the
batch. The paper has two dropout layers, after the deepest feature of the encoder and after the last
one of the decoder. This file has the first one: the second one would leave half of the few channels
from which the heads predict mask, distance and boundary (Dice of discs after 50 steps: none .96,
first .91, both .55). It removes whole channels, as in the paper's code. For 2D images SSL4MIS has
dropout in each block of its encoder, and XNet none, so that its T passes differ by the noise alone.
Only the mask has a consistency loss.

`training.ema_decay` has no effect: the teacher, which predicts, is a moving average already.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from semimoe.methods.learner import (
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.mean_teacher import MeanTeacherLearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.image_means import weighted_image_mean

_PASSES = 8
_DROPOUT = 0.5
_LARGEST_UNCERTAINTY = math.log(2)
_FIRST_THRESHOLD = 0.75  # of the largest uncertainty


class DropoutUNet(UNet):
    """A U-Net with dropout of the deepest channels in training; it has the weights of `UNet`."""

    def forward(self, images: Tensor) -> NetworkOutputs:
        """See `UNet`."""
        *skips, deepest = self.encode(images)
        deepest = functional.dropout2d(deepest, _DROPOUT, self.training)
        return self.outputs(self.decoder([*skips, deepest]))


class UncertaintyAwareMeanTeacherLearner(MeanTeacherLearner):
    """A student that learns from its moving average where this teacher is certain."""

    network_class = DropoutUNet

    def consistency_phase(self, step: Step) -> PhaseLoss:
        """The student learns the mask probability of the teacher where it is certain (eq. 3)."""
        batch = step.unlabelled_batch
        target = self.teacher_probability(step, batch.image)
        is_certain = self.uncertainty(step, batch.image) < uncertainty_threshold(step.progress)
        certain = batch._replace(weight=batch.weight * is_certain)
        error = (self.student_probability(step, batch.image) - target) ** 2  # (B, 2, H, W)
        consistency = weighted_image_mean(error.mean(1), certain.weight, batch.weight)
        counts = pseudo_label_counts(target.argmax(1), certain)
        return self.unsupervised_mask_loss(step, batch.share.images * consistency, counts)

    def uncertainty(self, step: Step, images: Tensor) -> Tensor:
        """Entropy of the mean mask probability of the teacher (B, H, W), in [0, log 2] (eq. 2)."""
        total = self.teacher_probability(step, images)
        for _ in range(_PASSES - 1):
            total = total + self.teacher_probability(step, images)
        entropy: Tensor = torch.special.entr(total / _PASSES)  # (B, 2, H, W)
        return entropy.sum(1)


def uncertainty_threshold(progress: Tensor) -> Tensor:
    """Uncertainty below which a pixel counts, a scalar (eq. 4).

    Parameters
    ----------
    progress : scalar, t / T_max, part of the schedule that is done, [0, 1]
    """
    ramp = torch.exp(-5 * (1 - progress) ** 2)
    return (_FIRST_THRESHOLD + (1 - _FIRST_THRESHOLD) * ramp) * _LARGEST_UNCERTAINTY


METHOD_LEARNER = UncertaintyAwareMeanTeacherLearner
