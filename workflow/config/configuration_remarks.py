"""What the user should know of settings that can be used: some have no effect, or a large one."""

from collections.abc import Iterator
from pathlib import Path

from semimoe.fine_tuning import changed_meanings
from semimoe.model_card import load_card
from tiling.raster.split_parameters import PARAMETERS_OF_RULES, SplitRule
from workflow.config.configuration import Configuration
from workflow.config.start_model import START_MODEL, compared_models


def configuration_remarks(configuration: Configuration) -> Iterator[str]:
    """Remarks on a valid configuration, one line for each."""
    rule = _split_rule(configuration)
    for other, parameters in PARAMETERS_OF_RULES.items():
        given = [f"glands.{name}" for name in parameters if _is_given(configuration, name)]
        if other != rule and given:
            yield (
                f"config {', '.join(given)}: no effect with the split rule {rule}, which this run"
                f" uses; set glands.rule to {other}, or remove the setting"
            )
    if configuration.start_from and not configuration.model:
        card = load_card(Path(configuration.start_from))
        yield from _unequal_flips(configuration, has_flips=card.flips is not None)
        for change in changed_meanings(configuration.network, card.network):
            yield (
                f"config start_from: outputs get another meaning than those of"
                f" {configuration.start_from}: {change}; remove the setting to keep that of the"
                " model"
            )


def _unequal_flips(configuration: Configuration, *, has_flips: bool) -> Iterator[str]:
    """Whether flips are made for the start model only, or for all other models only.

    Parameters
    ----------
    has_flips : whether the start model has a threshold for means over flips
    """
    is_compared = START_MODEL in compared_models(configuration)
    trained = configuration.training.choose_with_flips
    if configuration.prediction.flips == "auto" and is_compared and trained != has_flips:
        which = "only the start model is" if has_flips else "all models but the start model are"
        yield (
            f"config training.choose_with_flips is {str(trained).lower()}: on a GPU {which}"
            " predicted with flips, so that scores cannot be compared; set prediction.flips to"
            " true or false"
        )


def _split_rule(configuration: Configuration) -> SplitRule:
    """The rule of the run: of the configuration, of the model, or of the training."""
    if configuration.glands.rule is not None:
        return configuration.glands.rule
    if configuration.model:
        return load_card(Path(configuration.model)).split.rule
    return configuration.training.split_rule


def _is_given(configuration: Configuration, name: str) -> bool:
    return getattr(configuration.glands, name) is not None
