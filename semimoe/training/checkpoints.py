"""Checkpoints: states from which a killed run resumes, or which another method continues.

A checkpoint is one safetensors file with the modules of the learner, the states of the optimisers
and the best weights so far. Its JSON metadata holds numbers and the rows of the log.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_card import CARD, load_card
from semimoe.model_errors import ModelError, TrainingError
from semimoe.model_weights import load_weights
from semimoe.tensor_files import load_metadata, load_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from semimoe.methods.learner import Learner

log = logging.getLogger(__name__)
CHECKPOINT = "epoch.safetensors"
_OPTIMIZER, _BEST, _BUFFER = "optimizer.", "best.", "buffer."
# Name of the network that predicts in the file; other modules have the names of their attributes.
_NETWORK = "model"


def values_checksum(values: dict[str, Any]) -> str:
    """SHA-256 of values that can be written as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


class CheckpointWriter:
    """Writes checkpoints in a thread, while the training continues.

    Parameters
    ----------
    interval_s : least time between two checkpoints
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s = time.monotonic()
        self._executor = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def is_due(self) -> bool:
        """Whether the interval is over, and the last checkpoint is written.

        Raises
        ------
        OSError
            The last checkpoint could not be written.
        """
        if self._interval_s and self._writing is not None and not self._writing.done():
            return False
        self.wait()
        return time.monotonic() - self._last_s >= self._interval_s

    def write(self, path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, Any]) -> None:
        """Begin to write a file, atomically; the tensors are copied first."""
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._last_s = time.monotonic()
        self._writing = self._executor.submit(save_tensors, path, copies, metadata)

    def wait(self) -> None:
        """Wait until the last checkpoint is written, see `is_due`."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def checkpoint_tensors(
    learner: "Learner",
    optimizers: "Mapping[str, Optimizer]",
    best: "Mapping[str, Tensor] | None" = None,
) -> "dict[str, Tensor]":
    """All tensors of the state of a run, by their names in the file.

    Parameters
    ----------
    best : weights of the best epoch so far
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in _modules(learner):
        tensors |= {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {f"{_BUFFER}{name}": buffer for name, buffer in learner.named_buffers(recurse=False)}
    tensors |= {f"{_BEST}{name}": tensor for name, tensor in (best or {}).items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"{_OPTIMIZER}{name}.{index}.{key}"] = value
    return tensors


def load_checkpoint(
    path: Path, learner: "Learner", optimizers: "Mapping[str, Optimizer]"
) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Load a checkpoint into learner and optimisers; return its metadata and its best weights.

    Raises
    ------
    TrainingError
        The checkpoint belongs to another network.
    ModelError
        The file is missing or damaged.
    """
    tensors, metadata = load_tensors(path)
    try:
        for prefix, module in _modules(learner):
            module.load_state_dict(_with_prefix(prefix, tensors))
        for name, buffer in learner.named_buffers(recurse=False):
            buffer.copy_(tensors[f"{_BUFFER}{name}"])
    except (RuntimeError, KeyError) as error:
        raise TrainingError(
            f"{path}: state of another network ({str(error).splitlines()[0]});"
            " use the same settings for both runs"
        ) from error
    for name, optimizer in optimizers.items():
        states: dict[int, dict[str, Any]] = {}
        for key, value in _with_prefix(f"{_OPTIMIZER}{name}.", tensors).items():
            index, field = key.split(".")
            states.setdefault(int(index), {})[field] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})
        _use_memory_formats_of_parameters(optimizer)
    return metadata, _with_prefix(_BEST, tensors)


def _use_memory_formats_of_parameters(optimizer: "Optimizer") -> None:
    """Order the state of each parameter in memory as the parameter.

    A file has no memory format, and fused optimisers read memory in its order.
    """
    import torch

    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value is not None and value.shape == parameter.shape:
                ordered = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
                state[key] = ordered.copy_(value)


def load_start_weights(folder: Path, network: "nn.Module") -> None:
    """Load the weights of a finished model into a network.

    Raises
    ------
    ModelError
        Its files are missing or damaged.
    TrainingError
        The model has another network.
    """
    tensors, _ = load_weights(folder, load_card(folder))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainingError(
            f"start_from {folder}: another network ({str(error).splitlines()[0]});"
            f" use the network settings of its {CARD}"
        ) from error


def is_resumable(path: Path, checksum: str) -> bool:
    """Whether `path` is the checkpoint of a killed run with the same settings and data."""
    metadata = _metadata(path)
    if metadata is None or metadata.get("checksum") != checksum:
        return False
    log.info("resuming after epoch %d", metadata["epoch"])
    return True


def choose_checkpoint(folder: Path, checksum: str) -> None:
    """Put the checkpoint of these settings into `folder`, and keep one of other settings.

    The other one is kept in `earlier_checkpoint` until a training is finished. A wrong setting
    therefore loses no training: a run with the right one continues it.
    """
    metadata, earlier = _metadata(folder / CHECKPOINT), earlier_checkpoint(folder)
    if metadata is not None and metadata.get("checksum") == checksum:
        return
    kept = _metadata(earlier / CHECKPOINT)
    if kept is not None and kept.get("checksum") == checksum:
        other = folder.with_name(f"{folder.name}.exchanged")
        _move(folder, other)
        _move(earlier, folder)
        _move(other, earlier)
    elif metadata is not None:
        _move(folder, earlier)
        log.warning(
            "checkpoint of a run with other settings or data; starting from the first epoch. It is"
            " kept in %s until this training is finished; a run with those settings continues it",
            earlier,
        )
    else:
        shutil.rmtree(folder, ignore_errors=True)


def earlier_checkpoint(folder: Path) -> Path:
    """Where `choose_checkpoint` keeps the folder of a checkpoint of other settings."""
    return folder.with_name(f"{folder.name}.earlier")


def _metadata(path: Path) -> dict[str, Any] | None:
    """Metadata of a checkpoint; None if it is missing, or damaged, which is logged."""
    if not path.is_file():
        return None
    try:
        return load_metadata(path)
    except ModelError as error:
        log.warning("%s; starting from the first epoch", error)
        return None


def _move(folder: Path, new: Path) -> None:
    """Rename a folder, in place of another one; nothing if it does not exist."""
    if folder.is_dir():
        shutil.rmtree(new, ignore_errors=True)
        folder.rename(new)


def _modules(learner: "Learner") -> "Iterator[tuple[str, nn.Module]]":
    """Modules of a learner, each with the prefix of its tensors."""
    for name, module in learner.named_children():
        yield f"{_NETWORK if name == 'network' else name}.", module


def _with_prefix(prefix: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Tensors whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
