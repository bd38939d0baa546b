"""Files of a trained model: tensors as safetensors, everything else as JSON; nothing that can run code."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_errors import ModelError
from tiling.raster.atomic_files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CARD, WARM_START = "model.safetensors", "model.json", "warm_start.safetensors"
# One entry: safetensors does not keep the order of several, and the same model must give the same bytes.
_KEY = "semimoe"
_NEEDED = (
    "method",
    "network",
    "mpp_um",
    "tile_px",
    "threshold",
    "split",
    "sdf_um",
    "sdf_scale",
    "normalisation",
)


def _number(value: object) -> bool:
    try:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _positive(value: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
    return _number(value) and value > 0


def _split(value: object) -> bool:
    return isinstance(value, dict) and all(_number(entry) for entry in value.values())


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _told(notes: object) -> bool:
    """Notes as we write them; entries of other names may be anything."""
    if not isinstance(notes, dict) or not isinstance(notes.get("licence", ""), str):
        return False
    lists = [notes.get(key, []) for key in ("warnings", "slides")]
    lists += [held] if not isinstance(held := notes.get("validation", []), str) else []
    lists += [
        names
        for key in ("images", "known")
        if isinstance(named := notes.get(key, {}), dict)
        for names in named.values()
    ]
    named = all(isinstance(notes.get(key, {}), dict) for key in ("images", "known", "left_out"))
    return named and all(_texts(entry) for entry in lists)


# What a card that came from elsewhere may hold; settings of network and training are checked where they are used.
_HOLDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "method": ("a text", lambda value: isinstance(value, str)),
    "network": ("an object", lambda value: isinstance(value, dict)),
    "training": ("an object", lambda value: isinstance(value, dict)),
    "mpp_um": ("a positive number", _positive),
    "tile_px": ("a positive whole number", lambda value: _positive(value) and value == int(value)),
    "threshold": ("between 0 and 1", lambda value: _positive(value) and value < 1),
    "sdf_um": ("a positive number", _positive),
    "split": ("an object of numbers", _split),
    "sdf_scale": ("a text", lambda value: isinstance(value, str)),
    "normalisation": ("an object", lambda value: isinstance(value, dict)),
    "threshold_from": ("a text", lambda value: isinstance(value, str)),
    "validation_before": ("an object", lambda value: isinstance(value, dict)),
    "epochs": ("a positive number", _positive),
    "warnings": ("a list of texts", _texts),
    "notes": ("an object with texts as licence, warnings, slides and images", _told),
}


def save_tensors(path: Path, tensors: "dict[str, Tensor]", about: dict[str, Any]) -> None:
    """Write tensors (moved to the CPU) and a small JSON note into one safetensors file, atomically."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    # Not `save_file`: its files can be read by nobody else.
    write_atomic(path, save(ready, metadata={_KEY: json.dumps(about, sort_keys=True)}))


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Tensors and note of a file written by `save_tensors`.

    Raises
    ------
    ModelError
        The file is missing, damaged, or not ours.
    """
    with _opened(path) as (file, about):
        return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118  # not a dict


def load_note(path: Path) -> dict[str, Any]:
    """The note alone, without reading the tensors."""
    with _opened(path) as (_, about):
        return about


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the folder of a trained model")
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            yield file, about
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a model of this program, or damaged ({error}); train it again or fetch it anew"
        ) from error


def save_card(folder: Path, card: dict[str, Any]) -> None:
    """Write `model.json`: the last file of a model folder."""
    write_atomic(folder / CARD, json.dumps(card, indent=2, sort_keys=True) + "\n")


def load_card(folder: Path) -> dict[str, Any]:
    """The card of a trained model.

    Raises
    ------
    ModelError
        It is missing or not a model card.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(
            f"{folder}: {'no ' + CARD + ' in it' if folder.is_dir() else 'no such folder'}; give the folder of a trained model"
        )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: cannot be read as a model card ({error}); give the folder of a trained model"
        ) from error
    missing = (
        [key for key in _NEEDED if key not in card] if isinstance(card, dict) else list(_NEEDED)
    )
    if missing:
        raise ModelError(f"{path}: not a model card of this program, {', '.join(missing)} missing")
    for key, (what, holds) in _HOLDS.items():
        if key in card and not holds(card[key]):
            raise ModelError(
                f"{path}: not a model card of this program, {key} is {json.dumps(card[key])[:60]} and must be {what}"
            )
    return dict(card)
