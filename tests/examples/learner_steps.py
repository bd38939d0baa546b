"""Steps of a learner with a tiny network: random tiles, and the settings of the learner."""

import pytest
import torch

from semimoe.methods import METHODS
from semimoe.methods.learner import LearnerContext, Step
from semimoe.objectives.batch import Batch
from semimoe.objectives.losses import Targets
from semimoe.settings import NetworkSettings, TrainingSettings

TINY_NETWORK = NetworkSettings(encoder="unet", experts="separate", width=4)
TINY_TRAINING = TrainingSettings(
    tile_px=32, batch=2, epochs=3, warm_start_epochs=0, steps_per_epoch=2, min_area_um2=20,
    precision="fp32", unsup_max=1.0,
)  # fmt: skip
B, SIDE = 2, 32
# Names of all methods, as parameters of a test; those whose package is missing are skipped.
METHOD_NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not method.is_installed, reason=f"the package of {name} is not installed"
        ),
    )
    for name, method in METHODS.items()
]


def batch(seed: int, *, labelled: bool) -> Batch:
    random = torch.Generator().manual_seed(seed)
    mask = torch.randint(2, (B, SIDE, SIDE), generator=random)
    sdf = torch.rand(B, 1, SIDE, SIDE, generator=random) * 2 - 1
    image = torch.randint(256, (B, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)
    weight = torch.ones(B, SIDE, SIDE, dtype=torch.uint8)
    targets = Targets(mask, sdf, mask) if labelled else None
    return Batch(
        image, weight, targets, mask, weight, torch.arange(B),
        weakly_augmented=None if labelled else image,
    )  # fmt: skip


def a_step(progress: float = 0.5) -> Step:
    return Step(
        lambda network, images: network(images),
        batch(1, labelled=True),
        batch(2, labelled=False),
        torch.tensor(progress),
    )


def context(**changes) -> LearnerContext:
    training = TINY_TRAINING.model_copy(update=changes)
    return LearnerContext(TINY_NETWORK, training, (0.5,) * 3, (0.25,) * 3, mpp_um=1.0)
