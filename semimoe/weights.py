"""Files of a trained model: tensors as safetensors, everything else as JSON; nothing that can run code."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CARD, WARM_START = "model.safetensors", "model.json", "warm_start.safetensors"
# One entry: safetensors does not keep the order of several, and the same model must give the same bytes.
_KEY = "semimoe"
_NEEDED = ("method", "network", "mpp_um", "tile_px", "threshold", "split", "sdf_um", "sdf_scale", "normalisation")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


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
        raise ModelError(f"{path}: not a model of this program, or damaged ({error}); train it again or fetch it anew") from error


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
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as a model card ({error}); give the folder of a trained model") from error
    missing = [key for key in _NEEDED if key not in card] if isinstance(card, dict) else list(_NEEDED)
    if missing:
        raise ModelError(f"{path}: not a model card of this program, {', '.join(missing)} missing")
    return dict(card)


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
