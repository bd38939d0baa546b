"""The configuration: checked against the schema, defaults filled, all problems at once."""

import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from semimoe.methods import METHODS
from semimoe.model_card import load_card
from semimoe.model_errors import ModelError

# A model serves slides whose pixels differ by less from those it was trained on.
MPP_TOLERANCE = 0.1
# What tiles are like unless a model or the user says otherwise.
_SCALE: dict[str, float] = {"mpp_um": 1.0, "tile_px": 256}
NAMES = {"semimoe": "Semi-MoE", "supervised": "supervised-only", "unet": "U-Net"}
# Settings of `training` that only the unlabelled tiles of a step feel, and those of the loss that a U-Net does not have.
_OF_UNLABELLED = (
    "unsup_max",
    "unsup_schedule",
    "update",
    "pseudo",
    "pseudo_labels",
    "tiles_per_slide",
    "min_confidence",
)
_OF_AMOL = ("aggregate", "gamma", "amol_lr", "amol_weight_decay")
_NOT_FELT: dict[str, tuple[str, ...]] = {
    "semimoe": (),
    "supervised": _OF_UNLABELLED,
    "unet": (*_OF_UNLABELLED, *_OF_AMOL),
}
# Settings of `network` that a U-Net does not have.
_OF_GATES = ("experts", "gates", "gate", "gate_heads", "dropout")
# Settings of `network` that decide which weights there are.
_OF_WEIGHTS = ("width", "encoder", "tasks", "experts", "gates", "gate")
SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    loaded: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return loaded


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of the configuration in which every key of the schema has a value.

    >>> with_defaults({"tiles": {"tile_px": 128}})["tiles"]["mpp_um"]
    1.0
    """
    filled = _filled(_typed(config, schema()), schema())
    if any(filled["tiles"][key] is None for key in _SCALE):
        scale = {**_SCALE, **_scale_of_model(filled["model"] or filled["start_from"])}
        filled["tiles"] |= {
            key: value for key, value in scale.items() if filled["tiles"][key] is None
        }
    # One spelling: "./out" and "out//" are the folder "out", or rules and reports would speak of different files.
    return {**filled, "results": str(Path(filled["results"]))}


def problems(config: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a configuration, one line each; empty when it is sound."""
    from jsonschema import Draft202012Validator

    config = _typed(config, schema())
    found = [_message(error) for error in Draft202012Validator(schema()).iter_errors(config)]
    if found:
        return sorted(found)
    filled = with_defaults(config)
    tiles = filled["tiles"]
    wrong = [
        _message(error)
        for error in Draft202012Validator(schema()["properties"]["tiles"]).iter_errors(tiles)
    ]
    if wrong:  # what the user gave was sound: this comes from the card of a model
        of = config.get("model") or config.get("start_from")
        return [
            f"config tiles, as {of} was trained: {text.removeprefix('config ')}" for text in wrong
        ]
    if tiles["overlap_px"] >= tiles["tile_px"]:
        found.append(
            f"config tiles.overlap_px: {tiles['overlap_px']} is not less than tile_px {tiles['tile_px']}"
        )
    for key in ("model", "start_from"):
        folder = config.get(key)
        found += [
            f"config {key}: no {name} in {folder}"
            for name in ("model.safetensors", "model.json")
            if folder and not (Path(folder) / name).is_file()
        ]
    if config.get("model") and not found:
        found += _misfit(Path(config["model"]), tiles["mpp_um"])
    if Path(config.get("results") or "results") == Path():
        found.append("config results: the working directory itself; name a folder in it")
    own = Path(config.get("results") or "results") / "models"
    if config.get("start_from") and own.resolve() in Path(config["start_from"]).resolve().parents:
        found.append(
            f"config start_from: {config['start_from']} would be replaced by this run; copy it, or choose other `results`"
        )
    if config.get("start_from") and not found:
        found += _false_start(Path(config["start_from"]), filled)
    training = filled["training"]
    if training["frozen_stages"] and filled["network"]["encoder"] == "unet":
        found.append(
            "config training.frozen_stages: an encoder of random weights cannot stay as it is; set it to 0, or another encoder"
        )
    if training["warm_start_epochs"] >= training["epochs"]:
        found.append(
            f"config training.warm_start_epochs: {training['warm_start_epochs']} is not less than epochs {training['epochs']}"
        )
    if config.get("model") and config.get("start_from"):
        found.append(
            "config model and start_from: give one of them (model: predict only; start_from: train on from it)"
        )
    return found


def _scale_of_model(folder: str | None) -> dict[str, float]:
    """The tiles that a model was trained on; empty where there is no card, or none that says so (`problems` names it)."""
    if folder is None:
        return {}
    try:
        card = load_card(Path(folder))
    except ModelError:
        return {}
    return {"mpp_um": float(card.mpp_um), "tile_px": card.tile_px}


def _misfit(model: Path, mpp_um: float) -> list[str]:
    """Why a given model cannot predict at this resolution: said before slides are tiled in vain."""
    try:
        trained = float(load_card(model).mpp_um)
    except ModelError as error:
        return [f"config model: {error}"]
    if abs(mpp_um - trained) <= MPP_TOLERANCE * trained:
        return []
    return [
        f"config tiles.mpp_um: {mpp_um:g}, but {model} was trained at {trained:g} um per pixel; set tiles.mpp_um to {trained:g}"
    ]


def _false_start(folder: Path, config: dict[str, Any]) -> list[str]:
    """Why this run's networks cannot take the weights of a model: said before slides are tiled in vain."""
    try:
        card = load_card(folder)
    except ModelError as error:
        return [f"config start_from: {error}"]
    network = card.network.to_dict()
    differing = [key for key in _OF_WEIGHTS if config["network"][key] != network.get(key)]
    if not METHODS[card.method].has_gates:
        return [
            f"config start_from: {folder} is a U-Net, which has no experts and gates to go on with"
        ]
    own = config["network"]
    found = [
        f"config network.{key}: {own[key]}, but start_from {folder} has {network.get(key)}; set it to that"
        for key in differing
    ]
    if "unet" in config["compare"]:
        found.append(
            f"config compare: a U-Net cannot start from {folder}; leave unet out, or start_from"
        )
    return found


def model_folder(config: dict[str, Any]) -> Path:
    """The model that predicts: a given one, or the one this run trains."""
    return Path(config["model"] or f"{config['results']}/models/semimoe")


def method(config: dict[str, Any]) -> str:
    """What the tables call the model that predicts."""
    return "given model" if config["model"] else "semimoe"


def compared(config: dict[str, Any]) -> list[str]:
    """Methods whose scores stand beside."""
    return [] if config["model"] else list(config["compare"])


def learning(config: dict[str, Any], method: str) -> dict[str, Any]:
    """What the training of a method depends on: a setting that it does not feel has its default, and to change it does not retrain.

    Parameters
    ----------
    config : with all defaults filled in
    method : semimoe, supervised or unet
    """
    known = schema()["properties"]["training"]["properties"]
    training = config["training"] | {key: known[key]["default"] for key in _NOT_FELT[method]}
    network = config["network"]
    if method != "semimoe" and training["statistics"] != "frozen":
        training["statistics"] = known["statistics"][
            "default"
        ]  # the others differ in what unlabelled tiles do to them
    if method == "unet":
        training["warm_start_epochs"] = 0  # nothing branches off it
        defaults = schema()["properties"]["network"]["properties"]
        network = network | {key: defaults[key]["default"] for key in _OF_GATES}
    felt = {"network": network, "training": training}
    return {
        key: felt.get(key, config[key])
        for key in ("tiles", "network", "training", "seed", "start_from")
    }


def geojson_ending(config: dict[str, Any]) -> str:
    """How the names of outline files end."""
    return "geojson.gz" if config["export"]["compress"] else "geojson"


def documentation() -> str:
    """docs/configuration.md, made from the schema."""
    lines = [
        "# Configuration",
        "",
        "Made from `workflow/schemas/config.schema.yaml` by `python -m workflow.config.configuration`; a test holds the two together.",
        "Set keys in `config.yaml`, in a file given by `--configfile`, or on the command line:",
        "`--config results=out 'glands={threshold: 0.6}'`.",
        "",
        "| key | default | allowed | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{name}` | `{_shown(spec['default'])}` | {_allowed(spec)} | {spec['description']} |"
        for name, spec in _leaves(schema(), "")
    ]
    return "\n".join(lines) + "\n"


def _typed(values: Any, spec: dict[str, Any]) -> Any:  # noqa: ANN401  # whatever YAML holds
    """Texts where the schema wants something else, read as YAML: Snakemake hands nested values of `--config` over as text.

    >>> _typed({"glands": {"threshold": "0.7"}, "results": "1"}, schema())
    {'glands': {'threshold': 0.7}, 'results': '1'}
    """
    if isinstance(values, dict):
        known = spec.get("properties", {})
        return {
            key: _typed(value, known[key]) if key in known else value
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [_typed(value, spec.get("items", {})) for value in values]
    kinds = [spec["type"]] if isinstance(spec.get("type"), str) else spec.get("type", ["string"])
    if not isinstance(values, str) or "string" in kinds:
        return values
    try:
        return yaml.safe_load(values)
    except yaml.YAMLError:
        return values  # the schema says what was wanted instead


def _filled(values: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """In the order of the schema: Snakemake takes the same values in another order for a change."""
    filled = {}
    for key, sub in spec["properties"].items():
        value = values.get(key, sub["default"])
        filled[key] = _filled(value, sub) if sub.get("type") == "object" else value
    return filled


def _message(error: Any) -> str:  # noqa: ANN401  # jsonschema has no types
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(known))
        hints = [difflib.get_close_matches(key, known, n=1) for key in unknown]
        named = ", ".join(
            f"{key}" + (f" (did you mean {hint[0]}?)" if hint else "")
            for key, hint in zip(unknown, hints, strict=True)
        )
        return f"config {where or 'file'}: unknown key {named}"
    return f"config {where}: {error.message}"


def _leaves(spec: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, sub in spec["properties"].items():
        if sub.get("type") == "object":
            yield from _leaves(sub, f"{prefix}{key}.")
        else:
            yield prefix + key, sub


def _shown(value: object) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _allowed(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return ", ".join(spec["enum"])
    kind = spec["type"] if isinstance(spec["type"], str) else " or ".join(spec["type"])
    signs = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
        "multipleOf": "multiple of",
    }
    return ", ".join([kind, *(f"{sign} {spec[key]}" for key, sign in signs.items() if key in spec)])


if __name__ == "__main__":
    (Path(__file__).parents[2] / "docs" / "configuration.md").write_text(
        documentation(), encoding="utf-8"
    )
