"""Load and freeze the pretrained encoders of a network."""

from typing import cast

from torch import nn

from semimoe.encoders import PretrainedEncoder


def pretrained_encoders(network: nn.Module) -> list[nn.Module]:
    """Modules of a network that have the methods of `PretrainedEncoder`."""
    return [
        module
        for module in network.modules()
        if hasattr(module, "load_pretrained") and hasattr(module, "freeze")
    ]


def load_pretrained(network: nn.Module) -> None:
    """Load the pretrained weights of all pretrained encoders of a network.

    Raises
    ------
    ModelError
        The file of the weights is missing or damaged.
    """
    for encoder in pretrained_encoders(network):
        cast(PretrainedEncoder, encoder).load_pretrained()


def freeze(network: nn.Module, stages: int) -> None:
    """Exclude the first stages of all pretrained encoders from training; 0: none."""
    for encoder in pretrained_encoders(network):
        cast(PretrainedEncoder, encoder).freeze(stages)
