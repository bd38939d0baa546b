"""Small images of touching discs with their labels, and training on the CPU."""

from pathlib import Path

import numpy as np
from PIL import Image

from semimoe.model_card import TrainingNotes
from semimoe.training.fit import fit
from semimoe.training.recipe import Recipe, RunFolders, RunResources, TrainingData
from tiling.raster.tile import Tile


class Discs:
    """Images of dark discs, some of them touching, on a bright background.

    The image of an index is always the same.
    """

    def __init__(
        self,
        count: int,
        side: int = 80,
        *,
        seed: int = 0,
        labels: bool = True,
        pseudo: bool = False,
    ) -> None:
        self.count, self.side, self.seed = count, side, seed
        self.labels, self.pseudo = labels, pseudo

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tile:
        rng = np.random.default_rng([self.seed, index])
        labels = np.zeros((self.side, self.side), np.int32)
        y, x = np.mgrid[: self.side, : self.side]
        for number in range(1, 1 + max(3, self.side**2 // 900)):
            cy, cx, r = *rng.uniform(0, self.side, 2), rng.uniform(8, 13)
            labels[((y - cy) ** 2 + (x - cx) ** 2 < r * r) & (labels == 0)] = number
        background = np.where(labels > 0, 110, 215)[None] + rng.normal(
            0, 25, (3, self.side, self.side)
        )
        image = np.clip(background, 0, 255).astype(np.uint8)
        pseudo = (
            np.stack([labels > 0, np.where(labels > 0, 200, 50), labels == -1]).astype(np.uint8)
            if self.pseudo
            else None
        )
        return Tile(image, labels if self.labels else None, None, pseudo)


def save_discs(folder: Path) -> None:
    """Write seven images with their masks, in the layout of GlaS."""
    folder.mkdir()
    for number in range(7):
        tile = Discs(7, 56)[number]
        Image.fromarray(tile.image.transpose(1, 2, 0)).save(folder / f"disc_{number}.png")
        Image.fromarray(tile.labels.astype(np.uint8)).save(folder / f"disc_{number}_anno.png")


def fit_on_cpu(
    method, data: TrainingData, *, network, training, out, mpp_um=1.0, seed=0, devices=1,
    notes=None, start_from=None, warm_start=None, checkpoint_interval_s=0.0,
) -> None:  # fmt: skip
    """Train on one thread; the checkpoint folder is beside the model folder."""
    fit(
        data,
        Recipe(method, network, training, mpp_um, seed),
        folders=RunFolders(out, out.with_name(out.name + ".resume"), start_from, warm_start),
        resources=RunResources(
            "cpu", 1, devices, progress=False, checkpoint_interval_s=checkpoint_interval_s
        ),
        notes=None if notes is None else TrainingNotes(**notes),
    )
