"""A trained network that OpenVINO computes, on a CPU.

B batch, H, W height and width of a tile in px, G gates, E experts of the network.
"""

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semimoe.model_errors import DeviceError
from semimoe.prediction.output_maps import gate_weights_by_task, maps_from_outputs
from semimoe.prediction.runtimes import import_openvino, runtime_problem

if TYPE_CHECKING:
    from semimoe.methods.learner import Network
    from semimoe.settings import Precision

# OpenVINO's names of the data type in which it computes.
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
# Compiled networks that are kept, one for each size of tile.
_SIZES = 4


class OpenVinoNetwork:
    """A network as a function from images to maps and gate weights.

    Each tile is computed by one thread, so that maps do not depend on the batch.

    Parameters
    ----------
    network : trained network, on the CPU, in evaluation mode
    threads : tiles that are computed at the same time

    Raises
    ------
    DeviceError
        The package openvino is not installed.
    """

    def __init__(self, network: "Network", *, threads: int, precision: "Precision") -> None:
        if problem := runtime_problem("openvino"):
            raise DeviceError(problem)
        self._openvino = import_openvino()
        self._network, self._threads = network, threads
        self._options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            # Several jobs on a machine would all take the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._queue = lru_cache(_SIZES)(self._make_queue)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and gate weights of a batch.

        Parameters
        ----------
        images : uint8 (B, 3, H, W), H and W multiples of 16

        Returns
        -------
        maps : float32 (B, 4, H, W), see `maps_from_outputs`
        gate_weights : float32 (B, 3, 3), see `gate_weights_by_task`
        """
        queue = self._queue(*images.shape[2:])
        results: list[list[Tensor]] = [[] for _ in images]

        def keep(request: Any, tile: int) -> None:  # noqa: ANN401 - openvino has no stubs
            results[tile] = [
                torch.from_numpy(output.data.copy()) for output in request.output_tensors
            ]

        queue.set_callback(keep)
        for tile, image in enumerate(images):
            queue.start_async({0: image[None].contiguous().numpy()}, tile)
        queue.wait_all()
        maps, *gate_weights = (torch.cat(parts) for parts in zip(*results, strict=True))
        return maps, gate_weights_by_task(
            gate_weights[0] if gate_weights else None, self._network.settings, maps
        )

    def _make_queue(self, height_px: int, width_px: int) -> Any:  # noqa: ANN401
        """Networks compiled for single tiles of this size, one for each thread."""
        openvino = self._openvino
        model = self._convert(height_px, width_px)
        compiled = openvino.Core().compile_model(model, "CPU", self._options)
        return openvino.AsyncInferQueue(compiled, self._threads)

    def _convert(self, height_px: int, width_px: int) -> Any:  # noqa: ANN401
        """The network for one tile of this size in OpenVINO's form."""
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        tile = torch.zeros((1, 3, height_px, width_px), dtype=torch.uint8)
        with warnings.catch_warnings(), torch.inference_mode():
            # Sizes become constants, as they should. torch announces another way of tracing.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(_Outputs(self._network), tile, check_trace=False)  # type: ignore[no-untyped-call]
            decoder = TorchScriptPythonDecoder(traced)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        model.inputs[0].get_node().set_element_type(self._openvino.Type.u8)
        model.reshape(list(tile.shape))
        return model


class _Outputs(nn.Module):
    """Maps (B, 4, H, W), and the weights (B, G, E) of a network with gates."""

    def __init__(self, network: "Network") -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(images)
        maps = maps_from_outputs(outputs)
        return (maps,) if outputs.gate_weights is None else (maps, outputs.gate_weights)
