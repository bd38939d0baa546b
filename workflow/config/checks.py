"""Reading the configuration: all problems at once, each with its key and the remedy."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from semimoe.encoders import ENCODERS
from semimoe.fine_tuning import SHAPE_OF_WEIGHTS
from semimoe.methods import METHODS
from semimoe.model_card import CARD, WEIGHTS, ModelCard, load_card
from semimoe.model_errors import ModelError
from semimoe.prediction.runtimes import runtime_problem
from semimoe.setting_problems import validation_problems
from tiling.raster.similar_names import similar_name
from workflow.config.configuration import (
    DEFAULT_MPP_UM,
    DEFAULT_TILE_PX,
    MPP_TOLERANCE,
    Configuration,
)
from workflow.config.method_settings import package_problems
from workflow.config.option_groups import TileOptions
from workflow.config.start_model import with_start_model
from workflow.user_paths import absolute_place, problem_of_output_folder

_PROJECT = Path(__file__).parents[2]
# 1024 tiles of 256 x 256 pixels.
_MAX_PIXELS_AT_ONCE = 2**26


class ConfigurationError(ValueError):
    """A configuration that cannot be used.

    Attributes
    ----------
    problems : one line for each
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_configuration(values: Mapping[str, Any]) -> Configuration:
    """Check a configuration and fill in all defaults.

    Parameters
    ----------
    values : as Snakemake gives them: nested values of `--config` are text

    Raises
    ------
    ConfigurationError
        All problems of the configuration.
    """
    try:
        configuration = Configuration.model_validate(_parsed_texts(values, Configuration))
    except ValidationError as error:
        raise ConfigurationError(sorted(_messages(error))) from None
    cards = _Cards(configuration)
    configuration = _with_scale(configuration, cards)
    if "start_from" in cards.cards:
        configuration = with_start_model(configuration, cards.cards["start_from"])
    problems = [
        *_tile_problems(configuration),
        *_batch_problems(configuration),
        *_folder_problems(configuration),
    ]
    if not problems:
        problems += _model_problems(configuration, cards)
        problems += _start_problems(configuration, cards)
    problems += _training_problems(configuration)
    problems += package_problems(configuration)
    if problem := runtime_problem(configuration.prediction.runtime):
        problems.append(f"config prediction.runtime: {problem}")
    if problems:
        raise ConfigurationError(problems)
    return configuration


class _Cards:
    """Cards of the models that a configuration names, or why they cannot be read."""

    def __init__(self, configuration: Configuration) -> None:
        self.cards: dict[str, ModelCard] = {}
        self.errors: dict[str, str] = {}
        for key in ("model", "start_from"):
            folder = getattr(configuration, key)
            if folder is None:
                continue
            try:
                self.cards[key] = load_card(Path(folder))
            except ModelError as error:
                self.errors[key] = str(error)

    def any_card(self) -> ModelCard | None:
        """The card of `model` or `start_from`."""
        return next(iter(self.cards.values()), None)


def _with_scale(configuration: Configuration, cards: _Cards) -> Configuration:
    """Fill in the resolution and the tile size: those of a model, or the defaults."""
    tiles, card = configuration.tiles, cards.any_card()
    mpp_um, tile_px = tiles.mpp_um, tiles.tile_px
    if mpp_um is None:
        mpp_um = DEFAULT_MPP_UM if card is None else float(card.mpp_um)
    if tile_px is None:
        tile_px = DEFAULT_TILE_PX if card is None else card.tile_px
    scaled = tiles.model_copy(update={"mpp_um": mpp_um, "tile_px": tile_px})
    return configuration.model_copy(update={"tiles": scaled})


def _tile_problems(configuration: Configuration) -> Iterator[str]:
    tiles = configuration.tiles
    try:  # the user's values are valid: these are the values of a model
        TileOptions(**tiles.to_dict())
    except ValidationError as error:
        model = configuration.model or configuration.start_from
        for problem in validation_problems(error):
            yield f"config tiles, as {model} was trained: {problem}"
        return
    if tiles.overlap_px >= (tiles.tile_px or 0):
        yield (
            f"config tiles.overlap_px: {tiles.overlap_px} is not less than tile_px {tiles.tile_px}"
        )


def _batch_problems(configuration: Configuration) -> Iterator[str]:
    """Batches that are larger than the memory of any machine."""
    tile_px = configuration.tiles.tile_px or 0
    for group in ("training", "prediction"):
        batch = getattr(configuration, group).batch
        if batch * tile_px**2 > _MAX_PIXELS_AT_ONCE:
            yield (
                f"config {group}.batch: {batch} tiles of {tile_px} x {tile_px} pixels do not fit"
                f" into memory; set it to {max(_MAX_PIXELS_AT_ONCE // tile_px**2, 1)} or less"
            )


def _folder_problems(configuration: Configuration) -> Iterator[str]:
    for key in ("model", "start_from"):
        folder = getattr(configuration, key)
        if folder and (problem := _model_folder_problem(folder)):
            yield f"config {key}: {folder} is not the folder of a trained model: {problem}"
    if Path(configuration.results) == Path():
        yield "config results: the working directory itself; name a folder in it"
    elif set(configuration.results) & {"{", "}"}:
        yield (
            f"config results: {configuration.results} contains a brace, which has a meaning for"
            " Snakemake; give another name"
        )
    elif problem := problem_of_output_folder(configuration.results):
        yield f"config results: {configuration.results} {problem}"
    start_from = configuration.start_from
    own_models = (Path(configuration.results) / "models").resolve()
    if start_from and own_models in Path(start_from).resolve().parents:
        yield (
            f"config start_from: {start_from} would be replaced by this run; copy it, or choose"
            " other `results`"
        )
    if configuration.model and start_from:
        yield (
            "config model and start_from: give one of them (model: predict only; start_from:"
            " fine-tune it)"
        )


def _model_folder_problem(folder: str) -> str | None:
    """Which files of a model a folder lacks, with the remedy; None if it has them."""
    missing = [name for name in (WEIGHTS, CARD) if not (Path(folder) / name).is_file()]
    if not missing:
        return None
    what = f"no {' and no '.join(missing)} in" if Path(folder).is_dir() else "no folder"
    of_project = _PROJECT / folder
    is_model = (of_project / CARD).is_file()
    return f"{what} {absolute_place(folder)}; give the folder of {CARD}" + (
        f", perhaps {of_project}" if is_model else ""
    )


def _model_problems(configuration: Configuration, cards: _Cards) -> Iterator[str]:
    """Why a given model cannot predict at this resolution: said before slides are tiled."""
    if "model" in cards.errors:
        yield f"config model: {cards.errors['model']}"
    card, mpp_um = cards.cards.get("model"), configuration.tiles.mpp_um or 0
    if card is not None and abs(mpp_um - card.mpp_um) > MPP_TOLERANCE * card.mpp_um:
        yield (
            f"config tiles.mpp_um: {mpp_um:g}, but {configuration.model} was trained at"
            f" {card.mpp_um:g} um per pixel; set tiles.mpp_um to {card.mpp_um:g}"
        )


def _start_problems(configuration: Configuration, cards: _Cards) -> Iterator[str]:
    """Why the networks of this run cannot load a model: said before slides are tiled."""
    if "start_from" in cards.errors:
        yield f"config start_from: {cards.errors['start_from']}"
    card, folder = cards.cards.get("start_from"), configuration.start_from
    if card is None:
        return
    if not METHODS[card.method].has_gates:
        yield (
            f"config start_from: {folder} is a {METHODS[card.method].label}, which has no experts"
            " and gates"
        )
        return
    network = configuration.network
    for key in SHAPE_OF_WEIGHTS:
        if getattr(network, key) != getattr(card.network, key):
            yield (
                f"config network.{key}: {getattr(network, key)}, but start_from {folder} has"
                f" {getattr(card.network, key)}; set it to that"
            )
    for name in configuration.compare:
        if not METHODS[name].has_gates:
            yield (
                f"config compare: {METHODS[name].label} cannot start from {folder}; remove {name},"
                " or start_from"
            )


def _training_problems(configuration: Configuration) -> Iterator[str]:
    training = configuration.training
    if training.frozen_stages and not ENCODERS[configuration.network.encoder].pretrained:
        yield (
            "config training.frozen_stages: an encoder with random weights must be trained; set it"
            " to 0, or choose another encoder"
        )
    if training.warm_start_epochs >= training.epochs:
        yield (
            f"config training.warm_start_epochs: {training.warm_start_epochs} is not less than"
            f" epochs {training.epochs}"
        )


def _parsed_texts(values: Any, model: type[BaseModel]) -> Any:  # noqa: ANN401  # of YAML
    """Read texts as YAML where the type is no text: `--config` gives nested values as text.

    >>> _parsed_texts({"glands": {"threshold": "0.7"}, "results": "1"}, Configuration)
    {'glands': {'threshold': 0.7}, 'results': '1'}
    """
    if not isinstance(values, Mapping):
        return values
    parsed = dict(values)
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            parsed[name] = _parsed_texts(value, annotation)
        elif isinstance(value, str) and not _accepts_text(annotation):
            parsed[name] = _from_yaml(value)
    return parsed


def _accepts_text(annotation: object) -> bool:
    if annotation is str:
        return True
    if get_origin(annotation) is Literal:
        return all(isinstance(choice, str) for choice in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _accepts_text(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return False
    return any(_accepts_text(part) for part in get_args(annotation))


def _from_yaml(text: str) -> Any:  # noqa: ANN401  # whatever YAML holds
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # its check says what is needed


def _messages(error: ValidationError) -> Iterator[str]:
    for problem, message in zip(error.errors(), validation_problems(error), strict=True):
        if problem["type"] != "extra_forbidden":
            yield f"config {message}"
            continue
        *groups, key = (str(part) for part in problem["loc"])
        valid_keys = _keys_of(groups)
        meant = similar_name(key, valid_keys)
        hint = f" (did you mean {meant}?)" if meant else ""
        group, dot, name = key.partition(".")
        if dot:
            hint = f"; in a file, {name} belongs inside {group}: `{group}: {{{name}: VALUE}}`"
        yield f"config {'.'.join(groups) or 'file'}: unknown key {key}{hint}"


def _keys_of(groups: list[str]) -> list[str]:
    model: type[BaseModel] = Configuration
    for group in groups:
        annotation = model.model_fields[group].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)
