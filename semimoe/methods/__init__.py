"""The table of training methods. It imports no torch, so that every command can read it.

A new method is one file in this folder and one entry here (docs/extending.md).
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

from semimoe.model_errors import MissingPackageError

if TYPE_CHECKING:
    from semimoe.methods.learner import LearnerFactory

# Settings that decide how unlabelled tiles are used.
_UNLABELLED = (
    "unsup_max",
    "unsup_schedule",
    "update",
    "pseudo",
    "pseudo_labels",
    "tiles_per_slide",
    "min_confidence",
)
_PSEUDO_LABELS = ("pseudo", "pseudo_labels")
# Settings of the adaptive multi-objective loss, and of the gates.
_LOSS_SCALES = ("aggregate", "gamma", "amol_lr", "amol_weight_decay", "gate_balance")
_GATES = ("experts", "gates", "gate", "gate_pooling", "gate_heads", "dropout")


class OptionalPackage(NamedTuple):
    """A package that only some methods need.

    Attributes
    ----------
    module : name to import
    requirement : name and version for pip, as in the lock file
    only_for_training : models of the method predict without it
    dependencies : names to import of the packages in the brackets of `requirement`
    """

    module: str
    requirement: str
    only_for_training: bool = False
    dependencies: tuple[str, ...] = ()


class PublishedWeight(NamedTuple):
    """Weight of the unsupervised loss in the publication of a method.

    Attributes
    ----------
    unsup_max, unsup_schedule : see `TrainingSettings`
    source : where it is published
    """

    unsup_max: float
    unsup_schedule: Literal["linear", "gaussian", "ramp"]
    source: str = "its paper"

    @property
    def assignments(self) -> tuple[str, ...]:
        """As settings, `GROUP.KEY=VALUE`."""
        return (
            f"training.unsup_max={self.unsup_max}",
            f"training.unsup_schedule={self.unsup_schedule}",
        )


@dataclass(frozen=True)
class Method:
    """One training method.

    Attributes
    ----------
    name : name in the configuration; also the name of its file, with `_` instead of `-`
    label, colour : for tables, figures and the report
    description : one sentence for the documentation
    uses_unlabelled : whether it trains on unlabelled tiles
    has_gates : whether its network has experts and gates
    uses_weak_augmentation : whether its batches of unlabelled tiles hold the weakly augmented
        images too
    mixes_tiles : whether it exchanges parts between the unlabelled tiles of a batch, which needs
        at least two of them on each device
    published_weight : the weight of its unsupervised loss in tables of methods; None: that of the
        recipe
    package : package that this method needs beside those of all methods
    starts_from : method whose training it continues after `warm_start_epochs`; None: it trains
        from the first epoch on
    ignored_network, ignored_training : settings that have no effect on it; its model stays up to
        date when they change
    """

    name: str
    label: str
    colour: str
    description: str
    uses_unlabelled: bool = False
    has_gates: bool = False
    uses_weak_augmentation: bool = False
    mixes_tiles: bool = False
    published_weight: PublishedWeight | None = None
    package: OptionalPackage | None = None
    starts_from: str | None = None
    ignored_network: tuple[str, ...] = ()
    ignored_training: tuple[str, ...] = ()

    @property
    def learns_stored_pseudo_labels(self) -> bool:
        """Whether it learns from pseudo-labels that are stored with the unlabelled tiles."""
        return self.uses_unlabelled and "pseudo_labels" not in self.ignored_training

    @property
    def is_installed(self) -> bool:
        """Whether the package that it needs can be imported."""
        return self.package_problem() is None

    def package_problem(self) -> str | None:
        """Which package is not installed, with the remedy; None if nothing is missing.

        >>> METHODS["unet"].package_problem()
        """
        if self.package is None:
            return None
        for module in (self.package.module, *self.package.dependencies):
            if find_spec(module) is None:
                return (
                    f"the method {self.name} needs the package {module}, which is not installed;"
                    f" install it with python -m pip install '{self.package.requirement}'"
                )
        return None

    def check_package(self) -> None:
        """Raise an error with the remedy if the package of this method is not installed.

        Raises
        ------
        MissingPackageError
            It is not installed.
        """
        if problem := self.package_problem():
            raise MissingPackageError(problem)

    def load_learner(self) -> "LearnerFactory":
        """Import the file of this method (and torch), and return its subclass of `Learner`.

        Raises
        ------
        MissingPackageError
            The package that this method needs is not installed. Where only the training needs it,
            the learner itself raises this error.
        """
        if self.package is not None and not self.package.only_for_training:
            self.check_package()
        factory: LearnerFactory = import_module(
            f"semimoe.methods.{self.name.replace('-', '_')}"
        ).METHOD_LEARNER
        return factory


# The paper of Mean Teacher segments no images, that of XNet was not at hand: the weights with which
# the public code of XNet trains them on GlaS.
_XNET_CODE = "the public code of XNet"
# Persistent homology.
_GUDHI = OptionalPackage("gudhi", "gudhi==3.13.*", only_for_training=True)

_ENTRIES = (
    Method(
        "semimoe",
        "Semi-MoE",
        "#8a1c5c",
        "three experts, and gates that fuse them and label the unlabelled tiles (the paper)",
        uses_unlabelled=True,
        has_gates=True,
        starts_from="supervised",
    ),
    Method(
        "supervised",
        "supervised-only",
        "#6b7a8f",
        "the network of Semi-MoE on labelled tiles alone",
        has_gates=True,
        ignored_training=_UNLABELLED,
    ),
    Method(
        "unet",
        "U-Net",
        "#b0803a",
        "a plain U-Net on labelled tiles alone",
        ignored_network=_GATES,
        ignored_training=(*_UNLABELLED, *_LOSS_SCALES),
    ),
    Method(
        "mean-teacher",
        "Mean Teacher",
        "#2f7f86",
        "a U-Net whose moving average is its teacher on unlabelled tiles",
        uses_unlabelled=True,
        published_weight=PublishedWeight(5, "linear", _XNET_CODE),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "cps",
        "CPS",
        "#c2504d",
        "two U-Nets that label unlabelled tiles for each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(1.5, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "xnet",
        "XNet",
        "#5a9bd4",
        "two U-Nets, for low and for high frequencies of wavelets, that label unlabelled tiles for"
        " each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(5, "linear", _XNET_CODE),
        package=OptionalPackage("pywt", "PyWavelets==1.9.*"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "toposemiseg",
        "TopoSemiSeg",
        "#4f8a3c",
        "a Mean Teacher whose student also learns the components of the teacher's map",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        package=_GUDHI,
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "match",
        "MATCH",
        "#9a7d2e",
        "TopoSemiSeg with structures that predictions with dropout and of earlier steps share",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        published_weight=PublishedWeight(0.1, "gaussian", "TopoSemiSeg, by the same authors"),
        package=_GUDHI,
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "unimatch",
        "UniMatch",
        "#3f6bb0",
        "a U-Net whose prediction of a weakly augmented tile labels strongly augmented ones",
        uses_unlabelled=True,
        uses_weak_augmentation=True,
        mixes_tiles=True,
        published_weight=PublishedWeight(1, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "entropy-minimisation",
        "EM",
        "#7a6a53",
        "a U-Net that learns to be certain on unlabelled tiles",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.001, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "uncertainty-aware-mean-teacher",
        "UA-MT",
        "#4f9d69",
        "Mean Teacher whose student learns only where the teacher is certain",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES, "ema_decay"),
    ),
    Method(
        "cross-consistency",
        "CCT",
        "#b565a7",
        "a U-Net whose encoder also learns from auxiliary decoders of perturbed features",
        uses_unlabelled=True,
        published_weight=PublishedWeight(30, "ramp"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "urpc",
        "URPC",
        "#c98a2b",
        "a U-Net that predicts the mask at several scales, and learns their mean",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
    Method(
        "cross-teaching",
        "CT",
        "#8c564b",
        "a U-Net and a Transformer that label unlabelled tiles for each other",
        uses_unlabelled=True,
        published_weight=PublishedWeight(0.1, "gaussian"),
        package=OptionalPackage(
            "monai", "monai[einops]==1.6.*", only_for_training=True, dependencies=("einops",)
        ),
        ignored_network=_GATES,
        ignored_training=(*_PSEUDO_LABELS, *_LOSS_SCALES),
    ),
)
METHODS: dict[str, Method] = {entry.name: entry for entry in _ENTRIES}
# The method whose model predicts the slides of a workflow that trains.
MAIN_METHOD = METHODS["semimoe"]
