"""The network of each method."""

from collections.abc import Sequence

from torch import nn

from semimoe.networks.efficientnet import LiteEncoder
from semimoe.networks.mixture import SemiMoE
from semimoe.networks.plain_unet import UNet
from semimoe.settings import Method, NetworkSettings

Network = SemiMoE | UNet


def build_network(
    method: Method,
    settings: NetworkSettings,
    *,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    std: Sequence[float] = (0.25, 0.25, 0.25),
) -> Network:
    """An untrained network: a U-Net for `unet`, experts and gates for all others."""
    kind = UNet if method == "unet" else SemiMoE
    return kind(settings, mean=mean, std=std)


def freeze(net: nn.Module, stages: int) -> None:
    """Leave the first stages of encoders that know ImageNet as they are."""
    for module in net.modules():
        if isinstance(module, LiteEncoder):
            module.freeze(stages)


def load_known(net: nn.Module) -> None:
    """Start the encoders that have weights of ImageNet with them.

    Raises
    ------
    ModelError
        Their file is missing or damaged.
    """
    for module in net.modules():
        if isinstance(module, LiteEncoder):
            module.load_imagenet()
