"""`--set network.KEY=VALUE`: single settings from the command line, checked like all others."""

import json
from collections.abc import Sequence
from typing import Any

from semimoe.model_errors import SettingsError
from semimoe.setting_problems import checked
from semimoe.settings import NetworkSettings, TrainingSettings
from tiling.raster.similar_names import similar_name


def overridden(
    network: NetworkSettings, training: TrainingSettings, assignments: Sequence[str]
) -> tuple[NetworkSettings, TrainingSettings]:
    """Settings with some of them replaced.

    >>> texts = ["network.width=8", "training.max_grad_norm=null"]
    >>> overridden(NetworkSettings(), TrainingSettings(), texts)[0].width
    8

    Parameters
    ----------
    assignments : `network.KEY=VALUE` or `training.KEY=VALUE`; the value as in JSON, text without
        quotes

    Raises
    ------
    SettingsError
        No such setting, or a value outside its type or range.
    """
    changes: dict[str, dict[str, Any]] = {"network": {}, "training": {}}
    for text in assignments:
        name, equals, value = text.partition("=")
        group, _, key = name.strip().partition(".")
        if not equals or group not in changes:
            raise SettingsError(f"--set {text}: network.KEY=VALUE or training.KEY=VALUE is needed")
        settings = network if group == "network" else training
        if key not in type(settings).model_fields:
            raise SettingsError(f"--set {name.strip()}: no such setting{_hint(group, key)}")
        changes[group][key] = _parsed(value.strip())
    # All at once: two settings may be valid only together.
    return (
        checked(NetworkSettings, network.to_dict() | changes["network"], where="--set network"),
        checked(TrainingSettings, training.to_dict() | changes["training"], where="--set training"),
    )


def _hint(group: str, key: str) -> str:
    """The setting that is meant, of this group or the other one, or all settings of the group."""
    groups: dict[str, list[str]] = {
        "network": list(NetworkSettings.model_fields),
        "training": list(TrainingSettings.model_fields),
    }
    for name in (group, *(other for other in groups if other != group)):
        meant = similar_name(key, groups[name])
        if meant:
            return f" (did you mean {name}.{meant}?)"
    return f"; the settings are {', '.join(groups[group])}"


def _parsed(text: str) -> Any:  # noqa: ANN401  # whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text
