"""Tiles ready for an optimiser step."""

from typing import NamedTuple

import torch
from torch import Tensor

from semimoe.objectives.losses import BatchShare, Targets


class Batch(NamedTuple):
    """B tiles of H = W = `tile_px`."""

    image: Tensor  # uint8 (B, 3, H, W)
    weight: Tensor  # uint8 (B, H, W): annotated, or just inside the image for unlabelled tiles
    targets: Targets | None  # from labels, or stored pseudo-labels of unlabelled tiles
    truth: Tensor  # int64 (B, H, W): mask of unlabelled tiles if there is one, for the log only
    truth_weight: Tensor  # uint8 (B, H, W)
    numbers: Tensor  # int64 (B,): index of each tile in its source, for messages
    share: BatchShare = BatchShare()  # of the batch that one optimiser step takes

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""

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
        )
