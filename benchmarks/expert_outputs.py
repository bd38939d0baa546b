r"""Is the mixture better than its best expert? Scores of gates and experts on held-out images.

python benchmarks/expert_outputs.py FOLD1 FOLD2 ... --data GLAS --out benchmarks/out/experts

Each model predicts the images that its card names as held out. The rows are other outputs of the
same forward pass: the gates, which are the prediction; the three experts; one expert alone; and
gates whose weights are replaced by fixed ones. All rows have the threshold and split parameters of
one card (--card), so none is chosen here. The last columns compare the images in pairs.
"""

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_folder import ImageFile
from semimoe.datasets.image_resolution import Resolution, enlarge_labels, isotropic_resolution
from semimoe.devices import choose_device
from semimoe.evaluation.metrics import object_scores, pixel_scores
from semimoe.methods import METHODS
from semimoe.model_card import ModelCard, load_card
from semimoe.model_weights import load_weights
from semimoe.networks.mixture import NetworkOutputs, SemiMoE
from semimoe.prediction.output_maps import maps_from_outputs
from tiling.raster.blending import predict_image
from tiling.raster.quantise import quantise_maps
from tiling.raster.split_rule import split_glands

GATES = "gates (the prediction)"
_DISTANCE_ALONE = "distance expert alone"
_MASK_ALONE = "mask expert alone"
_NAMES = {"seg": "mask", "sdf": "distance", "bnd": "boundary"}
_LEAST_AREA_UM2, _LEAST_HOLE_UM2 = 500.0, 50.0  # defaults of the workflow
_SDF_SOFTNESS = 0.1
_SHIPPED = Path(__file__).parents[1] / "models" / "glas"
# Row -> maps (4, h, w)
Maps = dict[str, NDArray[np.float32]]


class FixedGate(nn.Module):
    """A gate whose weights do not depend on the image.

    Parameters
    ----------
    weights : (E,), with sum 1
    """

    weights: Tensor

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, features: Tensor) -> Tensor:
        """(..., E C) -> (..., E)."""
        return self.weights.expand(*features.shape[:-1], -1)


class KeptFeatures(nn.Module):
    """Features of the experts that are computed once for several forward passes."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.kept: list[Tensor] | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        """As the module that it contains."""
        if self.kept is None:
            self.kept = self.features(x)
        return self.kept


class MixtureOutputs:
    """All outputs of a trained mixture that can be taken as its prediction.

    Parameters
    ----------
    folder : of the model
    image_mpp_um : pixel size of the images, um; None: that of the training images
    """

    def __init__(
        self, folder: Path, *, device: str, threads: int, image_mpp_um: float | None = None
    ) -> None:
        self.card = load_card(folder)
        if self.card.notes.resolution is None:
            raise SystemExit(f"{folder}: was not trained on a folder of images")
        if not METHODS[self.card.method].has_gates:
            raise SystemExit(f"{folder}: {self.card.method} has no gates")
        self.resolution = Resolution(**self.card.notes.resolution.model_dump())
        if image_mpp_um is not None:
            self.resolution = isotropic_resolution(image_mpp_um, self.card.mpp_um)
        self._device = choose_device(device, threads=threads)
        network = METHODS[self.card.method].load_learner().build_network(self.card.network)
        network.load_state_dict(load_weights(folder, self.card)[0])
        assert isinstance(network, SemiMoE)
        self._features = KeptFeatures(network.features)
        network.features = self._features
        self._network = network.to(self._device).eval()
        self._gates = network.gates
        tasks = self.card.network.expert_tasks
        fixed = {"gates with equal weights": [1 / len(tasks)] * len(tasks)}
        for number, task in enumerate(tasks):
            one = [float(other == number) for other in range(len(tasks))]
            fixed[f"gates with the {_NAMES[task]} expert only"] = one
        self._fixed = {
            name: nn.ModuleList(FixedGate(weights) for _ in network.gates).to(self._device)
            for name, weights in fixed.items()
        }

    def maps(self, image: NDArray[np.uint8]) -> Maps:
        """Maps of an image uint8 (3, H, W) at the working resolution, by row."""
        names: list[str] = []

        def predict(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                rows = self._rows(torch.from_numpy(np.ascontiguousarray(tiles)).to(self._device))
            names[:] = rows
            return torch.cat(list(rows.values()), 1).cpu().numpy()

        side = self.card.tile_px
        stacked = predict_image(
            predict, self.resolution.image(image), tile_px=side, overlap_px=side // 4, batch=8
        )
        return dict(zip(names, np.split(stacked, len(names)), strict=True))

    def _rows(self, tiles: Tensor) -> dict[str, Tensor]:
        self._features.kept = None
        self._network.gates = self._gates
        outputs = self._network(tiles)
        experts = maps_from_outputs(outputs._replace(gates=outputs.experts))
        gates = maps_from_outputs(outputs)
        rows = {GATES: gates, "experts, each for its task": experts}
        rows |= {"mean of gates and experts": (gates + experts) / 2}
        rows |= _single_experts(experts, outputs)
        for name, fixed in self._fixed.items():
            self._network.gates = fixed
            rows[name] = maps_from_outputs(self._network(tiles))
        return rows


def _single_experts(experts: Tensor, outputs: NetworkOutputs) -> dict[str, Tensor]:
    """Maps that use one expert: its mask, or its distance, of which the sign is the mask."""
    mask, sdf, _, _ = experts.unbind(1)
    none = torch.zeros_like(mask)
    rows = {_MASK_ALONE: torch.stack([mask, none, none, none], 1)}
    if outputs.experts.sdf is not None:
        probability = torch.sigmoid(sdf / _SDF_SOFTNESS)
        rows[_DISTANCE_ALONE] = torch.stack([probability, sdf, none, none], 1)
    return rows


class Prediction(NamedTuple):
    """Glands of one held-out image by row, and the pixel size of the image."""

    fold: str
    mpp_um: float
    truth: NDArray[np.int32]
    glands: dict[str, NDArray[np.int32]]


def predicted(
    outputs: MixtureOutputs, fold: str, files: list[ImageFile], card: ModelCard
) -> list[Prediction]:
    """Glands of the images that a model held out, by row."""
    names = set(outputs.card.notes.images.validation if outputs.card.notes.images else ())
    held_out = [file for file in files if file.name in names and file.mask is not None]
    if not held_out:
        raise SystemExit(f"{fold}: none of its held-out images is in --data")
    predictions = []
    for file in held_out:
        truth = read_labels(file.mask)
        glands = {
            row: glands_of_maps(row, maps, outputs, card, truth.shape)
            for row, maps in outputs.maps(read_image(file.image)).items()
        }
        predictions.append(Prediction(fold, outputs.resolution.image_mpp_um, truth, glands))
    print(f"{fold}: {len(predictions)} images", flush=True)
    return predictions


def glands_of_maps(
    row: str,
    maps: NDArray[np.float32],
    outputs: MixtureOutputs,
    card: ModelCard,
    shape: tuple[int, int],
) -> NDArray[np.int32]:
    """Glands at the size of the image, with threshold and split parameters of `card`."""
    gland, sdf, boundary, _ = quantise_maps(maps)
    mpp_um = outputs.resolution.mpp_um
    split = card.split.parameters(
        threshold=card.threshold,
        min_area_um2=_LEAST_AREA_UM2,
        min_hole_um2=_LEAST_HOLE_UM2,
        sdf_um=outputs.card.sdf_um,
        use_sdf=outputs.card.splits_by_distance and row != _MASK_ALONE,
    )
    glands = split_glands(
        gland, sdf, boundary, mpp_um=mpp_um, um2_per_px=mpp_um**2, parameters=split
    )
    return enlarge_labels(glands, outputs.resolution.reduction(shape), shape)


def table(predictions: list[Prediction]) -> list[dict[str, str]]:
    """One line for each row and scope: all images together, and each fold."""
    lines = []
    folds = list(dict.fromkeys(one.fold for one in predictions))
    of_image = {row: [scores([one], row) for one in predictions] for row in predictions[0].glands}
    for scope in ["all", *(folds if len(folds) > 1 else [])]:
        chosen = [i for i, one in enumerate(predictions) if scope in ("all", one.fold)]
        for row, images in of_image.items():
            pairs = [(of_image[GATES][i], images[i]) for i in chosen]
            pooled = scores([predictions[i] for i in chosen], row)
            line = {"scope": scope, "output": row, "images": str(len(chosen))}
            line |= {name: f"{value:.4f}" for name, value in pooled._asdict().items()}
            for name in ("pixel_dice", "object_dice"):
                differences = [getattr(one, name) - getattr(gates, name) for gates, one in pairs]
                line[f"{name}: images lower, higher, p"] = _paired(differences)
            lines.append(line)
    return lines


class Scores(NamedTuple):
    """Scores pooled over images, without objects under `_LEAST_AREA_UM2`."""

    pixel_dice: float
    object_f1: float
    object_dice: float


def scores(predictions: list[Prediction], row: str) -> Scores:
    """Scores of one row."""
    truth = [one.truth for one in predictions]
    glands = [one.glands[row] for one in predictions]
    objects = object_scores(
        truth,
        glands,
        mpp_um=predictions[0].mpp_um,
        min_object_um2=_LEAST_AREA_UM2,
        distances=False,
    )
    return Scores(pixel_scores(truth, glands).dice, objects.object_f1, objects.object_dice)


def _paired(differences: list[float]) -> str:
    """Images in which a row is lower and higher than the gates, and Wilcoxon's p."""
    lower, higher = (sum(sign * one > 0 for one in differences) for sign in (-1, 1))
    if not lower + higher:
        return "0, 0, -"
    return f"{lower}, {higher}, {stats.wilcoxon(differences).pvalue:.3f}"


def write_table(
    folders: list[Path],
    data: Path,
    out: Path,
    *,
    device: str,
    threads: int,
    image_mpp_um: float | None = None,
    card: Path = _SHIPPED,
) -> None:
    """Score the held-out images of models: experts.csv and experts.md in `out`.

    Parameters
    ----------
    image_mpp_um : pixel size of the images, um; None: that of the training images
    card : model whose threshold and split parameters all rows have
    """
    files = open_dataset(data).training_images()
    predictions = []
    for folder in folders:
        outputs = MixtureOutputs(folder, device=device, threads=threads, image_mpp_um=image_mpp_um)
        predictions += predicted(outputs, folder.name, files, load_card(card))
    lines = table(predictions)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "experts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    (out / "experts.md").write_text(text + "\n")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="model folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--card",
        type=Path,
        default=_SHIPPED,
        help="model whose threshold and split parameters all rows have",
    )
    parser.add_argument(
        "--mpp", type=float, help="pixel size of the images, um; default: of the training images"
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    write_table(
        arguments.models,
        arguments.data,
        arguments.out,
        device=arguments.device,
        threads=arguments.threads,
        image_mpp_um=arguments.mpp,
        card=arguments.card,
    )


if __name__ == "__main__":
    main()
