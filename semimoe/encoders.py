"""The table of encoders: everything else reads it, and it imports no torch.

A new encoder is one file in `semimoe/networks` and one entry here (docs/extending.md).
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


class EncoderModule(Protocol):
    """What the file of an encoder holds."""

    def make_encoder(self, width: int) -> "nn.Module":
        """Contracting path with random weights: (B, 3, H, W) -> features, finest level first.

        `width` is the number of channels of the finest level, where it can be chosen.
        """

    def make_decoder(self, width: int) -> "nn.Module":
        """Expanding path: those features -> (B, `width`, H, W)."""


class PretrainedEncoder(Protocol):
    """What `make_encoder` returns where the entry says `pretrained`."""

    def load_pretrained(self) -> None:
        """Load the pretrained weights.

        Raises
        ------
        ModelError
            Their file is missing or damaged.
        """

    def freeze(self, stages: int) -> None:
        """Exclude the stem and the first `stages` stages from training; 0: nothing."""

    def __call__(self, images: "Tensor", /) -> "list[Tensor]":
        """Run the encoder."""


@runtime_checkable
class DecoderWithLevels(Protocol):
    """What `make_decoder` returns, for methods that predict at several scales (URPC).

    Attributes
    ----------
    level_channels : channels of the features of all levels, coarsest first
    """

    level_channels: tuple[int, ...]

    def levels(self, features: "list[Tensor]") -> "list[Tensor]":
        """Encoder features (finest first) -> features of all levels, coarsest first."""


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder.

    Attributes
    ----------
    name : as in the configuration
    module : file in `semimoe/networks`, without its ending
    description : for the documentation of the configuration
    pretrained : it has weights from another task, which train at a lower learning rate
    stages : number of its stages that can be excluded from training
    image_mean, image_std : per channel in [0, 1], of the images it was pretrained on;
        None: measured on the training tiles
    """

    name: str
    module: str
    description: str
    pretrained: bool = False
    stages: int = 0
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None

    def load_module(self) -> EncoderModule:
        """Import the file of this encoder, and torch with it."""
        return import_module(f"semimoe.networks.{self.module}")


# Of the EfficientNet-Lite networks: images from -1 to 1.
_IMAGE_MEAN, _IMAGE_STD = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
_ENTRIES = (
    EncoderEntry("unet", "unet_blocks", "that of a U-Net, from random weights (the paper)"),
    EncoderEntry(
        "efficientnet-lite0",
        "efficientnet",
        "EfficientNet-Lite0 with weights pretrained on ImageNet",
        pretrained=True,
        stages=6,
        image_mean=_IMAGE_MEAN,
        image_std=_IMAGE_STD,
    ),
    EncoderEntry(
        "efficientnet-lite2",
        "efficientnet_lite2",
        "EfficientNet-Lite2 with weights pretrained on ImageNet: 1.2 times as deep",
        pretrained=True,
        stages=6,
        image_mean=_IMAGE_MEAN,
        image_std=_IMAGE_STD,
    ),
)
ENCODERS: dict[str, EncoderEntry] = {entry.name: entry for entry in _ENTRIES}
