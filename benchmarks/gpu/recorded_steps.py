"""Steps of a method with and without a recording, from the same weights, tiles and numbers."""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from blob_images import BlobImages
from torch import Tensor

from semimoe.devices import choose_device, native_precision
from semimoe.methods import METHODS
from semimoe.methods.learner import Learner, LearnerContext, Outputs
from semimoe.networks.pretrained import load_pretrained
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import batches
from semimoe.training.optimiser_step import Stepper
from semimoe.training.recipe import Recipe
from semimoe.training.tile_schedule import BatchPlan

_MEAN, _STD, _MPP_UM = (0.75, 0.55, 0.7), (0.15, 0.2, 0.15), 1.24
_STEPS = 4
_LATE = 0.8  # progress of the first step: all losses are used then
# Factors on the initial weights of the heads: most predictions are certain, as those that methods
# take for pseudo-labels.
_HEAD_FACTOR, _GATE_HEAD_FACTOR = 10, 300


class StepCase(NamedTuple):
    """Settings whose steps are compared."""

    name: str
    method: str
    network: NetworkSettings
    training: TrainingSettings


class Steps(NamedTuple):
    """What some steps gave.

    Attributes
    ----------
    losses : of all phases and steps
    change : of all trained weights after the last step
    is_random : whether the same tiles and weights give other losses in each step
    waits : of one step for the GPU
    """

    losses: list[float]
    change: Tensor
    is_random: bool
    waits: int
    step_ms: float


def step_cases(tile_px: int, batch: int) -> list[StepCase]:
    """Every installed method, then settings of Semi-MoE."""
    network = NetworkSettings()
    training = TrainingSettings(
        tile_px=tile_px, batch=batch, epochs=1, warm_start_epochs=0, augment="scanners",
        optimizer="sgd", lr=0.001, ema_decay=0.9,
    )  # fmt: skip
    rows = [
        StepCase(name, name, network, training)
        for name, method in METHODS.items()
        if method.is_installed
    ]
    for name, networks, trainings in (
        ("teacher", {}, {"pseudo": "teacher"}),
        ("teacher-mask", {}, {"pseudo": "teacher-mask"}),
        ("gates of pixels", {"gate_pooling": "none"}, {"gate_balance": 0.1}),
        ("bins", {"sdf_bins": 21}, {"mask_loss": "dice+ce"}),
        ("lite2, deform", {"encoder": "efficientnet-lite2"}, {"augment": "deform"}),
        ("two-step", {}, {"update": "two-step"}),
        ("384 px", {}, {"tile_px": 3 * tile_px, "batch": 2, "augment": "deform"}),
        ("teacher-glands", {}, {"pseudo": "teacher-glands"}),
    ):
        changed = training.model_copy(update=trainings)
        rows.append(StepCase(name, "semimoe", network.model_copy(update=networks), changed))
    return rows


def take_steps(case: StepCase, arguments: argparse.Namespace, *, records: bool) -> Steps:
    """Take the steps of a case from the same weights, tiles and random numbers."""
    device = choose_device(arguments.device, threads=arguments.threads)
    learner = make_learner(case, device)
    learner.is_recordable = records and learner.is_recordable
    optimizers = learner.optimizers(lr=case.training.lr)
    uses_bf16 = native_precision(arguments.device) == "bf16" and device.type == "cuda"

    def forward(network: Callable[[Tensor], Outputs], images: Tensor) -> Outputs:
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16):
            return network(images)

    count = case.training.batch
    stepper = Stepper(learner, optimizers, forward, device=device, micro_batch=count)
    images = BlobImages(3, case.training.tile_px + 20, 2 * case.training.tile_px)
    recipe = Recipe(case.method, case.network, case.training, _MPP_UM, 0)
    labelled, unlabelled = (
        batches(images, role, recipe, BatchPlan(_STEPS), device)
        for role in ("labelled", "unlabelled")
    )
    before = trained_weights(learner)
    torch.manual_seed(1)
    losses: list[float] = []
    for step in range(_STEPS):
        tiles = next(labelled)
        others = next(unlabelled) if recipe.method.uses_unlabelled else None
        results = stepper.take(tiles, others, progress=_LATE + step / 100)
        losses += [float(result.loss) for result in results]
        learner.after_update(step)
        learner.update_average(step)
    change = trained_weights(learner) - before
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    take = partial(stepper.take, tiles, others, progress=_LATE)
    first, second = ([float(result.plain) for result in take()] for _ in range(2))
    is_random = not np.allclose(first, second, rtol=1e-6, atol=0)
    return Steps(
        losses,
        change,
        is_random,
        waits_of(take, device),
        mean_ms(take, device, steps=arguments.timed),
    )


def make_learner(case: StepCase, device: torch.device) -> Learner:
    torch.manual_seed(0)
    context = LearnerContext(case.network, case.training, _MEAN, _STD, _MPP_UM)
    learner = METHODS[case.method].load_learner()(context)
    load_pretrained(learner)
    with torch.no_grad():
        for name, weights in learner.named_parameters():
            if "head" in name and name.endswith("weight"):
                weights.mul_(_GATE_HEAD_FACTOR if "gate_heads" in name else _HEAD_FACTOR)
    learner.start_average()
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return learner.to(device).train()


def trained_weights(learner: Learner) -> Tensor:
    """Weights of the networks that the optimiser updates, on the CPU.

    Not the scales of the adaptive loss: their steps are so large that they would hide the others.
    """
    return torch.cat(
        [
            weights.detach().flatten()
            for network in learner.trained_networks()
            for weights in network.parameters()
        ]
    ).cpu()


def waits_of(take: Callable[[], object], device: torch.device) -> int:
    """How often a step waits for the GPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


def mean_ms(take: Callable[[], object], device: torch.device, *, steps: int) -> float:
    """Time of a step."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    start_s = time.perf_counter()
    for _ in range(steps):
        take()
    wait()
    return 1e3 * (time.perf_counter() - start_s) / steps
