"""One training step of Semi-MoE beside a loop in the style of the paper's code: images per second, peak memory, loss curves.

python benchmarks/training_step.py
python benchmarks/training_step.py --device gpu --width 64 --size 256 --batch 8 --rounds 10

The peer: three models and a gating module, fp32, contiguous NCHW, an optimiser for each, features mixed at full resolution for
each task (eqs. 8 and 9 as written), one backward pass per phase. Ours: the package's own `Stepper`. Both start from the same
weights and see the same tiles; each works in a process of its own, in turns, so that what else the machine does meets both.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from semimoe.devices import native_precision
from semimoe.methods import PHASES
from semimoe.networks.experts import Decoder, Encoder
from semimoe.networks.mixture import SemiMoE
from semimoe.objectives.losses import AdaptiveLoss, Targets
from semimoe.objectives.targets import make_targets
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batches import Batch
from semimoe.training.optimiser_step import Stepper
from semimoe.training.optimizers import make_optimizers
from semimoe.training.training_run import Autocast

_BATCHES = 4
_STEPS = 2  # of each contender in turn
_LR, _MOMENTUM, _DECAY, _GAMMA, _SHARE, _UNSUP = 0.02, 0.9, 5e-5, 0.4, 0.5, 0.5
_MIB = 2**20


class UNet(nn.Module):
    """One of the peer's three models: last feature and prediction."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = (
            Encoder(width),
            Decoder(width),
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) -> (B, C, H, W), (B, K, H, W)."""
        feature = self.decoder(self.encoder(x))
        return feature, self.head(feature)


class Gating(nn.Module):
    """Eqs. 8 and 9 as written: features joined, pooled, weighted and summed at full resolution once for each task."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 3 * width // 2
        self.gates = nn.ModuleList(
            nn.ModuleDict(
                {
                    "mlp": nn.Sequential(nn.Linear(3 * width, hidden), nn.ReLU()),
                    "attention": nn.Sequential(
                        nn.Linear(hidden, hidden // 4), nn.Dropout(0.1), nn.Linear(hidden // 4, 3)
                    ),
                }
            )
            for _ in range(3)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for classes in (2, 1, 2))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Three features (B, C, H, W) -> logits of three tasks."""
        joined = torch.cat(features, 1)  # (B, 3 C, H, W)
        outputs = []
        for gate, head in zip(self.gates, self.heads, strict=True):
            pooled = functional.adaptive_avg_pool2d(joined, 1).flatten(1)
            weights = torch.softmax(gate["attention"](gate["mlp"](pooled)), 1)  # (B, 3)
            mixed = sum(
                weights[:, i, None, None, None] * feature
                for i, feature in enumerate(joined.chunk(3, 1))
            )
            outputs.append(head(mixed))
        return outputs


def dice(logits: Tensor, target: Tensor, *, power: int, smooth: float) -> Tensor:
    p = torch.softmax(logits, 1).flatten(2)
    y = functional.one_hot(target, 2).permute(0, 3, 1, 2).float().flatten(2)
    return (
        1 - (2 * (p * y).sum(2) + smooth) / ((p**power).sum(2) + (y**power).sum(2) + smooth)
    ).mean()


def reference_losses(outputs: list[Tensor], targets: Targets) -> Tensor:
    seg, sdf, bnd = outputs
    return torch.stack(
        [
            dice(seg, targets.mask, power=2, smooth=1.0),
            functional.mse_loss(torch.tanh(sdf), targets.sdf),
            dice(bnd, targets.boundary, power=1, smooth=1e-8),
        ]
    )


class Reference:
    """The peer."""

    def __init__(self, given: argparse.Namespace, seed: int) -> None:
        self.device = torch.device("cuda" if given.device == "gpu" else "cpu")
        self.models = [UNet(given.width, classes) for classes in (2, 1, 2)]
        self.gating = Gating(given.width)
        ours = network(given, seed)
        for i, model in enumerate(self.models):
            model.encoder.load_state_dict(ours.features.encoders[i].state_dict())
            model.decoder.load_state_dict(ours.features.decoders[i].state_dict())
            model.head.load_state_dict(ours.expert_heads[i].state_dict())
            for part in ("mlp", "attention"):
                self.gating.gates[i][part].load_state_dict(
                    getattr(ours.gates[i], part).state_dict()
                )
            self.gating.heads[i].load_state_dict(ours.gate_heads[i].state_dict())
        self.s = nn.Parameter(torch.ones(3, device=self.device))
        modules = [*self.models, self.gating]
        for module in modules:
            module.to(self.device).train()
        self.optimizers: list[Any] = [
            torch.optim.SGD(m.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY)
            for m in modules
        ]
        self.optimizers.append(torch.optim.Adam([self.s], lr=0.05, weight_decay=_DECAY))

    def step(self, labelled: Batch, unlabelled: Batch) -> float:
        """Two forward and two backward passes, then every optimiser; gives the loss."""
        labelled, unlabelled = labelled.to(self.device), unlabelled.to(self.device)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        experts, gates = self.forward(labelled.image)
        assert labelled.targets is not None
        supervised = self.adaptive(
            reference_losses(experts, labelled.targets) + reference_losses(gates, labelled.targets)
        )
        supervised.backward()
        experts, gates = self.forward(unlabelled.image)
        pseudo = Targets(
            gates[0].argmax(1).detach(), torch.tanh(gates[1]).detach(), gates[2].argmax(1).detach()
        )
        unsupervised = _SHARE * _UNSUP * self.adaptive(reference_losses(experts, pseudo))
        unsupervised.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return float(supervised.item() + unsupervised.item())

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits of experts and of gates."""
        x = (images.float() / 255 - 0.5) / 0.25
        made = [model(x) for model in self.models]
        return [prediction for _, prediction in made], self.gating([feature for feature, _ in made])

    def adaptive(self, losses: Tensor) -> Tensor:
        """Eq. 11."""
        return (torch.exp(-self.s) * losses + _GAMMA * torch.exp(self.s)).sum()


class Ours:
    """The package."""

    def __init__(self, given: argparse.Namespace, seed: int) -> None:
        from semimoe.devices import start_fabric

        training = TrainingSettings(epochs=20, warm_start_epochs=8, 
            tile_px=given.size, batch=given.batch, optimizer="sgd", lr=_LR, weight_decay=_DECAY, gamma=_GAMMA, amol_weight_decay=_DECAY,
            unsup_max=_UNSUP, max_grad_norm=None, statistics="both", precision=given.precision,
        )  # fmt: skip
        fabric = start_fabric(
            given.device, devices=1, threads=given.threads, precision=given.precision
        )
        net = network(given, seed).to(memory_format=torch.channels_last).to(fabric.device).train()  # type: ignore[call-overload]
        aggregate = AdaptiveLoss(_GAMMA).to(fabric.device)
        self.stepper = Stepper(
            Autocast(net, fabric), aggregate, make_optimizers(net, aggregate, training, _LR), PHASES["semimoe"],
            network=net.settings, training=training, mpp_um=1.0, device=fabric.device, micro_batch=given.batch,
        )  # fmt: skip

    def step(self, labelled: Batch, unlabelled: Batch) -> float:
        """One step of a run; gives the loss."""
        return sum(
            float(result.loss)
            for result in self.stepper.take(labelled, unlabelled, share=_SHARE)
            if result is not None
        )


def network(given: argparse.Namespace, seed: int) -> SemiMoE:
    torch.manual_seed(seed)
    return SemiMoE(NetworkSettings(encoder="unet", experts="separate", width=given.width))


def tiles(given: argparse.Namespace, seed: int) -> Batch:
    """Blobs of two colours with their targets."""
    rng = np.random.default_rng(seed)
    made, images = [], []
    for _ in range(given.batch):
        field = ndimage.gaussian_filter(rng.normal(size=(given.size, given.size)), 8)
        labels = ndimage.label(field > 0.02)[0].astype(np.int32)
        colours = np.where(labels > 0, 110, 215)[None] + rng.normal(
            0, 25, (3, given.size, given.size)
        )
        images.append(np.clip(colours, 0, 255).astype(np.uint8))
        made.append(
            make_targets(
                labels,
                np.ones(labels.shape, np.uint8),
                mpp_um=1.0,
                network=NetworkSettings(encoder="unet", experts="separate", width=64),
            )
        )
    targets = Targets(
        torch.from_numpy(np.stack([one.mask for one in made]).astype(np.int64)),
        torch.from_numpy(np.stack([one.sdf for one in made]))[:, None],
        torch.from_numpy(np.stack([one.boundary for one in made]).astype(np.int64)),
    )
    weight = torch.ones(given.batch, given.size, given.size, dtype=torch.uint8)
    return Batch(
        torch.from_numpy(np.stack(images)),
        weight,
        targets,
        targets.mask,
        weight,
        torch.arange(given.batch),
    )


def work(pipe: Any, kind: type, given: argparse.Namespace, seed: int) -> None:  # noqa: ANN401  # a multiprocessing connection
    """A contender in its process: told how many steps to take, answers with seconds and losses."""
    torch.set_num_threads(given.threads)
    labelled = [tiles(given, number) for number in range(_BATCHES)]
    unlabelled = [tiles(given, 100 + number)._replace(targets=None) for number in range(_BATCHES)]
    contender = kind(given, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch.manual_seed(seed)
    done = 0
    while (steps := pipe.recv()) is not None:
        start, losses = time.perf_counter(), []
        for _ in range(steps):
            losses.append(
                contender.step(labelled[done % _BATCHES], unlabelled[done % _BATCHES])
            )  # its value waits for the device
            done += 1
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
        pipe.send(
            (
                seconds,
                losses,
                torch.cuda.max_memory_allocated() / _MIB if given.device == "gpu" else peak,
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4, help="labelled and unlabelled tiles each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10, help=f"turns of {_STEPS} steps each")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "auto"), default="auto", help="of ours"
    )
    given = parser.parse_args()
    if given.precision == "auto":
        given.precision = native_precision(given.device)
    context = multiprocessing.get_context("spawn")
    contenders = {"reference": (Reference, 1), "ours": (Ours, 1), "other dropout": (Reference, 2)}
    pipes, jobs = {}, []
    for name, (kind, seed) in contenders.items():
        pipes[name], other = context.Pipe()
        jobs.append(context.Process(target=work, args=(other, kind, given, seed), daemon=True))
        jobs[-1].start()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    losses: dict[str, list[float]] = {name: [] for name in contenders}
    memory: dict[str, float] = {}
    for number in range(given.rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(_STEPS)
            took, made, memory[name] = pipe.recv()
            losses[name] += made
            if number:  # the first round sets things up
                seconds[name].append(took)
    for pipe in pipes.values():
        pipe.send(None)
    for job in jobs:
        job.join()
    report(given, seconds, losses, memory)


def report(
    given: argparse.Namespace,
    seconds: dict[str, list[float]],
    losses: dict[str, list[float]],
    memory: dict[str, float],
) -> None:
    images = 2 * given.batch * _STEPS
    what = f"width {given.width}, {given.batch} + {given.batch} tiles of {given.size} px"
    print(
        f"{given.device}, {given.threads} threads, {what}; reference fp32, ours {given.precision}"
    )
    for name in ("reference", "ours"):
        print(
            f"{name:>10}: {images / statistics.median(seconds[name]):7.2f} images/s, peak memory of training {memory[name]:6.0f} MiB"
        )
    ratios = [a / b for a, b in zip(seconds["reference"], seconds["ours"], strict=True)]
    speed = f"{statistics.median(ratios):.2f} x (turns: {min(ratios):.2f} to {max(ratios):.2f})"
    print(
        f"ours beside the reference: speed {speed}, memory {memory['ours'] / memory['reference']:.2f} x"
    )
    print("  step  " + "  ".join(f"{name:>9}" for name in losses))
    for step, values in enumerate(zip(*losses.values(), strict=True), 1):
        print(f"{step:6d}  " + "  ".join(f"{value:9.4f}" for value in values))
    apart = {
        name: float(np.abs(np.array(curve) - losses["reference"]).max())
        for name, curve in losses.items()
    }
    print(
        "largest distance from the reference: "
        + ", ".join(f"{name} {apart[name]:.4f}" for name in apart if name != "reference")
    )


if __name__ == "__main__":
    main()
