"""Cross-teaching between CNN and Transformer (CT): Luo et al. 2022, arXiv 2112.04894.

A CNN and a Transformer learn from the labelled tiles, and on unlabelled tiles each learns the mask
that the other one predicts. With their mask probabilities p_c and p_t (equations numbered here):

(1) y_c = argmax p_c, y_t = argmax p_t, without gradient
(2) L_ctl = L_dice(p_c, y_t) + L_dice(p_t, y_c)
(3) L = L_sup(CNN) + L_sup(Transformer) + lambda L_ctl

Hyper-parameters of the paper: lambda(t) = .1 exp(-5 (1 - t/T_max)^2), here `unsup_max` over the
schedule. Unlike in cross pseudo supervision (`cps`), the two networks have different structures,
and (2) has the Dice loss instead of cross-entropy. The CNN predicts, as in the paper.

The Transformer is the Swin-based U-Net of MONAI (SwinUNETR) with its default sizes (6.3 million
parameters) and random weights. It predicts all tasks and learns them from labels, as the CNN does.
The package is needed for the training alone: the model is the U-Net of the other rows.

Differences. The paper and SSL4MIS take Swin-Unet (27 million parameters, weights from ImageNet,
images of 224 px); XNet takes the same from random weights. The paper's supervised loss is the mean
of Dice and cross-entropy; here it is that of the settings, as for all rows. Both networks have one
optimiser here, and its settings; SSL4MIS and XNet have two with the same settings.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.methods import METHODS
from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.networks.mixture import NetworkOutputs, logits_by_task, normalise_images
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.losses import seg_dice

# SwinUNETR halves the resolution five times, and normalises more than one pixel of the last level.
_TRANSFORMER_STRIDE_PX = 32
_LEAST_SIDE_PX = 64


class CrossTeachingLearner(UNetLearner):
    """A U-Net and a Transformer that label unlabelled tiles for each other.

    Attributes
    ----------
    network : the CNN, which predicts
    transformer : the other one
    """

    network: UNet
    # The operations of MONAI were not tried in a CUDA graph.
    is_recordable = False

    def __init__(self, context: LearnerContext) -> None:
        METHODS["cross-teaching"].check_package()
        super().__init__(context)
        self.transformer = TransformerUNet(self.network)

    def trained_networks(self) -> tuple[nn.Module, ...]:
        """See `Learner`."""
        return self.network, self.transformer

    def after_loading(self) -> None:
        """Keep the random weights of the Transformer: a model holds the CNN alone."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.cross_phase

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """Both networks learn from the labelled batch; the log shows the CNN."""
        cnn, transformer = (
            self.supervised_loss(step, network) for network in self.trained_networks()
        )
        return cnn.with_loss_of(transformer)

    def cross_phase(self, step: Step) -> PhaseLoss:
        """Each network learns the mask of the other one on the unlabelled batch (eq. 2)."""
        batch = step.unlabelled_batch
        cnn, transformer = (
            self.forward_unlabelled(step, network, batch.image).gates.seg
            for network in self.trained_networks()
        )  # (B, 2, H, W) each
        mask_of_cnn = cnn.detach().argmax(1)  # (B, H, W)
        mask_of_transformer = transformer.detach().argmax(1)
        cross = seg_dice(cnn, mask_of_transformer, batch.weight) + seg_dice(
            transformer, mask_of_cnn, batch.weight
        )
        counts = pseudo_label_counts(mask_of_cnn, batch)
        return self.unsupervised_mask_loss(step, batch.share.images * cross, counts)


class TransformerUNet(nn.Module):
    """The Swin-based U-Net of MONAI with outputs for all tasks.

    Parameters
    ----------
    cnn : network with the same tasks and the same normalisation of images
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor  # (1, 3, 1, 1)

    def __init__(self, cnn: UNet) -> None:
        super().__init__()
        self.tasks = cnn.settings.expert_tasks
        self.sizes = [cnn.settings.channels(task) for task in self.tasks]
        self.swin = _swin_unet(sum(self.sizes))
        self.register_buffer("mean", cnn.mean.clone())
        self.register_buffer("std", cnn.std.clone())

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Images uint8 (B, 3, H, W) -> logits, the same ones as `experts` and as `gates`."""
        height, width = images.shape[2:]
        padding = [_missing_px(width), _missing_px(height)]
        x = normalise_images(images, self.mean, self.std)
        x = functional.pad(x, (0, padding[0], 0, padding[1]), mode="replicate")
        channels: Tensor = self.swin(x)[..., :height, :width]
        logits = logits_by_task(self.tasks, torch.split(channels, self.sizes, 1))
        return NetworkOutputs(logits, logits, None)


def _missing_px(side: int) -> int:
    """Pixels to be added to a side for SwinUNETR."""
    stride = _TRANSFORMER_STRIDE_PX
    return max(_LEAST_SIDE_PX, -(-side // stride) * stride) - side


def _swin_unet(out_channels: int) -> Any:  # noqa: ANN401 - monai has no complete types
    from monai.networks.nets.swin_unetr import SwinUNETR

    return SwinUNETR(in_channels=3, out_channels=out_channels, spatial_dims=2)


METHOD_LEARNER = CrossTeachingLearner
