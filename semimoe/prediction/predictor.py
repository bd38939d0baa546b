"""A trained model as a function from tiles to maps.

B batch, H, W height and width of a tile in px (multiples of 16).
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semimoe.methods import MAIN_METHOD, METHODS
from semimoe.model_card import CARD, WEIGHTS, ModelCard, Normalisation, load_card
from semimoe.model_errors import ModelError
from semimoe.model_weights import load_weights
from semimoe.prediction.flips import FLIPS, mean_over_flips, resolve_flips
from semimoe.prediction.memory_bounded_batches import MemoryBoundedBatches
from semimoe.prediction.output_maps import gate_weights_by_task, maps_from_outputs
from semimoe.setting_types import FlipsChoice
from semimoe.settings import (
    STRIDE_PX,
    Device,
    NetworkSettings,
    Precision,
    PrecisionChoice,
    Runtime,
)
from semimoe.split_choice import SplitChoice

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from semimoe.methods.learner import Network


class Predictor:
    """A trained model on its device; call it on tiles.

    It changes the network that it is given: in fp32, batch normalisation becomes a part of the
    convolutions.

    Attributes
    ----------
    card : content of `model.json` (threshold, split parameters, mpp_um, tile_px, ...); after `load`
        with the threshold and split parameters that were chosen for these maps
    precision : fp32, or bf16 (autocast), whose maps differ by about 1/255 (single pixels: 74/255)
    flips : maps and gate weights are means over the image and its three flips (test-time
        augmentation), which takes four times as long
    runtime : library that computes the network; on a GPU always torch
    """

    def __init__(
        self,
        model: "Network",
        card: ModelCard,
        device: "torch.device",
        *,
        source: str = "the model",
        precision: Precision = "fp32",
        flips: bool = False,
        runtime: Runtime = "torch",
    ) -> None:
        import torch

        from semimoe.networks.folded_normalisation import fold_batch_normalisation

        self.card, self.precision, self.flips = card, precision, flips
        self._source = source
        self._device = device
        self._batches = MemoryBoundedBatches(self._forward)
        model.eval()
        if precision == "fp32":
            fold_batch_normalisation(model)
        self._model = model.to(memory_format=torch.channels_last).to(device)  # type: ignore[call-overload]
        self.runtime: Runtime = runtime if device.type == "cpu" else "torch"
        self._function = self._with_torch
        if self.runtime == "openvino":
            from semimoe.prediction.openvino_network import OpenVinoNetwork

            self._function = OpenVinoNetwork(
                self._model, threads=torch.get_num_threads(), precision=precision
            )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: Device,
        threads: int,
        precision: PrecisionChoice = "fp32",
        flips: FlipsChoice = False,
        runtime: Runtime = "torch",
    ) -> "Predictor":
        """Load a model folder.

        Parameters
        ----------
        precision : auto: bf16 where the device computes it natively, otherwise fp32; with OpenVINO
            always fp32
        flips : see the attributes; auto: see `resolve_flips`
        runtime : see the attributes

        Raises
        ------
        ModelError
            Files of the folder are missing, damaged or do not belong together.
        DeviceError
            A GPU was requested and none is available, or the runtime is not installed.
        """
        from semimoe.devices import choose_device

        card = load_card(folder)
        tensors, _ = load_weights(folder, card)
        try:
            model = METHODS[card.method].load_learner().build_network(card.network)
            model.load_state_dict(tensors)
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{folder}: {WEIGHTS} does not fit {CARD} ({str(error).splitlines()[0]}); "
                "take both files from the same training run"
            ) from error
        has_flips = resolve_flips(flips, card, device)
        return cls(
            model,
            card.for_prediction(flips=has_flips),
            choose_device(device, threads=threads),
            source=str(folder),
            precision=_resolved(precision, device, runtime),
            flips=has_flips,
            runtime=runtime,
        )

    @classmethod
    def untrained(
        cls,
        network: NetworkSettings,
        *,
        threads: int,
        precision: PrecisionChoice = "fp32",
        flips: FlipsChoice = False,
        runtime: Runtime = "torch",
    ) -> "Predictor":
        """A network with random weights on the CPU, to measure the speed of prediction.

        It is as fast as a trained network.
        """
        from semimoe.devices import choose_device

        card = ModelCard(
            method=MAIN_METHOD.name,
            network=network,
            mpp_um=1.0,
            tile_px=STRIDE_PX,
            sdf_um=network.sdf_um,
            sdf_scale=network.sdf_scale,
            normalisation=Normalisation(),
            threshold=0.5,
            split=SplitChoice(seed_depth_um=0.0, boundary_level=0.5, growth_um=0.0),
        )
        return cls(
            MAIN_METHOD.load_learner().build_network(network),
            card,
            choose_device("cpu", threads=threads),
            precision=_resolved(precision, "cpu", runtime),
            flips=resolve_flips(flips, card, "cpu"),
            runtime=runtime,
        )

    def tiles_per_s(self, tile_px: int, *, min_duration_s: float = 1.0) -> float:
        """Measured speed on blank tiles, one at a time, over at least `min_duration_s` seconds."""
        blank = np.zeros((1, 3, tile_px, tile_px), np.uint8)
        self(blank)  # the first call also initialises libraries
        start, tiles = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < min_duration_s or not tiles:
            self(blank)
            tiles += 1
        return tiles / elapsed

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of a batch.

        Parameters
        ----------
        images : uint8 (B, 3, H, W), H and W multiples of 16

        Returns
        -------
        ndarray
            float32 (B, 4, H, W): gland probability (of the gate), signed distance in [-1, 1],
            boundary probability, disagreement in [0, 1].

        Raises
        ------
        ModelError
            A value is not finite: it would look like background.
        """
        return self.maps_and_gate_weights(images)[0]

    def maps_and_gate_weights(
        self, images: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps of a batch, see `__call__`, and the weights of the gates.

        Returns
        -------
        maps : float32 (B, 4, H, W)
        gate_weights : float32 (B, 3 tasks, 3 experts), tasks and experts in the order seg, sdf,
            bnd; 0 for a gate or an expert that the network does not have
        """
        maps, gate_weights = self._batches(np.ascontiguousarray(images))
        if not np.isfinite(maps).all():
            tiles = int((~np.isfinite(maps)).any(axis=(1, 2, 3)).sum())
            remedy = "train the model again, or copy it again"
            if self.precision == "bf16":
                remedy = f"set the precision to fp32; if that does not help, {remedy}"
            raise ModelError(
                f"{self._source}: NaN or infinite values for {tiles} of {len(maps)} tiles; {remedy}"
            )
        return maps, gate_weights

    @property
    def max_tiles_at_once(self) -> int | None:
        """The largest number of tiles in one call of the network; None: memory never ran out.

        It can be set: a resumed run takes the number of the interrupted one.
        """
        return self._batches.max_tiles_at_once

    @max_tiles_at_once.setter
    def max_tiles_at_once(self, tiles: int | None) -> None:
        self._batches.max_tiles_at_once = tiles

    def _forward(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        import torch

        with torch.inference_mode():
            tensor = torch.from_numpy(images).to(self._device)
            flips = FLIPS if self.flips else FLIPS[:1]
            results = [self._forward_flipped(tensor, axes) for axes in flips]
            return tuple(
                mean_over_flips(parts).cpu().numpy() for parts in zip(*results, strict=True)
            )

    def _forward_flipped(self, images: "Tensor", axes: tuple[int, ...]) -> "tuple[Tensor, Tensor]":
        """Maps and gate weights of flipped images; the maps are flipped back."""
        maps, gate_weights = self._function(images.flip(axes) if axes else images)
        return maps.flip(axes) if axes else maps, gate_weights

    def _with_torch(self, images: "Tensor") -> "tuple[Tensor, Tensor]":
        import torch

        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self._model(images)
        maps = maps_from_outputs(outputs)
        return maps, gate_weights_by_task(outputs.gate_weights, self._model.settings, maps)


def _resolved(requested: PrecisionChoice, device: Device, runtime: Runtime) -> Precision:
    """The requested precision; for auto fp32 with OpenVINO.

    OpenVINO is faster in fp32 than torch in bf16, and its maps in bf16 differ more from fp32.
    """
    from semimoe.devices import resolve_precision

    if requested == "auto" and runtime == "openvino" and device == "cpu":
        return "fp32"
    return resolve_precision(requested, device)
