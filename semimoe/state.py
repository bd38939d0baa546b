"""What a killed run goes on from: the state at the end of its last finished epoch."""

import hashlib
import io
import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.errors import TrainingError
from semimoe.weights import load_tensors, save_tensors, write_atomic

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

log = logging.getLogger(__name__)
_STATE = "epoch.pt"
_MODEL, _OPTIMIZER = "model.", "optimizer."


def stamp(values: dict[str, Any]) -> str:
    """Hash of everything the run depends on."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def save_state(folder: Path, mark: str, state: dict[str, Any]) -> None:
    """Write the state (tensors and builtins), atomically."""
    import torch

    content = io.BytesIO()
    torch.save({"stamp": mark, **state}, content)
    write_atomic(folder / _STATE, content.getvalue())


def load_state(folder: Path, mark: str) -> dict[str, Any] | None:
    """The state of a killed run of the same settings, or None; another one is discarded."""
    import torch

    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        log.warning("%s: cannot be read (%s); starting afresh", path, error)
        return None
    if state.get("stamp") != mark:
        log.warning("%s: state of a run with other settings or data; starting afresh", path)
        return None
    log.info("going on after epoch %d", state["epoch"])
    return state


def save_warm_start(path: Path, model: "nn.Module", optimizers: "dict[str, Optimizer]", s: "Tensor | None", about: dict[str, Any]) -> None:
    """Weights, log-scales and optimiser state in one safetensors file: a branch goes on exactly where the run was."""
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    if s is not None:
        tensors["s"] = s
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{_OPTIMIZER}{name}.{index}.{key}": value for key, value in state.items() if value is not None}
    save_tensors(path, tensors, about)


def load_warm_start(path: Path, model: "nn.Module", optimizers: "dict[str, Optimizer]", s: "Tensor | None") -> None:
    """Put a warm start into a model and its optimisers.

    Raises
    ------
    TrainingError
        It is of another network or optimiser.
    """
    import torch

    tensors, _ = load_tensors(path)
    try:
        model.load_state_dict({name.removeprefix(_MODEL): value for name, value in tensors.items() if name.startswith(_MODEL)})
        if s is not None:
            with torch.no_grad():
                s.copy_(tensors["s"])
    except (RuntimeError, KeyError) as error:
        raise TrainingError(
            f"{path}: a warm start of another network ({str(error).splitlines()[0]}); train supervised with the same settings"
        ) from error
    for name, optimizer in optimizers.items():
        prefix = f"{_OPTIMIZER}{name}."
        states: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, field = key.removeprefix(prefix).split(".")
                states.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
