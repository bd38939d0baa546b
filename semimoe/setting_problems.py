"""Sentences about wrong values of settings, for messages."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from semimoe.model_errors import SettingsError
from semimoe.setting_values import REASONS

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], values: Mapping[str, Any], *, where: str = "") -> Model:
    """Build a model from values that a user or a file gave.

    Parameters
    ----------
    where : name of the group, which stands before each key in the message

    Raises
    ------
    SettingsError
        All wrong values in one line, each with its key.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(validation_problems(error, where=where))) from None


def shortened(text: str, limit: int = 80) -> str:
    """Text of at most about `limit` characters, for messages: the end is left out."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def validation_problems(error: ValidationError, *, where: str = "") -> list[str]:
    """One sentence for each wrong value, with its key and the value.

    The value of a whole group is left out: it would be all keys that were given.
    """
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in (where, *problem["loc"]) if str(part))
        reason = problem["msg"].removeprefix("Value error, ")
        reason = REASONS.get(problem["type"], reason)
        is_group = not problem["loc"] or isinstance(problem["input"], Mapping)
        has_no_value = problem["type"] == "missing" or is_group
        value_text = "" if has_no_value else f" {shortened(repr(problem['input']))};"
        problems.append(f"{key}:{value_text} {reason[0].lower()}{reason[1:]}")
    return problems
