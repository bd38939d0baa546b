"""Operations that a GPU records: they read no value, and no tensor of another device.

They run on the device `meta`, whose tensors have no values: reading one is an error, and so is an
operation of tensors on different devices, except with a single number of the CPU.
"""

import numpy as np
import pytest
import torch
from learner_steps import METHOD_NAMES, TINY_NETWORK, TINY_TRAINING, batch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semimoe.methods import METHODS
from semimoe.methods.learner import Learner, LearnerContext, Step
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.batch_loader import _BatchInputs, _make_batch
from semimoe.training.device_tiles import DeviceTiles
from semimoe.training.recipe import Recipe
from semimoe.training.tile_schedule import BatchPlan, scheduled_batches
from tiling.raster.tile import Tile

META = torch.device("meta")
TEACHER = {"pseudo": "teacher", "ema_decay": 0.9}


class CpuTensors(TorchDispatchMode):
    """Notes operations that make a tensor on the CPU: a recording would copy it once."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if any(isinstance(one, torch.Tensor) and one.is_cpu for one in tree_leaves(result)):
            self.operations.append(str(operation))
        return result


def learner_on_meta(
    method: str, network: NetworkSettings = TINY_NETWORK, **training: object
) -> Learner:
    settings = TINY_TRAINING.model_copy(update=training)
    context = LearnerContext(network, settings, (0.5,) * 3, (0.25,) * 3, mpp_um=1.0)
    learner = METHODS[method].load_learner()(context)
    learner.start_average()
    return learner.to(META).train()


def step_on_meta() -> Step:
    """Input of the phases at the end of the schedule."""
    return Step(
        lambda network, images: network(images),
        batch(1, labelled=True).to(META),
        batch(2, labelled=False).to(META),
        torch.tensor(0.9).to(META),
    )


def take_step(learner: Learner) -> None:
    """Losses and gradients of all phases."""
    step = step_on_meta()
    for phase in learner.phases():
        result = phase(step)
        assert result is not None
        result.loss.backward()


def check_recordable(learner: Learner) -> None:
    """A step runs without values, and makes no tensor on the CPU once constants are kept."""
    take_step(learner)
    step = step_on_meta()
    with CpuTensors() as made:
        for phase in learner.phases():
            phase(step)
    assert made.operations == []


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_phases_read_values_only_if_a_method_says_that_it_cannot_be_recorded(method) -> None:
    learner = learner_on_meta(method)
    if learner.is_recordable:
        check_recordable(learner)
    else:
        with pytest.raises(RuntimeError, match="meta"):
            take_step(learner)


@pytest.mark.parametrize(
    ("network", "training"),
    [
        (TINY_NETWORK, TEACHER),
        (TINY_NETWORK, TEACHER | {"pseudo": "teacher-mask"}),
        (
            TINY_NETWORK.model_copy(update={"gates": "single"}),
            TEACHER | {"pseudo": "teacher-mask"},
        ),
        (TINY_NETWORK, {"update": "two-step", "mask_loss": "dice+ce", "sdf_loss": "l1"}),
        (
            NetworkSettings(
                width=4,
                encoder="efficientnet-lite2",
                gate="code",
                gate_pooling="none",
                sdf_bins=21,
            ),
            TEACHER | {"gate_balance": 0.1},
        ),
    ],
)
def test_settings_of_semimoe_that_are_recorded(network, training) -> None:
    learner = learner_on_meta("semimoe", network, **training)
    assert learner.is_recordable
    check_recordable(learner)


@pytest.mark.parametrize(
    ("gates", "training"),
    [
        ("multi", {"pseudo": "derived"}),
        ("single", {}),
        ("multi", TEACHER | {"pseudo": "teacher-glands"}),
    ],
)
def test_targets_that_are_made_from_glands_are_not_recorded(gates, training) -> None:
    learner = learner_on_meta(
        "semimoe", TINY_NETWORK.model_copy(update={"gates": gates}), **training
    )
    assert not learner.is_recordable
    with pytest.raises(NotImplementedError, match="meta"):
        take_step(learner)


@pytest.mark.parametrize(
    ("role", "augment"),
    [("labelled", "deform"), ("unlabelled", "scanners"), ("unlabelled", "paper")],
)
def test_windows_augmentation_and_targets_of_a_batch_are_recordable(role, augment) -> None:
    labels = np.zeros((40, 50), np.int32)
    labels[8:20, 8:20] = 1
    tile = Tile(
        np.full((3, 40, 50), 200, np.uint8),
        labels,
        pseudo=np.zeros((3, 40, 50), np.uint8),
        skeleton=np.zeros((40, 50), np.uint8),
    )
    training = TrainingSettings(
        tile_px=32, batch=2, epochs=1, warm_start_epochs=0, augment=augment, **TEACHER
    )
    network = NetworkSettings(width=4, sdf_scale="skeleton")
    recipe = Recipe("semimoe", network, training, 1.0, 0)
    tiles = DeviceTiles([tile] * 3, role, tile_px=32, augmentation=augment, device=META)
    (scheduled,) = scheduled_batches(3, role, recipe, BatchPlan(1))
    plan = tiles.plan(scheduled).to(META)
    numbers = torch.from_numpy(scheduled.numbers.astype(np.float32)).to(META)

    def make() -> torch.Tensor:
        inputs = _BatchInputs(tiles.windows(plan), numbers)
        return _make_batch(inputs, role=role, recipe=recipe).image

    assert make().shape == (2, 3, 32, 32)
    with CpuTensors() as made:
        make()
    # The numbers of the tiles are no part of a recording.
    assert set(made.operations) <= {"aten.empty.memory_format"}
