"""XNet (Zhou et al. 2023, ICCV, pp. 21085-21096): branches of low and high frequencies.

A wavelet transform divides each image into its approximation LL and its details LH, HL, HH. One
U-Net reads the low-frequency image, another one the high-frequency image; a fusion module gives the
two coarsest features of each to the other. Both learn from the labelled tiles, and on unlabelled
tiles each learns the class that the other one predicts, without gradient through it (equations as
in the public code, numbered here; the paper's text was not at hand):

(1) L = L_sup + lambda L_unsup
(2) L_sup = Dice(p_L, y) + Dice(p_H, y)
(3) L_unsup = Dice(p_L, argmax p_H) + Dice(p_H, argmax p_L)

Defaults of the public code: wavelet db2, Dice loss, lambda grows linearly with the epochs to 5 on
GlaS. Here lambda is `unsup_max` over the schedule, and L_sup has the losses of all tasks; L_unsup
is that of the mask.

Differences. The paper and its public code store LL and the sum LH + HL + HH as pictures of half the
size, each scaled to its own range, and enlarge them; the high-frequency picture is grey there. Here
both images are inverse transforms, of LL alone and of the details alone, for each colour: they have
the size of the tile, stay aligned with the labels, and their sum is the image. The high frequencies
are multiplied by a constant instead of scaled to their range, so that a pixel does not depend on
distant ones. Branches are the U-Net of the other methods instead of residual ones; in the fusion
module one convolution per level and branch replaces those of the paper. The public code keeps the
branch with the better score on the test images (for GlaS that of the high frequencies); here the
prediction is the mean of the logits of both branches. With a pretrained encoder both branches start
from the same weights, and with `frozen_stages` these stages stay equal.

The filters come from PyWavelets; the transform is a convolution on the device of the network.

B batch, C channels, H, W sides, h, w sides of a feature.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pywt
import torch
from torch import Tensor, nn
from torch.nn import functional

from semimoe.methods.learner import (
    PLACEHOLDER_MEAN,
    PLACEHOLDER_STD,
    Phase,
    PhaseLoss,
    Step,
    pseudo_label_counts,
)
from semimoe.methods.unet import UNetLearner
from semimoe.networks.mixture import (
    NetworkOutputs,
    TaskLogits,
    initialise_weights,
    normalise_images,
)
from semimoe.networks.plain_unet import UNet
from semimoe.objectives.losses import seg_dice
from semimoe.settings import NetworkSettings

_WAVELET = "db2"
# The standard deviation of the high-frequency image of GlaS is a third (at 1.24 um per pixel) to a
# sixth (at 0.62 um) of that of the image.
_HIGH_FREQUENCY_FACTOR = 4.0
_FUSED_LEVELS = 2
_PROBE_PX = 32


class WaveletUNet(UNet):
    """Two U-Nets for low and high frequencies; the second one is the attribute `high`."""

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        mean: Sequence[float] = PLACEHOLDER_MEAN,
        std: Sequence[float] = PLACEHOLDER_STD,
    ) -> None:
        super().__init__(settings, mean=mean, std=std)
        self.high = UNet(settings, mean=mean, std=std)
        self.low_pass = LowPass()
        channels = _feature_channels(self.encoder)
        self.to_low, self.to_high = FrequencyFusion(channels), FrequencyFusion(channels)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Images uint8 (B, 3, H, W) -> mean logits of both branches."""
        low, high = self.branches(images)
        means = [
            None if first is None or second is None else (first + second) / 2
            for first, second in zip(low, high, strict=True)
        ]
        assert means[0] is not None  # every network predicts the mask
        logits = TaskLogits(means[0], *means[1:])
        return NetworkOutputs(logits, logits, None)

    def branches(self, images: Tensor) -> tuple[TaskLogits, TaskLogits]:
        """Images uint8 (B, 3, H, W) -> logits from low and from high frequencies."""
        low, high = self.frequency_images(images)
        low_features, high_features = self.encoder(low), self.high.encoder(high)
        low_feature = self.decoder(self.to_low(low_features, high_features))
        high_feature = self.high.decoder(self.to_high(high_features, low_features))
        return self.outputs(low_feature).experts, self.high.outputs(high_feature).experts

    def frequency_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (B, 3, H, W) -> low and high frequencies float32 (B, 3, H, W).

        The normalised image is the sum of the first one and the second one divided by its factor.
        """
        x = normalise_images(images, self.mean, self.std)
        low = self.low_pass(x)
        return low, _HIGH_FREQUENCY_FACTOR * (x - low)


class LowPass(nn.Module):
    """Inverse wavelet transform of the approximation alone, for an orthogonal wavelet.

    What it removes is the inverse transform of the details.
    """

    kernel: Tensor  # (1, 1, taps, taps)

    def __init__(self, wavelet: str = _WAVELET) -> None:
        super().__init__()
        taps = torch.tensor(pywt.Wavelet(wavelet).rec_lo, dtype=torch.float64)
        kernel = torch.outer(taps, taps).float()[None, None]
        self.register_buffer("kernel", kernel, persistent=False)
        # As the mode `reflect` of PyWavelets.
        self._padding = len(taps) - 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> float32 (B, C, H, W); H and W are even."""
        pad = self._padding
        with _without_autocast(x.device.type):
            kernel = self.kernel.expand(x.shape[1], -1, -1, -1)
            padded = functional.pad(x.float(), (pad,) * 4, mode="reflect")
            # The analysis filters are the synthesis filters in reverse order, and a convolution
            # reverses its filter.
            coarse = functional.conv2d(padded, kernel, stride=2, groups=x.shape[1])
            smooth = functional.conv_transpose2d(coarse, kernel, stride=2, groups=x.shape[1])
        return smooth[..., pad : pad + x.shape[2], pad : pad + x.shape[3]]


class FrequencyFusion(nn.Module):
    """Adds the coarsest features of the other branch to those of a branch.

    Parameters
    ----------
    channels : of the coarsest features, finest first
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(own + sum(channels), own, 1, bias=False),
                nn.BatchNorm2d(own),
                nn.ReLU(inplace=True),
            )
            for own in channels
        )
        initialise_weights(self)

    def forward(self, own: list[Tensor], other: list[Tensor]) -> list[Tensor]:
        """Features of both branches, finest first -> features for the decoder of the own branch."""
        count = len(self.levels)
        fused = [
            level(torch.cat([feature, *(_resized(part, feature) for part in other[-count:])], 1))
            for level, feature in zip(self.levels, own[-count:], strict=True)
        ]
        return [*own[:-count], *fused]


class XNetLearner(UNetLearner):
    """Two branches that supervise each other.

    Attributes
    ----------
    network : both branches; it predicts with the mean of their logits
    """

    network_class = WaveletUNet

    def phases(self) -> tuple[Phase, ...]:
        """See `Learner`."""
        return self.supervised_phase, self.cross_phase

    def supervised_phase(self, step: Step) -> PhaseLoss:
        """Both branches learn from the labelled batch; the log shows that of low frequencies."""
        batch = step.labelled
        low, high = (
            self.loss_of_logits(logits, batch)
            for logits in step.forward(self._both_branches, batch.image)
        )
        return low.with_loss_of(high)

    def cross_phase(self, step: Step) -> PhaseLoss:
        """Each branch learns the mask of the other one on the unlabelled batch."""
        batch = step.unlabelled_batch
        with self.statistics_of_unlabelled(self.network):
            low, high = step.forward(self._both_branches, batch.image)
        mask_of_low, mask_of_high = (logits.seg.detach().argmax(1) for logits in (low, high))
        cross = batch.share.images * (
            seg_dice(low.seg, mask_of_high, batch.weight)
            + seg_dice(high.seg, mask_of_low, batch.weight)
        )
        return self.unsupervised_mask_loss(step, cross, pseudo_label_counts(mask_of_low, batch))

    def _both_branches(self, images: Tensor) -> tuple[TaskLogits, TaskLogits]:
        assert isinstance(self.network, WaveletUNet)
        return self.network.branches(images)


def _without_autocast(device_type: str) -> AbstractContextManager[None]:
    """Compute in fp32, also in a run with bf16; not every device has autocast."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _feature_channels(encoder: nn.Module) -> list[int]:
    """Channels of the coarsest features of an encoder, finest first."""
    training = encoder.training
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, 3, _PROBE_PX, _PROBE_PX))
    encoder.train(training)
    return [feature.shape[1] for feature in features[-_FUSED_LEVELS:]]


def _resized(feature: Tensor, like: Tensor) -> Tensor:
    """Feature (B, C, h, w) with the sides of another one: means, or repeated values."""
    height, width = like.shape[2:]
    if feature.shape[2] > height:
        return functional.adaptive_avg_pool2d(feature, (height, width))
    return functional.interpolate(feature, size=(height, width))


METHOD_LEARNER = XNetLearner
