"""What the user should know of settings that can be used: some have no effect, or a large one."""

from collections.abc import Iterator
from pathlib import Path

from semimoe.fine_tuning import changed_meanings
from semimoe.model_card import load_card
from tiling.raster.split_parameters import PARAMETERS_OF_RULES, SplitRule
from workflow.config.configuration import Configuration


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
        of_model = load_card(Path(configuration.start_from)).network
        for change in changed_meanings(configuration.network, of_model):
            yield (
                f"config start_from: outputs get another meaning than those of"
                f" {configuration.start_from}: {change}; remove the setting to keep that of the"
                " model"
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
