"""Cross-consistency training (CCT): Ouali et al. 2020, arXiv 2003.09005.

Encoder and main decoder learn from the labelled tiles. On unlabelled tiles K auxiliary decoders
predict the mask from perturbed features of the same encoder, and learn the prediction of the main
decoder. With features z of the encoder h, main decoder g, perturbations p_k and auxiliary decoders
g_k (equations numbered here; softmax included in g):

(1) L_u = 1/K sum_k mean over v of |g(z)(v) - g_k(p_k(z))(v)|^2, g(z) without gradient
(2) L = L_s + omega L_u

So the main decoder gets no gradient from unlabelled tiles, the encoder does. The auxiliary decoders
learn from (1) alone, and are no part of the model.

Perturbations and hyper-parameters of the paper, one decoder each:

- F-Noise: z + z N with N from U(-.3, .3), of the size of z
- F-Drop: the mean of the channels, scaled to [0, 1] per image, is z'; pixels with z' >= gamma are
  set to 0, gamma from U(.6, .9)
- DropOut of channels with the rate .5
- Obj-Msk and Con-Msk: pixels of the predicted glands, or all others, are set to 0

The weight of the paper is omega = 30 after a ramp exp(-5 (1 - t)^2) over the first tenth of the
training; here it is `unsup_max` over the schedule (`ramp` is linear).

Differences. |.|^2 is the mean over the classes, as in the paper's code; that has 21 classes, so
that with the same omega a pixel counts about ten times as much here. SSL4MIS has .1 and XNet 1 for
omega, for 4 and 2 classes. The paper has 30 small decoders (6, 6, 6, 2, 2 of these kinds, 6 of
guided cutout and 2 of virtual adversarial perturbation) on one feature of a ResNet. Here a decoder
is that of a U-Net, and all features that go to it are perturbed, skip connections included, as in
SSL4MIS and XNet: otherwise it would read the mask from them. Those two have three auxiliary
decoders (noise, dropout, F-Drop), which also learn from labels, and their target keeps its
gradient. The two kinds that are left out need outlines of the predicted objects, or a second
gradient. Only the mask has auxiliary decoders.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.methods.learner import (
    LearnerContext,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.networks.experts import make_decoder
from semimoe.networks.mixture import initialise_weights
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.losses import pixel_mean
from semimoe.settings import NetworkSettings

_NOISE = 0.3
_KEPT = (0.6, 0.9)  # smallest and largest threshold of F-Drop
_DROPOUT = 0.5


def feature_noise(feature: Tensor, is_gland: Tensor) -> Tensor:
    """F-Noise of a feature (B, C, h, w)."""
    noise = torch.empty_like(feature).uniform_(-_NOISE, _NOISE)
    return feature + feature * noise


def feature_drop(feature: Tensor, is_gland: Tensor) -> Tensor:
    """F-Drop of a feature (B, C, h, w): its most active pixels are 0."""
    activity = feature.detach().float().mean(1, keepdim=True)  # (B, 1, h, w)
    least, most = activity.amin((2, 3), keepdim=True), activity.amax((2, 3), keepdim=True)
    scaled = (activity - least) / (most - least).clamp(min=1e-8)
    thresholds = torch.empty_like(most).uniform_(*_KEPT)
    return feature * (scaled < thresholds)


def channel_dropout(feature: Tensor, is_gland: Tensor) -> Tensor:
    """DropOut of channels of a feature (B, C, h, w)."""
    return functional.dropout2d(feature, _DROPOUT)


def object_masking(feature: Tensor, is_gland: Tensor) -> Tensor:
    """Obj-Msk of a feature (B, C, h, w): pixels of predicted glands are 0."""
    return feature * (1 - _resized(is_gland, feature))


def context_masking(feature: Tensor, is_gland: Tensor) -> Tensor:
    """Con-Msk of a feature (B, C, h, w): pixels outside predicted glands are 0."""
    return feature * _resized(is_gland, feature)


def _resized(is_gland: Tensor, feature: Tensor) -> Tensor:
    """Mask bool (B, H, W) as 0 and 1 at the size of a feature, (B, 1, h, w)."""
    return functional.interpolate(is_gland[:, None].to(feature.dtype), size=feature.shape[2:])


# Each changes a feature; some need the predicted mask, bool (B, H, W).
PERTURBATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    feature_noise,
    feature_drop,
    channel_dropout,
    object_masking,
    context_masking,
)


class AuxiliaryDecoder(nn.Module):
    """A decoder with a head for the mask.

    Parameters
    ----------
    settings : of the network whose encoder it decodes
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.decoder = make_decoder(settings)
        self.head = nn.Conv2d(settings.width, settings.channels("seg"), 1)
        initialise_weights(self)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features of the encoder, finest first -> logits (B, 2, H, W)."""
        logits: Tensor = self.head(self.decoder(features))
        return logits

    def load_main_decoder(self, network: UNet) -> None:
        """Copy the weights of decoder and mask head of a network."""
        self.decoder.load_state_dict(network.decoder.state_dict())
        index = network.settings.expert_tasks.index("seg")
        self.head.load_state_dict(network.heads[index].state_dict())


class CrossConsistencyLearner(UNetLearner):
    """A U-Net whose encoder also learns from auxiliary decoders of perturbed features.

    Attributes
    ----------
    auxiliary : one decoder for each of `PERTURBATIONS`
    """

    network: UNet

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.auxiliary = nn.ModuleList(AuxiliaryDecoder(context.network) for _ in PERTURBATIONS)

    def trained_networks(self) -> tuple[nn.Module, ...]:
        """See `Learner`."""
        return self.network, self.auxiliary

    def after_loading(self) -> None:
        """Begin with auxiliary decoders that are equal to the main one of the loaded model."""
        for decoder in self.auxiliary:
            assert isinstance(decoder, AuxiliaryDecoder)
            decoder.load_main_decoder(self.network)

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.consistency_phase

    def consistency_phase(self, step: Step) -> PhaseLoss:
        """The auxiliary decoders learn the mask probability of the main one (eq. 1)."""
        batch = step.unlabelled_batch
        with self.statistics_of_unlabelled(self.network):
            main, auxiliary = step.forward(self.mask_logits, batch.image)
        target = torch.softmax(main.float(), 1)  # (B, 2, H, W)
        errors = [
            (torch.softmax(logits.float(), 1) - target).square().mean(1) for logits in auxiliary
        ]
        error = torch.stack(errors).mean(0)  # (B, H, W)
        consistency = batch.share.pixels * pixel_mean(error, batch.weight)
        counts = pseudo_label_counts(target.argmax(1), batch)
        return self.unsupervised_mask_loss(step, consistency, counts)

    def mask_logits(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mask logits (B, 2, H, W) of the main decoder, without gradient, and of the others."""
        features = self.network.encode(images)
        with torch.no_grad():
            main = self.network.outputs(self.network.decoder(features)).gates.seg
        is_gland = main.argmax(1) > 0
        auxiliary = [
            decoder([perturb(feature, is_gland) for feature in features])
            for decoder, perturb in zip(self.auxiliary, PERTURBATIONS, strict=True)
        ]
        return main, auxiliary


METHOD_LEARNER = CrossConsistencyLearner
