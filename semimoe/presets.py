"""Named settings of `python -m semimoe`: its own defaults, the paper's text, the public code."""

from typing import Any

from pydantic import Field

from semimoe.setting_types import StrictModel
from semimoe.settings import NetworkSettings, TrainingSettings


class Preset(StrictModel):
    """Values that differ from the defaults."""

    network: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


# The paper's text and the public code share these.
_PAPER_NETWORK = {"width": 64, "encoder": "unet", "experts": "separate"}
_PAPER_TRAINING = {
    "optimizer": "sgd",
    "lr": 0.5,
    "schedule": "halving",
    "epochs": 200,
    "batch": 2,
    "warm_start_epochs": 0,
    "max_grad_norm": None,
    "statistics": "both",
    "augment": "paper",
    "amol_weight_decay": 5e-5,
    "precision": "fp32",
}
_PAPER_TEXT_NETWORK = {
    **_PAPER_NETWORK,
    "sdf_scale": "tile",
    "boundary": "outer",  # that of the binary mask
    "gate_heads": "kaiming",
}
_PAPER_TEXT_TRAINING = {
    **_PAPER_TRAINING,
    "unsup_max": 5.0,
    "unsup_schedule": "gaussian",
    "update": "two-step",
}
PRESETS: dict[str, Preset] = {
    # The defaults of the workflow, except that no method continues another one.
    "default": Preset(training={"warm_start_epochs": 0}),
    # The text of the paper for GlaS, and for CRAG, whose images are cropped.
    "paper": Preset(
        network=_PAPER_TEXT_NETWORK, training={**_PAPER_TEXT_TRAINING, "augment": "flips"}
    ),
    "paper-crag": Preset(
        network=_PAPER_TEXT_NETWORK, training={**_PAPER_TEXT_TRAINING, "gamma": 0.8}
    ),
    "public-code": Preset(
        network={
            **_PAPER_NETWORK,
            "sdf_scale": "tile",
            "boundary": "outer",
            "gate": "code",
            "gate_heads": "kaiming",
        },
        training={**_PAPER_TRAINING, "sdf_weight": 0.5},
    ),
}


def preset(name: str) -> tuple[NetworkSettings, TrainingSettings]:
    """Settings of `python -m semimoe` by default, of the paper's text, or of the public code.

    >>> preset("paper")[1].unsup_max, preset("public-code")[1].unsup_max
    (5.0, 0.5)
    """
    values = PRESETS[name]
    return NetworkSettings(**values.network), TrainingSettings(**values.training)
