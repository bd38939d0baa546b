"""Mean Teacher (Tarvainen and Valpola 2017, arXiv 1703.01780), as in the paper's Table 1.

A student learns from labelled tiles. On unlabelled tiles it learns the mask probability of a
teacher, which predicts the same tiles with noise. The teacher's weights are the exponential moving
average of the student's (their eq. 2). The teacher is the network that predicts later. The
consistency loss is the mean squared difference of the softmax outputs (their section 2), weighted
by `unsup_max` over the schedule (100 in the paper, for classes of images; 5, linear, in the public
code of XNet). Only the mask has a consistency loss; distance and boundary are learnt from labels.
"""

import copy

import torch
from torch import Tensor, nn

from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.networks.moving_average import update_moving_average
from semimoe.networks.running_statistics import keep_running_statistics
from semimoe.objectives.losses import pixel_mean

# Decay of the moving average. In the first steps it is smaller, so that the teacher changes as fast
# as the student (their section 3.1 and public code).
_DECAY = 0.99
# Noise of the teacher's images: standard deviation and largest value, in units of the normalised
# input of the network (as in the code bases of segmentation benchmarks). With a pretrained encoder
# the deviation is 13 of 255, with an encoder from random weights a tenth of that of the images.
_NOISE, _LARGEST_NOISE = 0.1, 0.2


class MeanTeacherLearner(UNetLearner):
    """A student that is trained, and a teacher (its moving average) that predicts.

    Attributes
    ----------
    network : the teacher
    student : trained by gradients
    """

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.student = copy.deepcopy(self.network)

    def trained_networks(self) -> tuple[nn.Module, ...]:
        """See `Learner`."""
        return (self.student,)

    def after_loading(self) -> None:
        """Copy the weights of the teacher to the student."""
        self.student.load_state_dict(self.network.state_dict())

    def start_average(self) -> None:
        """Start no other average: the teacher is one."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.consistency_phase

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """The student learns from the labelled batch."""
        return self.supervised_loss(step, self.student)

    def consistency_phase(self, step: Step) -> PhaseLoss:
        """The student learns the mask probability of the teacher on the unlabelled batch."""
        batch = step.unlabelled_batch
        target = self.teacher_probability(step, batch.image)
        error = (self.student_probability(step, batch.image) - target) ** 2  # (B, 2, H, W)
        consistency = batch.share.pixels * pixel_mean(error.mean(1), batch.weight)
        counts = pseudo_label_counts(target.argmax(1), batch)
        return self.unsupervised_mask_loss(step, consistency, counts)

    def teacher_probability(self, step: Step, images: Tensor) -> Tensor:
        """Mask probability (B, 2, H, W) of the teacher for unlabelled images with noise."""
        with torch.no_grad(), keep_running_statistics(self.network):
            return _mask_probability(step.forward(self.network, self._with_noise(images)))

    def student_probability(self, step: Step, images: Tensor) -> Tensor:
        """Mask probability (B, 2, H, W) of the student for unlabelled images."""
        return _mask_probability(self.forward_unlabelled(step, self.student, images))

    def after_update(self, step: int) -> None:
        """Update the moving average (their eq. 2)."""
        decay = min(1 - 1 / (step + 1), _DECAY)
        update_moving_average(self.network, self.student, decay=decay)

    def _with_noise(self, images: Tensor) -> Tensor:
        """Images uint8 (B, 3, H, W) with Gaussian noise; the network divides images by `std`."""
        noise = (torch.randn(images.shape, device=images.device) * _NOISE).clamp(
            -_LARGEST_NOISE, _LARGEST_NOISE
        )
        noisy = images + 255 * self.network.std * noise
        return noisy.round().clamp(0, 255).to(torch.uint8)


def _mask_probability(outputs: NetworkOutputs) -> Tensor:
    """Softmax of the mask's logits, float32 (B, 2, H, W)."""
    return torch.softmax(outputs.gates.seg.float(), dim=1)


METHOD_LEARNER = MeanTeacherLearner
