"""Speed, peak memory and losses of one Semi-MoE training step, compared with a simple loop.

python benchmarks/training_step.py
python benchmarks/training_step.py --device gpu --width 64 --size 256 --batch 8 --rounds 10

The peer is a loop in the style of the paper's code: three models and a gating module, fp32,
contiguous NCHW memory, one optimiser per module, features mixed at full resolution for each task
(eqs. 8 and 9 as written), and one backward pass per phase. The project's side is its `Stepper`.
Both start from the same weights and train on the same tiles. Each works in its own process; the
processes take turns, so that other load of the machine affects both.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from training_peer import (
    GAMMA,
    LOSS_SCALE_LR,
    LR,
    MEAN,
    PROGRESS,
    STD,
    UNSUP_MAX,
    WEIGHT_DECAY,
    PeerContender,
)

from semimoe.devices import native_precision, start_device
from semimoe.methods.learner import LearnerContext
from semimoe.methods.semimoe import SemiMoELearner
from semimoe.networks.mixture import NetworkOutputs
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets
from semimoe.objectives.targets import make_targets
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.optimiser_step import Stepper

_BATCHES = 4
_STEPS_PER_TURN = 2
_MIB = 2**20


class ProjectContender:
    """The project's own optimiser step."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        device = start_device(
            arguments.device,
            devices=1,
            threads=arguments.threads,
            precision=arguments.precision,
        )

        def forward(network: nn.Module, images: Tensor) -> NetworkOutputs:
            with device.autocast():
                return network(images)

        learner = semimoe_learner(arguments).to(memory_format=torch.channels_last)
        learner.to(device.device).train()
        self.stepper = Stepper(
            learner,
            learner.optimizers(lr=LR),
            forward,
            device=device.device,
            micro_batch=arguments.batch,
        )

    def step(self, labelled: Batch, unlabelled: Batch) -> float:
        """One step of a run; returns the loss."""
        results = self.stepper.take(labelled, unlabelled, progress=PROGRESS)
        return sum(float(result.loss) for result in results if result is not None)


def semimoe_learner(arguments: argparse.Namespace) -> SemiMoELearner:
    """Learner with the same initial weights in every process."""
    training = TrainingSettings(
        epochs=20, warm_start_epochs=8, tile_px=arguments.size, batch=arguments.batch,
        optimizer="sgd", lr=LR, weight_decay=WEIGHT_DECAY, gamma=GAMMA,
        amol_lr=LOSS_SCALE_LR, amol_weight_decay=WEIGHT_DECAY, unsup_max=UNSUP_MAX,
        max_grad_norm=None, statistics="both", precision=arguments.precision,
    )  # fmt: skip
    context = LearnerContext(
        network_settings(arguments), training, (MEAN,) * 3, (STD,) * 3, mpp_um=1.0
    )
    torch.manual_seed(0)
    return SemiMoELearner(context)


def network_settings(arguments: argparse.Namespace) -> NetworkSettings:
    return NetworkSettings(encoder="unet", experts="separate", width=arguments.width)


def random_batch(arguments: argparse.Namespace, seed: int) -> Batch:
    """Tiles with dark blobs on a bright background, and their targets."""
    rng = np.random.default_rng(seed)
    shape, count = (arguments.size, arguments.size), arguments.batch
    all_pixels = np.ones(shape, np.uint8)
    arrays, images = [], []
    for _ in range(count):
        labels = ndimage.label(ndimage.gaussian_filter(rng.normal(size=shape), 8) > 0.02)[0]
        labels = labels.astype(np.int32)
        colours = np.where(labels > 0, 110, 215)[None] + rng.normal(0, 25, (3, *shape))
        images.append(np.clip(colours, 0, 255).astype(np.uint8))
        network = network_settings(arguments)
        arrays.append(make_targets(labels, all_pixels, mpp_um=1.0, network=network))
    targets = Targets(
        torch.from_numpy(np.stack([tile.mask for tile in arrays]).astype(np.int64)),
        torch.from_numpy(np.stack([tile.sdf for tile in arrays]))[:, None],
        torch.from_numpy(np.stack([tile.boundary for tile in arrays]).astype(np.int64)),
    )
    weight = torch.ones(count, *shape, dtype=torch.uint8)
    image = torch.from_numpy(np.stack(images))
    return Batch(image, weight, targets, targets.mask, weight, torch.arange(count))


class TurnResult(NamedTuple):
    """Measurements of a few steps."""

    seconds: float
    losses: list[float]
    peak_mib: float  # memory above that before the first step; on a GPU, memory of the GPU


Contender = Callable[[argparse.Namespace], PeerContender | ProjectContender]


def make_peer(arguments: argparse.Namespace) -> PeerContender:
    device = torch.device("cuda" if arguments.device == "gpu" else "cpu")
    return PeerContender(semimoe_learner(arguments), device)


def run_contender(
    pipe: Connection, make_contender: Contender, arguments: argparse.Namespace, seed: int
) -> None:
    """Work of a process: receive a number of steps, take them, send a `TurnResult`; None ends."""
    torch.set_num_threads(arguments.threads)
    labelled = [random_batch(arguments, index) for index in range(_BATCHES)]
    unlabelled = [
        random_batch(arguments, 100 + index)._replace(targets=None) for index in range(_BATCHES)
    ]
    contender = make_contender(arguments)
    initial_mib = process_peak_mib()
    torch.manual_seed(seed)
    done = 0
    while (steps := pipe.recv()) is not None:
        start, losses = time.perf_counter(), []
        for _ in range(steps):  # the value of a loss waits for the device
            losses.append(contender.step(labelled[done % _BATCHES], unlabelled[done % _BATCHES]))
            done += 1
        seconds = time.perf_counter() - start
        peak_mib = process_peak_mib() - initial_mib
        if arguments.device == "gpu":
            peak_mib = torch.cuda.max_memory_allocated() / _MIB
        pipe.send(TurnResult(seconds, losses, peak_mib))


def process_peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CONTENDERS: dict[str, tuple[Contender, int]] = {
    "peer": (make_peer, 1),
    "project": (ProjectContender, 1),
    # Differs from the peer by the random numbers of dropout only.
    "other dropout": (make_peer, 2),
}


def measure(arguments: argparse.Namespace) -> dict[str, list[TurnResult]]:
    """Results of the turns of each contender; the first turn includes the set-up."""
    context = multiprocessing.get_context("spawn")
    pipes, jobs = {}, []
    for name, (make_contender, seed) in CONTENDERS.items():
        pipes[name], other_end = context.Pipe()
        job_arguments = (other_end, make_contender, arguments, seed)
        jobs.append(context.Process(target=run_contender, args=job_arguments, daemon=True))
        jobs[-1].start()
    turns: dict[str, list[TurnResult]] = {name: [] for name in CONTENDERS}
    for _ in range(arguments.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(_STEPS_PER_TURN)
            turns[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(None)
    for job in jobs:
        job.join()
    return turns


def report(arguments: argparse.Namespace, turns: dict[str, list[TurnResult]]) -> None:
    tiles = f"{arguments.batch} + {arguments.batch} tiles of {arguments.size} px"
    print(f"{arguments.device}, {arguments.threads} threads, width {arguments.width}, {tiles}")
    print(f"precision: peer fp32, project {arguments.precision}")
    images = 2 * arguments.batch * _STEPS_PER_TURN
    seconds = {name: [turn.seconds for turn in results[1:]] for name, results in turns.items()}
    memory = {name: results[-1].peak_mib for name, results in turns.items()}
    for name in ("peer", "project"):
        rate = images / statistics.median(seconds[name])
        print(f"{name:>10}: {rate:7.2f} images/s, peak memory of training {memory[name]:6.0f} MiB")
    ratios = [a / b for a, b in zip(seconds["peer"], seconds["project"], strict=True)]
    speed = f"{statistics.median(ratios):.2f} x (turns: {min(ratios):.2f} to {max(ratios):.2f})"
    relative_memory = memory["project"] / memory["peer"]
    print(f"project compared with peer: speed {speed}, memory {relative_memory:.2f} x")
    losses = {
        name: np.concatenate([turn.losses for turn in results]) for name, results in turns.items()
    }
    print("  step  " + "  ".join(f"{name:>13}" for name in losses))
    for step, values in enumerate(zip(*losses.values(), strict=True), 1):
        print(f"{step:6d}  " + "  ".join(f"{value:13.4f}" for value in values))
    for name in ("project", "other dropout"):
        difference = np.abs(losses[name] - losses["peer"]).max()
        print(f"largest difference of a loss, {name} and peer: {difference:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="side of a tile, px")
    parser.add_argument("--batch", type=int, default=4, help="labelled and unlabelled tiles each")
    parser.add_argument("--threads", type=int, default=1)
    rounds_help = f"turns of {_STEPS_PER_TURN} steps each"
    parser.add_argument("--rounds", type=int, default=10, help=rounds_help)
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "auto"), default="auto", help="of the project"
    )
    arguments = parser.parse_args()
    if arguments.precision == "auto":
        arguments.precision = native_precision(arguments.device)
    report(arguments, measure(arguments))


if __name__ == "__main__":
    main()
