"""The documentation of the configuration, made from its types."""

import json
from collections.abc import Iterator
from typing import Any

from workflow.config.configuration import Configuration

_BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
}
_STANDARD = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
_HEADER = """# Configuration

Made from the types in `workflow/config/` and `semimoe/settings.py` by
`python -m workflow.config`; a test compares the two. `docs/configuration.schema.json` is the JSON
schema for editors.
Set keys in a file given by `--configfile`, in `config.yaml`, or on the command line:
`--config results=out glands.threshold=0.6`, which is the same as
`--config results=out 'glands={threshold: 0.6}'`. In files the key `glands.threshold` of this table
is `threshold` inside `glands`. It is best to keep the values of a study in one file, and to give it
in every call. The bounds refuse typing errors; every number must be finite.

Paths must not contain `{word}` or `<word>`, which Snakemake replaces, nor `results` any brace.

| key | default | allowed | meaning |
|---|---|---|---|
"""


def schema() -> dict[str, Any]:
    """JSON schema of the configuration (draft 2020-12)."""
    schema: dict[str, Any] = _with_standard_bounds(Configuration.model_json_schema())
    return schema


def schema_text() -> str:
    """`docs/configuration.schema.json`."""
    return json.dumps(schema(), indent=1) + "\n"


def markdown() -> str:
    """`docs/configuration.md`."""
    rows = []
    for name, key_schema in leaves():
        default, allowed = _shown(key_schema["default"]), _allowed(key_schema)
        rows.append(f"| `{name}` | `{default}` | {allowed} | {key_schema['description']} |")
    return _HEADER + "\n".join(rows) + "\n"


def leaves() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key with its group, and its schema."""
    configuration_schema = schema()
    for name, key_schema in configuration_schema["properties"].items():
        reference = key_schema.get("$ref", "")
        if not reference:
            yield name, key_schema
            continue
        group = configuration_schema["$defs"][reference.rsplit("/", 1)[-1]]
        for key, nested in group["properties"].items():
            yield f"{name}.{key}", nested


def _with_standard_bounds(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    """Replace pydantic's own names of bounds, which it uses inside unions."""
    if isinstance(value, dict):
        return {_STANDARD.get(key, key): _with_standard_bounds(v) for key, v in value.items()}
    return [_with_standard_bounds(v) for v in value] if isinstance(value, list) else value


def _shown(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _allowed(key_schema: dict[str, Any]) -> str:
    if "enum" in key_schema:
        return ", ".join(key_schema["enum"])
    if "anyOf" in key_schema:
        return " or ".join(_allowed(kind) for kind in key_schema["anyOf"])
    kind = str(key_schema["type"])
    if kind == "array" and "enum" in key_schema.get("items", {}):
        kind = "list of " + ", ".join(key_schema["items"]["enum"])
    bounds = [f"{sign} {key_schema[key]}" for key, sign in _BOUNDS.items() if key in key_schema]
    return ", ".join([kind, *bounds])
