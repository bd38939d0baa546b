"""Predictions of a network during and at the end of its training.

B batch, H, W height and width of a tile in px (multiples of 16).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semimoe.devices import RunDevice
from semimoe.methods.learner import Network
from semimoe.prediction.memory_bounded_batches import MemoryBoundedBatches
from semimoe.prediction.output_maps import maps_from_outputs
from semimoe.training.cuda_graphs import RecordedFunction


class TrainingPredictor:
    """Predicts with the current weights of a network; on a GPU by recorded operations."""

    def __init__(self, network: Network, device: RunDevice) -> None:
        self._network, self._device = network, device
        self._batches = MemoryBoundedBatches(self._maps)
        self._recorded: Callable[[tuple[Tensor]], Tensor] = self._probabilities
        if device.device.type == "cuda":
            self._recorded = RecordedFunction(self._probabilities)

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (B, 3, H, W) -> maps float32 (B, 4, H, W)."""
        self._network.eval()
        return self._batches(images)[0]

    def probabilities(self, images: Tensor, *, most_tiles: int) -> Tensor:
        """Gland probabilities of the gate and of the expert of the mask.

        Parameters
        ----------
        images : uint8 (B, 3, H, W), on the device
        most_tiles : largest number of tiles in one call of the network

        Returns
        -------
        Tensor
            float32 (B, 2, H, W).
        """
        self._network.eval()
        parts = torch.split(images, most_tiles)
        return torch.cat([self._recorded((part,)).clone() for part in parts])

    @torch.inference_mode()
    def _maps(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with self._device.autocast():
            outputs = self._network(torch.from_numpy(images).to(self._device.device))
        return (maps_from_outputs(outputs).cpu().numpy(),)

    @torch.no_grad()
    def _probabilities(self, inputs: tuple[Tensor]) -> Tensor:
        with self._device.autocast():
            outputs = self._network(inputs[0])
        logits = torch.stack([outputs.gates.seg, outputs.experts.seg], dim=1)  # (B, 2, 2, H, W)
        return torch.softmax(logits.float(), 2)[:, :, 1]
