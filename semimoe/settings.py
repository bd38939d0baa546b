"""Settings of the network and of its training: types, ranges, defaults and meanings.

The only place of these defaults. The configuration of the workflow, its documentation and the
command line read them here.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from semimoe.encoders import ENCODERS
from semimoe.setting_types import NO_BOOL, Integer, Number, StrictModel, Switch
from semimoe.setting_values import (
    LARGEST_AREA_UM2,
    LARGEST_DISTANCE_UM,
    LARGEST_FACTOR,
    LARGEST_RATE,
    MOST_EPOCHS,
    MOST_STEPS,
    MOST_TILES_AT_ONCE,
)
from tiling.raster.geometry import MOST_TILE_PX
from tiling.raster.split_parameters import SplitRule

Device = Literal["cpu", "gpu"]
Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]
Runtime = Literal["torch", "openvino"]
SdfScale = Literal["um", "skeleton", "tile"]
Augmentation = Literal["slides", "scanners", "deform", "paper", "flips", "none"]

# Augmentations with glass beyond random edges.
GLASS_AUGMENTATIONS: frozenset[Augmentation] = frozenset({"scanners", "deform"})
# Tiles per forward pass of a prediction.
PREDICTION_BATCH = 16
# Four halvings of the resolution: sides of tiles are multiples of this.
STRIDE_PX = 16
_MOST_STAGES = max(entry.stages for entry in ENCODERS.values())

_TilePx = Annotated[int, Field(ge=STRIDE_PX, le=MOST_TILE_PX, multiple_of=STRIDE_PX), NO_BOOL]


class NetworkSettings(StrictModel):
    """What the network is, and what its outputs mean."""

    width: Integer = Field(
        16,
        ge=4,
        le=128,
        multiple_of=4,  # the gate's hidden layers have 3 C / 2 and 3 C / 8 units
        description="channels of the finest level of each expert (the paper: 64)",
    )
    encoder: str = Field(
        "efficientnet-lite0",
        description="contracting path of the experts, from the table in `semimoe/encoders.py`:"
        " unet (random weights, the paper), efficientnet-lite0 (pretrained on ImageNet), ...",
    )
    tasks: Literal["seg+sdf+bnd", "seg+sdf", "seg+bnd", "seg"] = Field(
        "seg+sdf+bnd", description="the experts, one per task (Table 2 of the paper)"
    )
    experts: Literal["separate", "shared"] = Field(
        "shared",
        description="three networks (the public code), or one encoder with three decoders (the"
        " text of the paper)",
    )
    gates: Literal["multi", "single"] = Field(
        "multi",
        description="one gate per task, or the gate of the mask only (Table 4): distance and"
        " boundary are then the outputs of their experts, and their pseudo-labels are derived"
        " from the mask",
    )
    gate: Literal["paper", "code"] = Field(
        "paper", description="gate of the paper (eq. 8), or of the public code"
    )
    gate_pooling: Literal["tile", "none"] = Field(
        "tile",
        description="gates weigh the experts by the mean of their features over the tile (the"
        " paper); none: by the features of each pixel, with weights of its own",
    )
    gate_heads: Literal["small", "kaiming"] = Field(
        "small", description="initial weights of the gates' heads (paper and public code: kaiming)"
    )
    dropout: Number = Field(0.1, ge=0, lt=1, description="dropout rate of the gates' hidden units")
    sdf_scale: SdfScale = Field(
        "um",
        description="signed distance in um; skeleton: inside glands the position between outline"
        " (0) and skeleton (1), outside in um; tile: divided by its maximum in the tile (the"
        " paper), then glands are split by mask and boundary only",
    )
    sdf_um: Number = Field(
        20,
        gt=0,
        le=LARGEST_DISTANCE_UM,
        description="distance at which the signed distance field saturates, um",
    )
    sdf_bins: Annotated[int, Field(ge=0, le=64), NO_BOOL] = Field(
        0,
        description="the distance is predicted as probabilities of this many values from -1 to 1,"
        " learnt by cross-entropy, and their mean is the map; 0, 1: as one value",
    )
    boundary: Literal["instance", "outer"] = Field(
        "instance",
        description="boundary target of each gland (a line between touching glands), or of the"
        " binary mask (public code)",
    )

    @field_validator("encoder")
    @classmethod
    def _is_in_the_table(cls, name: str) -> str:
        if name not in ENCODERS:
            raise ValueError(f"must be one of {', '.join(ENCODERS)}")
        return name

    def channels(self, task: str) -> int:
        """Output channels of a task: of a class, of a binned value, or one value."""
        return 2 if task != "sdf" else max(self.sdf_bins, 1)

    @property
    def expert_tasks(self) -> tuple[str, ...]:
        """Tasks that have an expert."""
        return tuple(self.tasks.split("+"))

    @property
    def gate_tasks(self) -> tuple[str, ...]:
        """Tasks that have a gate."""
        return self.expert_tasks if self.gates == "multi" else ("seg",)

    @property
    def splits_by_distance(self) -> bool:
        """Whether the predicted distance has a fixed scale, so that glands can be split by it."""
        return self.sdf_scale != "tile" and "sdf" in self.expert_tasks


class TrainingOptions(StrictModel):
    """How the network is trained: what a user may choose."""

    epochs: Integer = Field(60, ge=1, le=MOST_EPOCHS, description="length of the schedule, epochs")
    warm_start_epochs: Integer = Field(
        20,
        ge=0,
        le=MOST_EPOCHS,
        description="a method that continues another one (Semi-MoE: supervised-only) does so after"
        " this many epochs; both then train up to `epochs`. 0: from the first epoch on",
    )
    steps_per_epoch: Annotated[int, Field(ge=1, le=MOST_STEPS), NO_BOOL] | None = Field(
        None,
        description="optimiser steps per epoch, the same for all methods; null: one pass over the"
        " labelled or the unlabelled tiles, whichever are more, at most 500 steps",
    )
    batch: Integer = Field(
        8, ge=1, le=MOST_TILES_AT_ONCE, description="labelled and unlabelled tiles per step, each"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="the paper: sgd")
    lr: Number = Field(0.002, gt=0, le=LARGEST_RATE, description="learning rate")
    encoder_lr: Number = Field(
        0.25, gt=0, le=1, description="learning rate of a pretrained encoder, as a share of lr"
    )
    frozen_stages: Integer = Field(
        0,
        ge=0,
        le=_MOST_STAGES,
        description="first stages of a pretrained encoder that are not trained, the stem included",
    )
    schedule: Literal["cosine", "halving"] = Field(
        "cosine", description="halving: 20 epochs of warm-up, then halved every 50 (the paper)"
    )
    weight_decay: Number = Field(0.00005, ge=0, le=LARGEST_RATE, description="weight decay")
    gamma: Number = Field(
        0.4,
        gt=0,
        le=LARGEST_FACTOR,
        description="regulariser of the adaptive multi-objective loss (eq. 11)",
    )
    amol_lr: Number = Field(
        0.05, gt=0, le=LARGEST_RATE, description="learning rate of the loss's scales s"
    )
    amol_weight_decay: Number = Field(
        0,
        ge=0,
        le=LARGEST_RATE,
        description="weight decay of the scales s (public code and presets of the paper: 5e-5)",
    )
    max_grad_norm: Annotated[Number, Field(gt=0, le=LARGEST_FACTOR)] | None = Field(
        5,
        description="the gradient's norm is clipped to this; null: not clipped (paper and public"
        " code)",
    )
    aggregate: Literal["amol", "sum"] = Field(
        "amol", description="adaptive multi-objective loss, or the plain sum"
    )
    gate_balance: Number = Field(
        0,
        ge=0,
        le=LARGEST_FACTOR,
        description="factor on a loss that is 0 where each gate uses all experts equally, on the"
        " mean over the batch; 0: no such loss (the paper)",
    )
    mask_loss: Literal["dice", "dice+ce"] = Field(
        "dice", description="loss of mask and boundary; dice+ce: plus the cross-entropy"
    )
    sdf_loss: Literal["mse", "l1"] = Field(
        "mse",
        description="loss of the distance: squared or absolute error (no effect with sdf_bins)",
    )
    sdf_weight: Number = Field(
        1.0, ge=0, le=LARGEST_FACTOR, description="factor on the distance loss (public code: 0.5)"
    )
    unsup_max: Number = Field(
        0.5, ge=0, le=LARGEST_FACTOR, description="largest weight of the unsupervised loss (eq. 7)"
    )
    unsup_schedule: Literal["linear", "gaussian", "ramp"] = Field(
        "linear",
        description="how that weight grows (the paper: gaussian); ramp: linear over the first tenth"
        " of the steps, then constant",
    )
    update: Literal["joint", "two-step"] = Field(
        "joint", description="one optimiser step on both losses, or two (Algorithm 1)"
    )
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0,
        description="the model is the moving average of the trained weights, with this decay per"
        " step, but at most (t + 1) / (t + 10) in step t = 0, 1, ...; 0: the trained weights",
    )
    statistics: Literal["labelled", "both", "frozen"] = Field(
        "labelled",
        description="batches that update the running statistics of batch normalisation (paper and"
        " public code: both); frozen: none, for fine-tuning with few tiles",
    )
    augment: Augmentation = Field(
        "slides",
        description="slides: geometry, scale and stain; scanners: also stronger stain changes,"
        " glass at edges, and focus; deform: also any angle, and elastic deformation; paper: flips,"
        " quarter turns and crops; flips: the same without crops",
    )
    precision: PrecisionChoice = Field(
        "auto",
        description="bf16: autocast; auto: bf16 where the processor or GPU computes it natively",
    )
    pseudo: Literal["gates", "derived", "teacher", "teacher-glands", "teacher-mask"] = Field(
        "gates",
        description="online pseudo-labels of all gates, or of the mask gate, with distance and"
        " boundary derived from its mask (Table 4); teacher: of the gates of the moving average"
        " (`ema_decay`), on tiles without changes of stain and focus, where they are certain and"
        " agree with the experts; the experts learn from mixed tiles (CutMix); teacher-glands: the"
        " same mask, with distance and boundary of the glands that the split rule finds in these"
        " maps; teacher-mask: only the masks of mask expert and mask gate learn from these labels",
    )
    validate_every: Integer = Field(
        1, ge=1, le=MOST_EPOCHS, description="epochs between validations"
    )
    split_rule: SplitRule = Field(
        "depth",
        description="split rule of the model (see `glands.rule`); its parameters are chosen on"
        " validation",
    )
    choose_with_flips: Switch = Field(
        False,
        description="threshold and split parameters are also chosen on maps that are means over"
        " four flips, for predictions with flips (see `prediction.flips`)",
    )

    @property
    def has_teacher(self) -> bool:
        """Whether the moving average makes the pseudo-labels at each step."""
        return self.pseudo in ("teacher", "teacher-glands", "teacher-mask")

    @model_validator(mode="after")
    def _teacher_has_what_it_needs(self) -> Self:
        teacher = f"training.pseudo={self.pseudo}"
        if self.has_teacher and not self.ema_decay:
            raise ValueError(f"{teacher} needs training.ema_decay above 0, for example 0.99")
        if self.has_teacher and self.batch < 2:
            raise ValueError(f"{teacher} mixes tiles (CutMix); training.batch must be at least 2")
        return self


class TrainingSettings(TrainingOptions):
    """How the network is trained: everything that a run depends on."""

    tile_px: _TilePx = Field(256, description="side of a training tile, px")
    max_steps_per_epoch: Integer = Field(
        500,
        ge=1,
        le=MOST_STEPS,
        description="most steps of an epoch where `steps_per_epoch` is null",
    )
    min_area_um2: Number = Field(
        500.0,
        ge=0,
        le=LARGEST_AREA_UM2,
        description="smaller objects do not count when the split parameters are chosen, um2",
    )

    @model_validator(mode="after")
    def _warm_start_ends_within_the_run(self) -> "TrainingSettings":
        if self.warm_start_epochs > self.epochs:
            raise ValueError(
                f"warm_start_epochs {self.warm_start_epochs} must be at most epochs {self.epochs}"
            )
        return self
