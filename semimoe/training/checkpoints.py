"""Where a run stands at the end of an epoch: what a killed run goes on from, and what another method branches off.

One safetensors file: weights, log-scales, optimiser state (and the best weights so far); numbers and rows as its JSON note.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semimoe.model_errors import ModelError, TrainingError
from semimoe.tensor_files import CARD, WEIGHTS, load_note, load_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

log = logging.getLogger(__name__)
_MODEL, _AGGREGATE, _OPTIMIZER, _BEST = "model.", "aggregate.", "optimizer.", "best."


def stamp(values: dict[str, Any]) -> str:
    """Hash of everything the run depends on."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def save_state(
    path: Path,
    model: "nn.Module",
    aggregate: "nn.Module",
    optimizers: "Mapping[str, Optimizer]",
    about: dict[str, Any],
    best: "Mapping[str, Tensor] | None" = None,
) -> None:
    """Write where a run stands, atomically."""
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"{_AGGREGATE}{name}": tensor for name, tensor in aggregate.state_dict().items()}
    tensors |= {f"{_BEST}{name}": tensor for name, tensor in (best or {}).items()}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {
                f"{_OPTIMIZER}{name}.{index}.{key}": value
                for key, value in state.items()
                if value is not None
            }
    save_tensors(path, tensors, about)


def load_state(
    path: Path, model: "nn.Module", aggregate: "nn.Module", optimizers: "Mapping[str, Optimizer]"
) -> "tuple[dict[str, Any], dict[str, Tensor]]":
    """Put a saved state into model, loss and optimisers; gives its note and the best weights so far.

    Raises
    ------
    TrainingError
        It is of another network.
    ModelError
        The file is missing or damaged.
    """
    tensors, about = load_tensors(path)
    try:
        model.load_state_dict(_under(_MODEL, tensors))
        aggregate.load_state_dict(_under(_AGGREGATE, tensors))
    except RuntimeError as error:
        raise TrainingError(
            f"{path}: of another network ({str(error).splitlines()[0]}); use the same settings for both runs"
        ) from error
    for name, optimizer in optimizers.items():
        states: dict[int, dict[str, Any]] = {}
        for key, value in _under(f"{_OPTIMIZER}{name}.", tensors).items():
            index, field = key.split(".")
            states.setdefault(int(index), {})[field] = value
        optimizer.load_state_dict(
            {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    return about, _under(_BEST, tensors)


def load_foreign(folder: Path, model: "nn.Module") -> None:
    """Put the weights of a finished model into a network.

    Raises
    ------
    TrainingError
        It is of another network.
    """
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS)[0])
    except RuntimeError as error:
        raise TrainingError(
            f"start_from {folder}: another network ({str(error).splitlines()[0]}); take the network settings of its {CARD}"
        ) from error


def resumable(path: Path, mark: str) -> bool:
    """Whether a killed run of the same settings left a state here."""
    if not path.is_file():
        return False
    try:
        about = load_note(path)
    except ModelError as error:
        log.warning("%s; starting afresh", error)
        return False
    if about.get("stamp") != mark:
        log.warning("%s: state of a run with other settings or data; starting afresh", path)
        return False
    log.info("going on after epoch %d", about["epoch"])
    return True


def _under(prefix: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
