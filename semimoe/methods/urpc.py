"""Uncertainty rectified pyramid consistency (URPC): Luo et al. 2021, arXiv 2012.07042.

The decoder predicts the mask at S scales. Each scale learns from the labels; on unlabelled tiles
each learns the mean of all scales, less where it differs most from it. With the mask probability
p_s of scale s, enlarged to the size of the tile (equations numbered here):

(1) L_sup = 1/S sum_s L_mask(p_s, labels), and the losses of distance and boundary at the finest
    scale
(2) p_c = 1/S sum_s p_s
(3) D_s(v) = sum_c p_s(v, c) log(p_s(v, c) / p_c(v, c)), the uncertainty of scale s at pixel v
(4) w_s(v) = exp(-D_s(v))
(5) L_unsup = 1/S sum_s [sum_v w_s(v) |p_s(v) - p_c(v)|^2 / sum_v w_s(v) + mean over v of D_s(v)]
(6) L = L_sup + lambda L_unsup

Hyper-parameters of the paper: S = 4, lambda(t) = .1 exp(-5 (1 - t/T_max)^2), here `unsup_max` over
the schedule. No value is treated as a constant: the gradient goes through p_c and w_s.

The finest scale predicts, as in SSL4MIS and XNet: the model is the U-Net of the other rows, and the
heads of coarser scales belong to the training alone. The mean p_c would need them in the model.

Differences. |.|^2 is the mean over the classes, as in those two. (5) is computed per image, as it
is written, and averaged over the images; they divide once for the batch. (3) follows the paper and
XNet; SSL4MIS has the divergence of p_c from p_s instead. Probabilities are enlarged as logits,
bilinearly (they: nearest). The supervised mask loss is that of the settings; the paper: the mean of
Dice and cross-entropy. Dropout and noise that SSL4MIS adds to the scales is not part of the paper.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.encoders import DecoderWithLevels
from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.model_errors import TrainingError
from semimoe.networks.mixture import NetworkOutputs, TaskLogits, initialise_weights
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.image_means import weighted_image_mean
from semimoe.objectives.losses import pixel_mean, task_losses

_SCALES = 4


class PyramidConsistencyLearner(UNetLearner):
    """A U-Net that predicts the mask at several scales, and learns their mean.

    Attributes
    ----------
    network : predicts at the finest scale
    heads : of the coarser scales, coarsest first
    """

    network: UNet

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        channels = self._decoder().level_channels[-_SCALES:-1]
        classes = context.network.channels("seg")
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in channels)
        initialise_weights(self.heads)

    def trained_networks(self) -> tuple[nn.Module, ...]:
        """See `Learner`."""
        return self.network, self.heads

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.pyramid_phase

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """All scales learn the mask of the labelled batch, the finest one all tasks (eq. 1)."""
        batch, training = step.labelled, self.context.training
        assert batch.targets is not None  # the loader refuses labelled tiles without labels
        outputs, coarse = step.forward(self.pyramid, batch.image)
        losses = task_losses(outputs.experts, batch.targets, batch.weight, training=training)
        masks = [
            task_losses(
                TaskLogits(logits, None, None), batch.targets, batch.weight, training=training
            ).seg
            for logits in coarse
        ]
        mean = torch.stack([losses.seg, *masks]).mean()
        return self.sum_of_losses(losses._replace(seg=mean), batch)

    def pyramid_phase(self, step: Step) -> PhaseLoss:
        """Each scale learns the mean of all scales on the unlabelled batch (eq. 5)."""
        batch = step.unlabelled_batch
        with self.statistics_of_unlabelled(self.network):
            outputs, coarse = step.forward(self.pyramid, batch.image)
        consistency, uncertainty = pyramid_losses([outputs.gates.seg, *coarse], batch.weight)
        loss = batch.share.images * consistency + batch.share.pixels * uncertainty
        counts = pseudo_label_counts(outputs.gates.seg.detach().argmax(1), batch)
        return self.unsupervised_mask_loss(step, loss, counts)

    def pyramid(self, images: Tensor) -> tuple[NetworkOutputs, list[Tensor]]:
        """Outputs at the finest scale, and mask logits (B, 2, H, W) of the others."""
        features = self._decoder().levels(self.network.encode(images))  # coarsest first
        # In fp32: on a GPU, the gradient of an enlargement is added up in the type of its input.
        coarse = [
            functional.interpolate(
                head(feature).float(), size=images.shape[2:], mode="bilinear", align_corners=False
            )
            for head, feature in zip(self.heads, features[-_SCALES:-1], strict=True)
        ]
        return self.network.outputs(features[-1]), coarse

    def _decoder(self) -> DecoderWithLevels:
        decoder = self.network.decoder
        if not isinstance(decoder, DecoderWithLevels):
            encoder = self.context.network.encoder
            raise TrainingError(
                f"the method urpc needs a decoder with levels, and that of network.encoder"
                f" {encoder} has none; choose another encoder or another method"
            )
        return decoder


def pyramid_losses(logits: Sequence[Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
    """The two summands of eq. 5, each the mean over the scales.

    Parameters
    ----------
    logits : (B, 2, H, W) of each scale
    weight : (B, H, W), 1 on pixels that count

    Returns
    -------
    consistency : weighted squared difference to the mean; a mean over images
    uncertainty : divergence from the mean; a mean over pixels
    """
    log_probability = torch.stack([torch.log_softmax(part.float(), 1) for part in logits])
    probability = log_probability.exp()  # (S, B, 2, H, W)
    mean = probability.mean(0)
    # log p_c from logits: finite where all scales are certain.
    log_mean = torch.logsumexp(log_probability, 0) - math.log(len(logits))
    divergence = (probability * (log_probability - log_mean)).sum(2)  # (S, B, H, W)
    error = ((probability - mean) ** 2).mean(2)
    consistency = [
        weighted_image_mean(error[scale], torch.exp(-divergence[scale]), weight)
        for scale in range(len(logits))
    ]
    uncertainty = pixel_mean(divergence.mean(0), weight)
    return torch.stack(consistency).mean(), uncertainty


METHOD_LEARNER = PyramidConsistencyLearner
