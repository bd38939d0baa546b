"""Tensors as safetensors files with JSON metadata: nothing in them can run code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_errors import ModelError
from tiling.raster.atomic_files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

# One entry: safetensors does not keep the order of several entries, and the same model must give
# the same bytes.
_KEY = "semimoe"


def save_tensors(path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, Any]) -> None:
    """Write tensors (moved to the CPU) and plain metadata into one safetensors file, atomically."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    # Not `save_file`: it creates files that only their owner can read.
    write_atomic(path, save(ready, metadata={_KEY: json.dumps(metadata, sort_keys=True)}))


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Tensors and metadata of a file written by `save_tensors`.

    Raises
    ------
    ModelError
        The file is missing, damaged, or from another program.
    """
    with _open(path) as (file, metadata):
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, metadata


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, without reading the tensors."""
    with _open(path) as (_, metadata):
        return metadata


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the folder of a trained model")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            yield file, metadata
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a model of this program, or damaged ({error});"
            " train it again, or copy it again"
        ) from error
