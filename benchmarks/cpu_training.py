"""Processor time of a training step of the default network on one CPU thread, per labelled tile.

python benchmarks/cpu_training.py
python benchmarks/cpu_training.py --other OLDER_CHECKOUT --rounds 7
python benchmarks/cpu_training.py --gradients
python benchmarks/cpu_training.py --profile
python benchmarks/cpu_training.py --grouped [--device cuda]
python benchmarks/cpu_training.py --average

With `--other`, the same steps by the code of another checkout take turns with this one.
`--gradients` compares the gradients of a step in bf16 with those in fp32, `--profile` lists the
operations that take most time, `--grouped` compares three convolutions of the three decoders with
one grouped convolution, and `--average` measures an update of the moving average of the weights.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from training_step import random_batch

from semimoe.devices import RunDevice, start_device
from semimoe.methods import METHODS
from semimoe.methods.learner import Learner, LearnerContext, Step
from semimoe.networks.mixture import SemiMoE
from semimoe.networks.moving_average import update_moving_average
from semimoe.networks.pretrained import load_pretrained
from semimoe.objectives.batch import Batch
from semimoe.settings import NetworkSettings, Precision, TrainingSettings
from semimoe.training.optimiser_step import Stepper

REPO = Path(__file__).parents[1]
_PROGRESS = 0.3


def make_learner(method: str, batch: int, precision: Precision) -> Learner:
    training = TrainingSettings(batch=batch, precision=precision, warm_start_epochs=0)
    context = LearnerContext(NetworkSettings(), training, (0.6,) * 3, (0.2,) * 3, mpp_um=1.0)
    torch.manual_seed(0)
    learner: Learner = METHODS[method].load_learner()(context)
    load_pretrained(learner.network)
    return learner.to(memory_format=torch.channels_last).train()


def batches(arguments: argparse.Namespace, method: str) -> tuple[Batch, Batch | None]:
    arguments.size, arguments.width = arguments.tile, NetworkSettings().width
    labelled = random_batch(arguments, 0)
    if not METHODS[method].uses_unlabelled:
        return labelled, None
    return labelled, random_batch(arguments, 100)._replace(targets=None)


def step_function(arguments: argparse.Namespace, method: str) -> Callable[[], None]:
    """One optimiser step on the same batches."""
    device = start_device("cpu", devices=1, threads=1, precision=arguments.precision)

    def forward(network: torch.nn.Module, images: torch.Tensor) -> object:
        with device.autocast():
            return network(images)

    learner = make_learner(method, arguments.batch, arguments.precision)
    stepper = Stepper(
        learner,
        learner.optimizers(lr=0.002),
        forward,
        device=device.device,
        micro_batch=arguments.batch,
    )
    labelled, unlabelled = batches(arguments, method)
    return lambda: stepper.take(labelled, unlabelled, progress=_PROGRESS) and None


def work(arguments: argparse.Namespace) -> None:
    """Take a step for each line of the input; print its processor time (ms) and the peak (MiB)."""
    take_step = step_function(arguments, arguments.work)
    take_step()
    for _ in sys.stdin:
        start_s = time.process_time()
        take_step()
        ms = 1e3 * (time.process_time() - start_s) / arguments.batch
        print(ms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, flush=True)


def compare(arguments: argparse.Namespace, method: str) -> None:
    """Steps of this code and of the other checkout in turns, each in a process of its own."""
    checkouts = [path.absolute() for path in (REPO, arguments.other) if path]
    options = [f"--{name}={getattr(arguments, name)}" for name in ("tile", "batch", "precision")]
    processes = []
    for checkout in checkouts:
        paths = [str(checkout), str(REPO / "benchmarks")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--work", method, *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        processes.append(process)
    times: list[list[float]] = [[] for _ in processes]
    peaks = [0] * len(processes)
    for _ in range(arguments.rounds):
        for i, process in enumerate(processes):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(
                    f"{method}: a step by the code of {checkouts[i]} failed, see above"
                )
            ms, mib = line.split()
            times[i].append(float(ms))
            peaks[i] = int(mib)
    for process in processes:
        process.communicate()
    for name, values, peak in zip(("this code", "other"), times, peaks, strict=False):
        middle = statistics.median(values)
        print(f"{method}, {name}: {middle:.0f} ms per labelled tile, peak {peak} MiB")
    if arguments.other:
        ratios = [other / own for own, other in zip(*times, strict=True)]
        print(f"{method}: {statistics.median(ratios):.2f} x the speed of the other checkout")


def compare_gradients(arguments: argparse.Namespace, method: str) -> None:
    """Relative difference of the gradients of a step in bf16 to those in fp32."""
    gradients = {}
    for precision in ("fp32", "bf16"):
        learner = make_learner(method, arguments.batch, precision)
        device = RunDevice(torch.device("cpu"), precision)

        def forward(network: torch.nn.Module, images: torch.Tensor) -> object:
            with device.autocast():  # noqa: B023  # called in this round only
                return network(images)

        step = Step(forward, *batches(arguments, method), torch.tensor(_PROGRESS))
        torch.manual_seed(0)
        for phase in learner.phases():
            phase(step).loss.backward()
        gradients[precision] = {
            name: parameter.grad
            for name, parameter in learner.named_parameters()
            if parameter.grad is not None
        }
    for part in ("encoder", "decoders"):
        differences = [
            float((gradients["bf16"][name] - gradient).norm() / gradient.norm())
            for name, gradient in gradients["fp32"].items()
            if f".{part}." in name and gradient.norm() > 0
        ]
        middle = statistics.median(differences)
        print(f"{method}, {part}: relative difference of gradients, median {middle:.4f}")


def print_profile(arguments: argparse.Namespace, method: str) -> None:
    take_step = step_function(arguments, method)
    take_step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        take_step()
    table = recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=20)
    print(f"{method}\n{table}")


def compare_grouped(arguments: argparse.Namespace) -> None:
    """Three convolutions 3 x 3, one of each decoder, and one grouped convolution."""

    def clock() -> float:
        if arguments.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    for channels, side in ((16, arguments.tile), (32, arguments.tile // 2)):
        for groups in (1, 3):
            shape = (arguments.batch, groups * channels, side, side)
            options = {"dtype": torch.bfloat16, "device": arguments.device}
            x = torch.randn(shape, **options).to(memory_format=torch.channels_last)
            kernel = torch.randn((groups * channels, channels, 3, 3), **options)
            x.requires_grad_()
            kernel.requires_grad_()
            times = []
            for _ in range(arguments.rounds + 1):
                start_s = clock()
                for _ in range(3 // groups):
                    result = torch.conv2d(x, kernel, padding=1, groups=groups)
                    torch.autograd.grad(result, (x, kernel), result.detach())
                times.append(1e3 * (clock() - start_s))
            name = "grouped" if groups == 3 else "three times"
            middle = statistics.median(times[1:])
            print(f"{channels} channels, {side} px, {name}: {middle:.1f} ms with gradients")


def measure_average(arguments: argparse.Namespace) -> None:
    """Processor time of an update of the moving average."""
    average, latest = SemiMoE(NetworkSettings()).requires_grad_(False), SemiMoE(NetworkSettings())
    times = []
    for _ in range(10 * arguments.rounds):
        start_s = time.process_time()
        update_moving_average(average, latest, decay=0.9)
        times.append(1e3 * (time.process_time() - start_s))
    print(f"moving average: {statistics.median(times):.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["supervised", "semimoe"])
    parser.add_argument("--other", type=Path, help="an older checkout of the project")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tile", type=int, default=256, help="side of a tile, px")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--grouped", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of --grouped")
    parser.add_argument("--average", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments)
        return
    torch.set_num_threads(1)
    if arguments.grouped:
        compare_grouped(arguments)
        return
    if arguments.average:
        measure_average(arguments)
        return
    for method in arguments.methods:
        if arguments.gradients:
            compare_gradients(arguments, method)
        elif arguments.profile:
            print_profile(arguments, method)
        else:
            compare(arguments, method)


if __name__ == "__main__":
    main()
