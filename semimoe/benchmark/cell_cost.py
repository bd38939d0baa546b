"""What a cell costs: parameters, multiply-adds of a prediction, time and memory of the training."""

import csv
import hashlib
import platform
from functools import cache
from pathlib import Path

import semimoe
import tiling.raster
from semimoe.json_model import JsonModel
from semimoe.methods import METHODS
from semimoe.model_card import load_card
from semimoe.settings import Device


class CellCost(JsonModel):
    """Cost of a training, and of predictions with its model.

    Attributes
    ----------
    parameters : of the network that predicts
    trained_parameters : of all networks that the optimiser updates
    tile_px, multiply_adds : side of a tile, and operations to predict one (None: not countable)
    training_s : time of the training steps, without validation, s
    peak_memory_mb : largest memory of the training, MiB
    hardware : processor or GPU that trained it
    software : version of torch, and a checksum of the code, see `software_text`
    """

    parameters: int
    trained_parameters: int
    tile_px: int
    multiply_adds: int | None
    training_s: float
    peak_memory_mb: float | None
    hardware: str
    software: str = "not recorded"


def measure_cost(model: Path, *, device: Device) -> CellCost:
    """Cost of a finished model, from its card, its log and one forward pass.

    Raises
    ------
    ModelError
        The folder has no model.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from semimoe.methods.learner import PLACEHOLDER_MEAN, PLACEHOLDER_STD, LearnerContext
    from semimoe.networks.mixture import count_parameters

    card = load_card(model)
    assert card.training is not None  # of a model that was trained here
    context = LearnerContext(
        card.network, card.training, PLACEHOLDER_MEAN, PLACEHOLDER_STD, card.mpp_um
    )
    learner = METHODS[card.method].load_learner()(context).eval()
    trained = {id(one): one for net in learner.trained_networks() for one in net.parameters()}
    tile = torch.zeros((1, 3, card.tile_px, card.tile_px), dtype=torch.uint8)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        learner.predicting_network(tile)
    rows = _timings(model / "timing.csv")
    peaks = [float(row["peak_memory_mb"]) for row in rows if row["peak_memory_mb"]]
    return CellCost(
        parameters=count_parameters(learner.predicting_network),
        trained_parameters=sum(parameter.numel() for parameter in trained.values()),
        tile_px=card.tile_px,
        # The counter counts multiplications and additions.
        multiply_adds=counter.get_total_flops() // 2 or None,
        training_s=sum(float(row["seconds"]) for row in rows),
        peak_memory_mb=max(peaks, default=None),
        hardware=_hardware(device),
        software=software_text(),
    )


@cache
def software_text() -> str:
    """Version of torch, and a checksum of the code that trains, predicts and scores.

    Cells are kept when the code changes: so a table can tell which cells an older code made.
    """
    from importlib.metadata import version

    packages = Path(semimoe.__path__[0]), Path(tiling.raster.__path__[0])
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return f"torch {version('torch')}, code {digest.hexdigest()[:12]}"


def _timings(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _hardware(device: Device) -> str:
    if device == "gpu":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
