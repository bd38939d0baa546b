"""What the table of methods says about each method. It imports no torch."""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

from semimoe.model_errors import MissingPackageError

if TYPE_CHECKING:
    from semimoe.methods.learner import LearnerFactory


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
    unsup_max, unsup_schedule : see `TrainingSettings`; `ramp` also stands for a constant weight
    source : where it is published
    """

    unsup_max: float
    unsup_schedule: Literal["linear", "gaussian", "ramp"]
    source: str = "its paper"

    @property
    def assignments(self) -> tuple[str, ...]:
        """As settings, `GROUP.KEY=VALUE`.

        In all publications one optimiser step is taken on the sum of both losses.
        """
        return (
            "training.update=joint",
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
        """Which package is not installed, with the remedy; None if nothing is missing."""
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
