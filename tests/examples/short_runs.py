"""Short training runs on the CPU with a tiny network, and what they wrote."""

import csv
from pathlib import Path

from disc_pictures import fit_on_cpu

from semimoe.evaluation.metrics import pixel_scores
from semimoe.prediction.predictor import Predictor
from semimoe.settings import NetworkSettings, TrainingSettings
from semimoe.training.recipe import TrainingData
from tiling.raster.blending import predict_image

# One encoder with three decoders has half as many tensors as three networks. `test_methods` and
# `test_fit_settings` train networks with separate experts.
NETWORK = NetworkSettings(encoder="unet", width=4)
LEARNING = TrainingSettings(
    precision="fp32",
    tile_px=32,
    batch=4,
    epochs=3,
    warm_start_epochs=2,
    steps_per_epoch=16,
    augment="paper",
    lr=5e-3,
    min_area_um2=20,
)
SHORT_TRAINING = TrainingSettings(
    precision="fp32",
    tile_px=32,
    batch=2,
    epochs=2,
    warm_start_epochs=1,
    steps_per_epoch=2,
    min_area_um2=20,
)
ONE_STEP = SHORT_TRAINING.model_copy(
    update={"epochs": 1, "warm_start_epochs": 1, "steps_per_epoch": 1}
)
# Of a model with tiles of 32 px; without the settings of its network.
CARD_VALUES = {
    "method": "semimoe",
    "mpp_um": 1.0,
    "tile_px": 32,
    "threshold": 0.5,
    "split": {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0},
    "sdf_um": 20.0,
    "sdf_scale": "um",
    "normalisation": {},
}
FILES = ("model.safetensors", "history.csv", "model.json")


def train(
    method, out, labelled, unlabelled=None, validation=None, *, training=SHORT_TRAINING, **options
) -> Path:
    """Train on the CPU; `options` are those of `fit_on_cpu`. Returns the model folder."""
    data = TrainingData(labelled, unlabelled, validation)
    fit_on_cpu(method, data, **{"network": NETWORK, "training": training, "out": out} | options)
    return out


def read_files(folder: Path, names=FILES) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def dice_on(predict, source) -> float:
    """Pooled Dice of the mask at 0.5."""
    tiles = [source[i] for i in range(len(source))]
    maps = [
        predict_image(predict, tile.image, tile_px=32, overlap_px=8, batch=8)[0] for tile in tiles
    ]
    return pixel_scores([tile.labels for tile in tiles], [gland > 0.5 for gland in maps]).dice


def dice_of_short_run(method: str, folder: Path, discs, *, epochs: int = 2) -> float:
    """Dice on new discs after epochs of 16 steps on labelled and unlabelled ones."""
    training = LEARNING.model_copy(update={"epochs": epochs, "warm_start_epochs": 0})
    unlabelled = discs(8, 48, seed=5, labels=False)
    model = train(method, folder / "model", discs(6, 48), unlabelled, training=training)
    return dice_on(Predictor.load(model, device="cpu", threads=1), discs(2, 90, seed=77))
