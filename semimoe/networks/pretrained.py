"""Encoders with pretrained weights inside any network."""

from typing import cast

from torch import nn

from semimoe.encoders import PretrainedEncoder


def pretrained_encoders(network: nn.Module) -> list[nn.Module]:
    """Encoders in a network that have pretrained weights: those with the two methods below."""
    return [
        module
        for module in network.modules()
        if hasattr(module, "load_pretrained") and hasattr(module, "freeze")
    ]


def load_pretrained(network: nn.Module) -> None:
    """Load the pretrained weights of all such encoders.

    Raises
    ------
    ModelError
        A file of weights is missing or damaged.
    """
    for encoder in pretrained_encoders(network):
        cast(PretrainedEncoder, encoder).load_pretrained()


def freeze(network: nn.Module, stages: int) -> None:
    """Exclude the first stages of all such encoders from training; 0: none."""
    for encoder in pretrained_encoders(network):
        cast(PretrainedEncoder, encoder).freeze(stages)
