"""A warning if an earlier run with the same results used another model than this call.

Such a run would replace all results of the other one, after hours of training or prediction.
"""

from pathlib import Path
from typing import NamedTuple

from semimoe.methods import MAIN_METHOD
from semimoe.model_card import load_card
from semimoe.model_errors import ModelError
from workflow.config.configuration import Configuration
from workflow.job_record import JobRecord
from workflow.result_paths import ResultPaths, record_of_store

_SHIPPED = Path(__file__).parents[1] / "models" / "glas"
_GIVEN_MODEL = "`model=FOLDER` of a given model"
_ID_DIGITS = 12


class _UsedModel(NamedTuple):
    """The model of a run.

    Attributes
    ----------
    key : "model" or "start_from"; None: the run trained a model from the start
    text : what it is, for a message
    identity : of its weights or its folder; None: not known
    maps : store that a given model predicted
    """

    key: str | None
    text: str
    identity: str | None = None
    maps: Path | None = None


def earlier_model_warning(configuration: Configuration) -> str | None:
    """A warning if the model of this call is not that of the results on the disk."""
    earlier, now = _earlier(ResultPaths(Path(configuration.results))), _now(configuration)
    is_known = earlier is not None and None not in (earlier.identity, now.identity)
    if earlier is None or (earlier.key == now.key and not is_known):
        return None
    if (earlier.key, earlier.identity) == (now.key, now.identity):
        return None
    effect = "predicts" if now.key == "model" else "trains another model, predicts"
    return (
        f"an earlier run made the results in {configuration.results} with"
        f" {_given_model_text(earlier)}. This call has {now.text}: it {effect} and makes all"
        " results again. If you did not mean that, give the value of the earlier run in every call,"
        " or choose other `results`. It is best to keep all values of a study in a file, and to"
        " give it in each call: `--configfile study.yaml`"
    )


def _now(configuration: Configuration) -> _UsedModel:
    if configuration.model:
        identity = load_card(Path(configuration.model)).weights_sha256
        return _UsedModel("model", f"`model={configuration.model}`", identity)
    if configuration.start_from:
        folder = configuration.start_from
        return _UsedModel("start_from", f"`start_from={folder}`", _folder(folder))
    return _UsedModel(None, "no `model` and no `start_from`", "")


def _earlier(paths: ResultPaths) -> _UsedModel | None:
    """The model of the results on the disk; None if there are none."""
    maps = next(iter(sorted(paths.maps("x").parent.glob("*.zarr"))), None)
    record = None if maps is None else JobRecord.read(record_of_store(maps))
    weights = [one for one in record.inputs if one.name == "model"] if record else []
    if maps is not None and weights and not weights[0].is_of_job:
        return _UsedModel("model", _GIVEN_MODEL, weights[0].checksum, maps)
    card = paths.card(MAIN_METHOD.name)
    if not card.is_file():
        return None if maps is None else _UsedModel("model", _GIVEN_MODEL)
    try:
        source = load_card(card.parent).notes.start_from
    except ModelError:
        return None  # the jobs that read it say so
    if source is None:
        return _UsedModel(None, f"the model that it trained, {card.parent}", "")
    return _UsedModel("start_from", f"`start_from={source}`", _folder(source))


def _given_model_text(used: _UsedModel) -> str:
    """Name and checksum: folders are not recorded, so that results can be moved."""
    from tiling.slide_errors import SlideError, StoreError
    from tiling.stores.layout import MapStore

    checksum, folder, name = used.identity, "FOLDER", None
    if checksum is None or used.maps is None:
        return used.text
    try:
        name = MapStore.read(used.maps).model.get("name")
        if load_card(_SHIPPED).weights_sha256 == checksum:
            folder = str(_SHIPPED)
    except (ModelError, SlideError, StoreError):
        pass  # the jobs that read the store say so
    named = f"{name!r}, weights" if name else "weights"
    return f"`model={folder}` ({named} {checksum[:_ID_DIGITS]})"


def _folder(path: str) -> str:
    return str(Path(path).absolute())
