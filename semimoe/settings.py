"""Settings of the network and of its training: plain values that JSON can hold, checked when made."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_type_hints

from semimoe.model_errors import SettingsError

Method = Literal["semimoe", "supervised", "unet"]
METHODS: tuple[Method, ...] = get_args(Method)
Experts = Literal["separate", "shared"]
Encoder = Literal["unet", "efficientnet-lite0"]
TaskSet = Literal["seg+sdf+bnd", "seg+sdf", "seg+bnd", "seg"]
GateForm = Literal["paper", "code"]
SdfScale = Literal["um", "tile"]
Augment = Literal["slides", "scanners", "paper", "flips", "none"]
BoundaryTarget = Literal["instance", "outer"]

# Four max-pools: sides of tiles are multiples of this.
STRIDE_PX = 16
# Of EfficientNet-Lite0.
ENCODER_STAGES = 6


@dataclass(frozen=True)
class NetworkSettings:
    """What the network is, and what its outputs mean.

    Attributes
    ----------
    width : channels of the finest level of experts: a U-Net has twice as many each level down (the paper: 64), the decoder of
        EfficientNet-Lite0 as many more
    encoder : contracting path of the experts: that of a U-Net, from random weights, or EfficientNet-Lite0 with weights of ImageNet
    tasks : the experts there are, one per task (Table 2 of the paper)
    experts : three U-Nets, or one encoder with three decoders
    gates : one gate per task, or that of the mask alone (Table 4); distance and boundary then come from their experts
    gate : gate of the paper (eq. 8), or of the public code
    gate_heads : first weights of the gates' heads: small ones, or Kaiming-normal as everywhere else (paper and public code)
    dropout : share of the gates' hidden units that a training step leaves out
    sdf_scale : signed distance in um, or divided by its maximum in the tile (the paper)
    sdf_um : distance at which the signed distance saturates, um (with `sdf_scale="um"`)
    boundary : boundary target per gland, or around the binary mask (the public code)
    """

    width: int = 64
    encoder: Encoder = "unet"
    tasks: TaskSet = "seg+sdf+bnd"
    experts: Experts = "separate"
    gates: Literal["multi", "single"] = "multi"
    gate: GateForm = "paper"
    gate_heads: Literal["small", "kaiming"] = "small"
    dropout: float = 0.1
    sdf_scale: SdfScale = "um"
    sdf_um: float = 20.0
    boundary: BoundaryTarget = "instance"

    def __post_init__(self) -> None:
        _check_choices(self)
        # The gate's hidden layers have 3 C / 2 and 3 C / 8 units.
        _require(
            self.width >= 4 and self.width % 4 == 0,
            "network.width",
            self.width,
            "a multiple of 4, at least 4",
        )
        _require(self.sdf_um > 0, "network.sdf_um", self.sdf_um, "above 0")
        _require(0 <= self.dropout < 1, "network.dropout", self.dropout, "from 0 to less than 1")

    @property
    def experts_of(self) -> tuple[str, ...]:
        """Tasks that have an expert."""
        return tuple(self.tasks.split("+"))

    @property
    def gates_of(self) -> tuple[str, ...]:
        """Tasks that have a gate."""
        return self.experts_of if self.gates == "multi" else ("seg",)

    @property
    def predicts_depth(self) -> bool:
        """Whether the predicted distance is one in um, by which glands can be split."""
        return self.sdf_scale == "um" and "sdf" in self.experts_of

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained.

    Attributes
    ----------
    tile_px : side of a training tile, px, a multiple of 16
    batch : labelled and unlabelled tiles per step, each
    epochs : length of the schedule
    warm_start_epochs : Semi-MoE branches off the supervised run after this many epochs
    steps_per_epoch : optimiser steps per epoch; None: one pass over the larger of the two tile lists
    max_steps_per_epoch : bound on that pass
    optimizer, lr, weight_decay, schedule : of experts and gates; `halving`: 20 epochs of linear warm-up, halved every 50
    encoder_lr : share of `lr` for an encoder that knows ImageNet
    frozen_stages : its first stages that stay as they are, the stem with them: half the resolution and above, a quarter, ...; 0: none
    max_grad_norm : gradient norm of experts and gates is clipped to this; None: not clipped
    gamma : regulariser of the adaptive multi-objective loss (eq. 11)
    sdf_weight : factor on the distance term (the public code: 0.5)
    aggregate : adaptive multi-objective loss (eq. 11), or the plain sums of eqs. 4 and 6 (always so for `unet`)
    amol_lr, amol_weight_decay : Adam on the log-scales s of eq. 11
    unsup_max, unsup_schedule : largest weight of the unsupervised loss (eq. 7), and how it grows
    update : one optimiser step on both losses, or two (Algorithm 1)
    pseudo : pseudo-labels of all three gates, or of the mask gate alone with distance and boundary derived from its mask (so
        too where the network has a single gate)
    statistics : which batches update the running statistics of batch normalisation; frozen: none, and they stand in for those
        of the batch in training too (for fine-tuning with few tiles)
    augment : slides: geometry, scale and stain; scanners: with more of the stain, glass at edges, and focus; paper: flips, quarter turns
        and crops; flips: those without the crops
    validate_every : epochs between validations
    min_area_um2 : objects below it do not count when the split parameters are chosen on validation
    precision : bf16: autocast
    """

    tile_px: int = 256
    batch: int = 8
    epochs: int = 20
    warm_start_epochs: int = 8
    steps_per_epoch: int | None = None
    max_steps_per_epoch: int = 500
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    encoder_lr: float = 0.25
    frozen_stages: int = 0
    weight_decay: float = 5e-5
    schedule: Literal["cosine", "halving"] = "cosine"
    max_grad_norm: float | None = 5.0
    gamma: float = 0.4
    sdf_weight: float = 1.0
    aggregate: Literal["amol", "sum"] = "amol"
    amol_lr: float = 0.05
    amol_weight_decay: float = 0.0
    unsup_max: float = 0.5
    unsup_schedule: Literal["linear", "gaussian"] = "linear"
    update: Literal["joint", "two-step"] = "joint"
    pseudo: Literal["gates", "derived"] = "gates"
    statistics: Literal["labelled", "both", "frozen"] = "labelled"
    augment: Augment = "slides"
    validate_every: int = 1
    min_area_um2: float = 500.0
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        _check_choices(self)
        _require(
            self.tile_px >= STRIDE_PX and self.tile_px % STRIDE_PX == 0,
            "tile_px",
            self.tile_px,
            f"a multiple of {STRIDE_PX}",
        )
        for name in ("batch", "epochs", "max_steps_per_epoch", "validate_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("lr", "encoder_lr", "gamma", "amol_lr"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in (
            "weight_decay",
            "amol_weight_decay",
            "sdf_weight",
            "unsup_max",
            "warm_start_epochs",
            "min_area_um2",
            "frozen_stages",
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        _require(
            self.frozen_stages <= ENCODER_STAGES,
            "frozen_stages",
            self.frozen_stages,
            f"at most {ENCODER_STAGES}",
        )
        _require(
            self.steps_per_epoch is None or self.steps_per_epoch >= 1,
            "steps_per_epoch",
            self.steps_per_epoch,
            "null or at least 1",
        )
        _require(
            self.max_grad_norm is None or self.max_grad_norm > 0,
            "max_grad_norm",
            self.max_grad_norm,
            "null or above 0",
        )
        _require(
            self.warm_start_epochs <= self.epochs,
            "warm_start_epochs",
            self.warm_start_epochs,
            f"at most the {self.epochs} epochs of the run",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


# The paper's text, and the public code where it differs; tables use no warm start.
_PAPER = {
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
}
_PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "paper": (
        {"sdf_scale": "tile", "gate_heads": "kaiming"},
        {**_PAPER, "unsup_max": 5.0, "unsup_schedule": "gaussian", "update": "two-step"},
    ),
    "public-code": (
        {"sdf_scale": "tile", "boundary": "outer", "gate": "code", "gate_heads": "kaiming"},
        {**_PAPER, "sdf_weight": 0.5},
    ),
}


def preset(name: Literal["paper", "public-code"]) -> tuple[NetworkSettings, TrainingSettings]:
    """Settings of the paper's text, or of the authors' public code.

    >>> preset("paper")[1].unsup_max, preset("public-code")[1].unsup_max
    (5.0, 0.5)
    """
    network, training = _PRESETS[name]
    return NetworkSettings(**network), TrainingSettings(**training)


def _check_choices(settings: NetworkSettings | TrainingSettings) -> None:
    for name, hint in get_type_hints(type(settings)).items():
        choices = get_args(hint)
        if choices and all(isinstance(choice, str) for choice in choices):
            _require(
                getattr(settings, name) in choices,
                name,
                getattr(settings, name),
                "one of " + ", ".join(choices),
            )


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise SettingsError(f"{name}: {value!r}; it must be {wanted}")
