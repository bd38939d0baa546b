"""The tiles of one optimiser step as tensors."""

from typing import NamedTuple

import torch
from torch import Tensor

from semimoe.objectives.losses import BatchShare, Targets


class Batch(NamedTuple):
    """B tiles with H = W = `tile_px`.

    Attributes
    ----------
    image : uint8 (B, 3, H, W)
    weight : uint8 (B, H, W), 1 on pixels that count: the annotated ones of labelled tiles, those
        inside the image of unlabelled tiles
    targets : from labels, or stored pseudo-labels of unlabelled tiles; None: neither
    truth : int64 (B, H, W), mask from labels; that of unlabelled tiles is for the log only
    truth_weight : uint8 (B, H, W), 0 where the truth is unknown
    numbers : int64 (B,), index of each tile in its source, for messages
    share : share that this batch has of the batch of one optimiser step
    weakly_augmented : the images without changes of stain and focus, uint8 (B, 3, H, W); None: not
        asked for
    """

    image: Tensor
    weight: Tensor
    targets: Targets | None
    truth: Tensor
    truth_weight: Tensor
    numbers: Tensor
    share: BatchShare = BatchShare()
    weakly_augmented: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        targets = None if self.targets is None else Targets(*map(move, self.targets))
        return Batch(
            move(self.image),
            move(self.weight),
            targets,
            move(self.truth),
            move(self.truth_weight),
            self.numbers,
            self.share,
            None if self.weakly_augmented is None else move(self.weakly_augmented),
        )
