"""Tensors as safetensors files with JSON metadata: nothing in them can run code.

A file carries the checksum of its tensors and metadata, which is checked when it is read.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_errors import ModelError
from tiling.raster.atomic_files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

_REMEDY = "train it again, or copy it again"
# One entry: safetensors does not keep the order of several entries, and the same model must give
# the same bytes.
_KEY = "semimoe"
_CHECKSUM, _VALUES = "sha256", "values"


def save_tensors(path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, Any]) -> None:
    """Write tensors (moved to the CPU) and plain metadata into one safetensors file, atomically."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    # Not `save_file`: it creates files that only their owner can read.
    text = json.dumps(metadata, sort_keys=True)
    entry = json.dumps({_CHECKSUM: _checksum(ready, text), _VALUES: text}, sort_keys=True)
    write_atomic(path, save(ready, metadata={_KEY: entry}))


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Tensors and metadata of a file written by `save_tensors`.

    Raises
    ------
    ModelError
        The file is missing, damaged, or from another program.
    """
    with _open(path) as (file, text, checksum):
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if checksum is not None and checksum != _checksum(tensors, text):
            raise ModelError(f"{path}: damaged (wrong checksum); {_REMEDY}")
        return tensors, json.loads(text)


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata, after the tensors were compared with their checksum, see `load_tensors`."""
    return load_tensors(path)[1]


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, str, str | None]]:
    """An open file, the JSON text of its metadata, and its checksum; None in older files."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the folder of a trained model")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_KEY]
            entry = json.loads(text)
            if {_CHECKSUM, _VALUES} & set(entry):
                yield file, entry[_VALUES], entry[_CHECKSUM]
            else:
                yield file, text, None
    except ModelError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a model of this program, or damaged ({error}); {_REMEDY}"
        ) from error


def _checksum(tensors: "dict[str, Tensor]", metadata: str) -> str:
    """SHA-256 of metadata and of names, types, shapes and bytes of tensors on the CPU."""
    from torch import uint8

    checksum = hashlib.sha256(metadata.encode())
    for name, tensor in sorted(tensors.items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.reshape(-1).view(uint8).numpy().data)
    return checksum.hexdigest()
