"""A trained network on the CPU: torch, ONNX Runtime and OpenVINO, on tiles of a slide.

python benchmarks/cpu_runtimes.py --slide CMU-1-Small-Region.svs --model models/glas
python benchmarks/cpu_runtimes.py --slide CMU-1-Small-Region.svs --model models/glas \
    --instructions AVX512_CORE

Contenders need the packages onnx, onnxruntime and openvino, which are not part of the project. Each
contender works in its own process; the processes take turns, so that other load of the machine
affects all of them. Times are medians per tile. Differences are those to torch in fp32.

`--instructions` sets ONEDNN_MAX_CPU_ISA. It limits the convolutions of torch and most kernels of
OpenVINO, but not torch's other operations, and not ONNX Runtime, which does not use oneDNN.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semimoe.prediction.runtimes import import_openvino

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Conv2d, Module

Maps = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
_BATCHES = {256: 8, 512: 2}  # tiles at a time, by size in px
_ONNX = "network.onnx"
_OPSET = 17


class Start(NamedTuple):
    """What a contender takes before its first tile, s of processor time."""

    imports_s: float
    load_s: float


class Turn(NamedTuple):
    """One batch of a contender, s per tile."""

    wall_s: float
    cpu_s: float


def project_torch(model: Path, threads: int, precision: str) -> Maps:
    """The network as the project predicts with it."""
    from semimoe.prediction.predictor import Predictor

    return Predictor.load(model, device="cpu", threads=threads, precision=precision)


def project_openvino(model: Path, threads: int, precision: str) -> Maps:
    """The network with `prediction.runtime: openvino`."""
    from semimoe.prediction.predictor import Predictor

    return Predictor.load(
        model, device="cpu", threads=threads, precision=precision, runtime="openvino"
    )


def as_trained(model: Path, threads: int, precision: str) -> Maps:
    """The network with its batch normalisation, in torch."""
    return _called(_maps_module(model, threads))


def _maps_module(model: Path, threads: int) -> "Module":
    """The network as it was trained, and its maps, as one module of torch."""
    import torch

    from semimoe.methods import METHODS
    from semimoe.model_card import load_card
    from semimoe.model_weights import load_weights
    from semimoe.prediction.output_maps import maps_from_outputs

    torch.set_num_threads(threads)
    card = load_card(model)
    trained = METHODS[card.method].load_learner().build_network(card.network)
    trained.load_state_dict(load_weights(model, card)[0])

    class MapsModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = trained.to(memory_format=torch.channels_last)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return maps_from_outputs(self.network(images))

    return MapsModule().eval()


def _called(module: "Module") -> Maps:
    import torch

    def maps(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(torch.from_numpy(images)).numpy()

    return maps


def folded_bf16(model: Path, threads: int, precision: str) -> Maps:
    """Batch normalisation is part of the convolutions; weights and features are bf16."""
    import torch
    from torch.nn import functional

    from semimoe.networks import efficientnet, mixture
    from semimoe.networks.folded_normalisation import fold_batch_normalisation

    def convolve(self: "Conv2d", x: "Tensor", padding: int) -> "Tensor":
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, 1, self.groups)

    efficientnet._SamePaddedConvolution._convolve = convolve
    module = _maps_module(model, threads)
    fold_batch_normalisation(module)
    module.to(memory_format=torch.channels_last)
    normalise = mixture.normalise_images
    mixture.normalise_images = lambda *values: normalise(*values).bfloat16()
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.bfloat16()
    return _called(module)


def torchscript(model: Path, threads: int, precision: str) -> Maps:
    """Traced, frozen and optimised by torch."""
    import torch

    module = _maps_module(model, threads)
    tile = torch.zeros((1, 3, 256, 256), dtype=torch.uint8)
    with torch.inference_mode():
        traced = torch.jit.freeze(torch.jit.trace(module, tile, check_trace=False))
        return _called(torch.jit.optimize_for_inference(traced))


def compiled(model: Path, threads: int, precision: str) -> Maps:
    """torch.compile; it needs a C++ compiler."""
    import torch

    os.environ["TORCHINDUCTOR_FREEZING"] = "1"
    return _called(torch.compile(_maps_module(model, threads), dynamic=False))


def onnx_runtime(model: Path, threads: int, precision: str) -> Maps:
    """ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_ONNX, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def openvino_onnx(model: Path, threads: int, precision: str) -> Maps:
    """OpenVINO from ONNX; the batch is one input, and all threads compute it together."""
    openvino = import_openvino()
    core, networks = openvino.Core(), {}
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
    }

    def maps(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if images.shape not in networks:
            network = core.read_model(_ONNX)
            network.reshape(list(images.shape))
            networks[images.shape] = core.compile_model(network, "CPU", options)
        return networks[images.shape](images)[0]

    return maps


CONTENDERS = {
    "torch fp32": (as_trained, "fp32"),
    "torch bf16": (project_torch, "bf16"),
    "torch fp32, folded": (project_torch, "fp32"),
    "torch bf16, folded": (folded_bf16, "bf16"),
    "TorchScript fp32": (torchscript, "fp32"),
    "torch.compile fp32": (compiled, "fp32"),
    "ONNX Runtime fp32": (onnx_runtime, "fp32"),
    "OpenVINO fp32, from ONNX": (openvino_onnx, "fp32"),
    "OpenVINO bf16, from ONNX": (openvino_onnx, "bf16"),
    "OpenVINO fp32, runtime": (project_openvino, "fp32"),
    "OpenVINO bf16, runtime": (project_openvino, "bf16"),
}
_IMPORTS = {onnx_runtime: lambda: import_module("onnxruntime"), openvino_onnx: import_openvino}


def work(name: str, model: Path, threads: int, sizes: list[int], pipe: Connection) -> None:
    """Compute batches on request, in a process of its own."""
    warnings.simplefilter("ignore")
    make, precision = CONTENDERS[name]
    start = time.process_time()
    _IMPORTS.get(make, lambda: import_module("torch"))()
    imported = time.process_time()
    maps = make(model, threads, precision)
    tiles = {size: np.load(f"tiles{size}.npy") for size in sizes}
    first = time.process_time()
    results = {size: maps(batch) for size, batch in tiles.items()}  # compiles
    for batch in tiles.values():
        maps(batch)  # TorchScript optimises in the first calls
    loaded = time.process_time()
    load_s = first - imported + max(loaded - first - _steady_s(maps, tiles) * 2, 0)
    for size, values in results.items():
        np.save(f"{name.replace(' ', '_')}-{size}.npy", values)
    pipe.send(Start(imported - start, load_s))
    while (size := pipe.recv()) is not None:
        wall, cpu = time.perf_counter(), time.process_time()
        maps(tiles[size])
        count = len(tiles[size])
        pipe.send(Turn((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count))
    pipe.send(_peak_mib())


def _peak_mib() -> float:
    """Largest memory of this process; not of getrusage, which also counts the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _steady_s(maps: Maps, tiles: dict[int, NDArray[np.uint8]]) -> float:
    start = time.process_time()
    for batch in tiles.values():
        maps(batch)
    return time.process_time() - start


def write_inputs(slide: Path, model: Path, sizes: list[int]) -> None:
    """Write the darkest tiles at the resolution of the model."""
    from semimoe.model_card import load_card
    from tiling.raster.area_average import area_average
    from tiling.raster.geometry import Window
    from tiling.slides.slide_reader import open_slide

    with open_slide(slide) as opened:
        metadata = opened.metadata
        image = opened.read(0, Window(0, 0, metadata.height_px, metadata.width_px))
    mpp_um = load_card(model).mpp_um
    reduction = (mpp_um / metadata.mpp_y, mpp_um / metadata.mpp_x)
    image = np.moveaxis(area_average(image, reduction), -1, 0)
    shape = image.shape[1:]
    for size in sizes:
        corners = [
            (y, x)
            for y in range(0, shape[0] - size + 1, size // 2)
            for x in range(0, shape[1] - size + 1, size // 2)
        ]
        tiles = [image[:, y : y + size, x : x + size] for y, x in corners]
        darkest = sorted(tiles, key=lambda tile: float(tile.mean()))[: _BATCHES[size]]
        np.save(f"tiles{size}.npy", np.ascontiguousarray(darkest))


def write_onnx(model: Path) -> None:
    """Write the network and its maps as an ONNX file."""
    import torch

    axes = {0: "batch", 2: "height", 3: "width"}
    warnings.simplefilter("ignore")
    torch.onnx.export(
        _maps_module(model, 1),
        (torch.zeros((2, 3, 256, 256), dtype=torch.uint8),),
        _ONNX,
        dynamo=False,
        opset_version=_OPSET,
        input_names=["images"],
        output_names=["maps"],
        dynamic_axes={"images": axes, "maps": axes},
    )


def compare(arguments: argparse.Namespace, threads: int) -> None:
    """Run all contenders in turns and print a table."""
    context = multiprocessing.get_context("spawn")
    pipes, starts = {}, {}
    for name in arguments.contenders:
        pipes[name], theirs = context.Pipe()
        work_arguments = (name, arguments.model, threads, arguments.sizes, theirs)
        context.Process(target=work, args=work_arguments, daemon=True).start()
        theirs.close()
        starts[name] = pipes[name].recv()  # one after the other
    turns: dict[tuple[str, int], list[Turn]] = {}
    for _ in range(arguments.rounds):
        for size in arguments.sizes:
            for name, pipe in pipes.items():
                pipe.send(size)
                turns.setdefault((name, size), []).append(pipe.recv())
    for name, pipe in pipes.items():
        pipe.send(None)
        peak_mib = pipe.recv()
        start = starts[name]
        print(
            f"{threads} threads, {name}: import {start.imports_s:.1f} s, load and compile "
            f"{start.load_s:.1f} s, peak {peak_mib:.0f} MiB"
        )
        for size in arguments.sizes:
            print("   ", _row(name, size, turns))


def _row(name: str, size: int, turns: dict[tuple[str, int], list[Turn]]) -> str:
    wall_s = statistics.median(turn.wall_s for turn in turns[name, size])
    cpu_s = statistics.median(turn.cpu_s for turn in turns[name, size])
    peer = f"torch {CONTENDERS[name][1]}"
    # Of the same round, so that other load of the machine affects both.
    ratio = statistics.median(
        theirs.cpu_s / ours.cpu_s
        for theirs, ours in zip(turns[peer, size], turns[name, size], strict=True)
    )
    reference = np.load(f"torch_fp32-{size}.npy")
    maps = np.load(f"{name.replace(' ', '_')}-{size}.npy")
    difference = 255 * np.abs(maps - reference)
    crossed = ((maps[:, 0] > 0.5) != (reference[:, 0] > 0.5)).mean()
    return (
        f"{size} px: {1 / wall_s:.1f} tiles/s; processor {1000 * cpu_s:.1f} ms per tile, "
        f"{ratio:.2f} x {peer}; difference / 255: largest {difference.max():.2f}, mean "
        f"{difference.mean():.4f}; on the other side of 0.5: {1e6 * crossed:.0f} in 1e6"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", choices=_BATCHES, default=list(_BATCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instructions", help="largest instruction set, as oneDNN calls it")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    arguments = parser.parse_args()
    if not shutil.which("c++") and "torch.compile fp32" in arguments.contenders:
        print("torch.compile is left out: there is no C++ compiler")
        arguments.contenders.remove("torch.compile fp32")
    slide, arguments.model = arguments.slide.resolve(), arguments.model.resolve()
    if arguments.instructions:
        os.environ["ONEDNN_MAX_CPU_ISA"] = arguments.instructions
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_inputs(slide, arguments.model, arguments.sizes)
        if any(
            CONTENDERS[name][0] in (onnx_runtime, openvino_onnx) for name in arguments.contenders
        ):
            write_onnx(arguments.model)
        for threads in arguments.threads:
            compare(arguments, threads)


if __name__ == "__main__":
    main()
