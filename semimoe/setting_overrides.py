"""`--set network.KEY=VALUE`: single settings from the command line, checked like all others."""

import dataclasses
import json
import types
from collections.abc import Sequence
from typing import Any, get_args, get_origin, get_type_hints

from semimoe.model_errors import SettingsError
from semimoe.settings import NetworkSettings, TrainingSettings


def overridden(
    network: NetworkSettings, training: TrainingSettings, given: Sequence[str]
) -> tuple[NetworkSettings, TrainingSettings]:
    """Settings with some of them replaced.

    >>> overridden(NetworkSettings(), TrainingSettings(), ["network.width=16", "training.max_grad_norm=null"])[0].width
    16

    Parameters
    ----------
    given : `network.KEY=VALUE` or `training.KEY=VALUE`; the value as in JSON, text without quotes

    Raises
    ------
    SettingsError
        No such setting, or a value outside its type or range.
    """
    groups: dict[str, tuple[NetworkSettings | TrainingSettings, dict[str, Any]]] = {
        "network": (network, {}),
        "training": (training, {}),
    }
    for text in given:
        name, equals, value = text.partition("=")
        group, _, key = name.strip().partition(".")
        if not equals or group not in groups:
            raise SettingsError(f"--set {text}: network.KEY=VALUE or training.KEY=VALUE is needed")
        settings, changes = groups[group]
        changes[key] = _checked(settings, key, value.strip(), name=name.strip())
    # All at once: two settings may be valid only together.
    made = [dataclasses.replace(settings, **changes) for settings, changes in groups.values()]
    return made[0], made[1]  # type: ignore[return-value]


def _checked(
    settings: NetworkSettings | TrainingSettings, key: str, text: str, *, name: str
) -> Any:  # noqa: ANN401
    hints = get_type_hints(type(settings))
    if key not in hints:
        raise SettingsError(f"--set {name}: no such setting; there are {', '.join(hints)}")
    hint = hints[key]
    kinds = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if value is None and type(None) in kinds:
        return None
    if bool in kinds and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if float in kinds and number:
        return float(value)
    if int in kinds and number and float(value).is_integer():
        return int(value)
    if not {bool, int, float} & set(kinds):  # a choice, which the settings check
        return text if isinstance(value, str) else value
    wanted = " or ".join(
        "null" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds
    )
    raise SettingsError(f"--set {name}={text}: {wanted} is needed")
