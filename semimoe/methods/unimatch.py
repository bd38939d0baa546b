"""UniMatch (Yang et al. 2023, CVPR, arXiv 2208.09910): strong views learn from the weak one.

The network predicts the weakly augmented tile. Where its probability p^w of the predicted class is
at least tau, that class is the target of

- two strongly augmented views s1 and s2 of the same tile (dual-stream perturbations), and
- the weak view with perturbed features fp: the decoder reads the encoder's features after channel
  dropout of rate 1/2.

Equations, numbered here:

(1) L = (L_s + L_u) / 2
(2) L_u = mean of 1[max p^w >= tau] (lambda H(p^w, p^fp) + mu / 2 (H(p^w, p^s1) + H(p^w, p^s2)))

H is the cross-entropy with the predicted class; the mean is over all pixels, certain or not. No
gradient goes through p^w. Defaults of the paper and here: tau = 0.95, lambda = mu = 0.5. In (1)
L_u has the weight of L_s; here its weight is `unsup_max` over the schedule.
There is no teacher: the trained network predicts, or its moving average if `ema_decay` is set.

Differences. The paper's strong view is colour jitter, grey values, blur and CutMix; a change of hue
gives colours that no stain has. Here it is the change of stain and focus of the augmentation
`scanners`, which also blurs, with two independent draws, whatever `augment` says. CutMix exchanges
a rectangle of every tile with another tile of the batch (`exchange_rectangles`) before that change;
in the paper with probability 1/2, with a tile of another batch, and after it. If a batch is divided
because memory is short, the other tile is one of the same part, and a part of one tile stays as it
is. The public code for medical images takes a Dice loss instead of H; the one for natural images
the cross-entropy, as here. Only the mask has a consistency loss; distance and boundary are learnt
from labels.

B batch, H, W sides.
"""

import torch
from torch import Tensor
from torch.nn import functional

from semimoe.methods.learner import (
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.image_changes import STRONG_STAIN_CHANGE, change_focus, change_stain
from semimoe.objectives.losses import Targets, pixel_cross_entropy
from semimoe.objectives.teacher_targets import PseudoTiles, exchange_rectangles

_LEAST_CONFIDENCE = 0.95  # tau
_FEATURE_WEIGHT, _IMAGE_WEIGHT = 0.5, 0.5  # lambda, mu
_DROPPED_CHANNELS = 0.5


class UniMatchLearner(UNetLearner):
    """One U-Net that labels weakly augmented tiles for the strongly augmented ones."""

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.consistency_phase

    def consistency_phase(self, step: Step) -> PhaseLoss:
        """Two strong views and perturbed features learn the mask of the weak view."""
        batch = step.unlabelled_batch
        weak = batch.weakly_augmented
        assert weak is not None  # the table of methods asks for it
        with self.statistics_of_unlabelled(self.network):
            clean, perturbed = step.forward(self._clean_and_perturbed, weak)
        confidence, mask = torch.softmax(clean.detach().float(), 1).max(1)  # (B, H, W) each
        is_certain = confidence >= _LEAST_CONFIDENCE
        weight = (is_certain & (batch.weight > 0)).float()
        tiles = PseudoTiles(weak, _mask_targets(mask), weight, batch.truth, batch.truth_weight)
        first, second = (_strongly_augmented(tiles) for _ in range(2))
        images = torch.cat([first.image, second.image])
        strong = self.forward_unlabelled(step, self.network, images).gates.seg.chunk(2)
        feature_error = _error_sum(perturbed, tiles)
        image_error = _error_sum(strong[0], first) + _error_sum(strong[1], second)
        error = _FEATURE_WEIGHT * feature_error + _IMAGE_WEIGHT / 2 * image_error
        certain = batch._replace(weight=batch.weight * is_certain)
        mean = batch.share.pixels * error / batch.weight.sum().clamp(min=1)
        return self.unsupervised_mask_loss(step, mean, pseudo_label_counts(mask, certain))

    def _clean_and_perturbed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the mask (B, 2, H, W) without and with perturbed features."""
        assert isinstance(self.network, UNet)
        features = [
            torch.cat([feature, functional.dropout2d(feature, _DROPPED_CHANNELS)])
            for feature in self.network.encode(images)
        ]
        clean, perturbed = self.network.outputs(self.network.decoder(features)).gates.seg.chunk(2)
        return clean, perturbed


def _strongly_augmented(tiles: PseudoTiles) -> PseudoTiles:
    """Tiles with exchanged rectangles, and random changes of stain and focus."""
    tiles = exchange_rectangles(tiles)
    numbers = torch.rand(len(tiles.image), 8, device=tiles.image.device)
    image = change_stain(
        tiles.image.float(), numbers[:, :3], numbers[:, 3:6], limits=STRONG_STAIN_CHANGE
    )
    image = change_focus(image, numbers[:, 6], numbers[:, 7])
    return tiles._replace(image=image.clamp(0, 255).round().to(torch.uint8))


def _mask_targets(mask: Tensor) -> Targets:
    """Targets of which only the mask, int64 (B, H, W), is used."""
    return Targets(mask, torch.zeros_like(mask, dtype=torch.float32)[:, None], mask)


def _error_sum(logits: Tensor, tiles: PseudoTiles) -> Tensor:
    """Sum of the cross-entropy over the pixels that count."""
    return (pixel_cross_entropy(logits, tiles.targets.mask) * tiles.weight).sum()


METHOD_LEARNER = UniMatchLearner
