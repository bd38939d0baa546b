"""Compares split rules and their parameters on the images that the models of a cross-validation
held out.

python benchmarks/separation.py FOLD1 FOLD2 ... --data GLAS --out benchmarks/out/separation

Each model predicts the images that its card names as held out; the maps are cached in --out. Scores
are those of `evaluate`, pooled over all images and for each fold (model). With --part, each model
predicts all images of that part instead: to report, not to choose.

For the rule prominence it also compares the predicted distance with that of the mask itself.
"""

import argparse
import csv
import itertools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from semimoe.datasets.image_dataset import open_dataset
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_resolution import Resolution, enlarge_labels
from semimoe.evaluation.metrics import ObjectScores, object_scores
from semimoe.model_card import WEIGHTS, load_card
from tiling.raster.quantise import quantise_maps, quantise_sdf
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import basins_of_maps, gland_mask, split_basins, split_glands

_SHOWN = ("object_f1", "object_dice", "object_hausdorff_px", "tp", "fp", "fn", "splits", "merges")
_LEAST_AREA_UM2, _LEAST_HOLE_UM2 = 500.0, 50.0  # defaults of the workflow


class Image(NamedTuple):
    """A held-out image: predicted maps at the resolution of the model, and truth at its own."""

    fold: str
    maps: Path
    truth: Path
    resolution: Resolution
    sdf_um: float


class Row(NamedTuple):
    """One rule with its parameters.

    Attributes
    ----------
    distance : what the rule prominence takes for the distance: predicted, or that of the mask
    """

    distance: str
    split: SplitParameters


Result = tuple[Row, dict[str, ObjectScores]]  # scores pooled and by fold


def main() -> None:
    arguments = _arguments()
    images = [image for folder in arguments.models for image in predicted(folder, arguments)]
    folds = list(dict.fromkeys(image.fold for image in images))
    print(f"{len(images)} images in {len(folds)} folds", flush=True)
    rows = [card_row(arguments.models[0]), *compared_rows(arguments)]
    # Rows that need the same basins are computed together.
    groups = [list(group) for _, group in itertools.groupby(rows, _basins_of)]
    results: list[Result] = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for part in pool.map(score_rows, itertools.repeat(images), groups):
            results += part
            print(f"{len(results)} of {len(rows)}", end="\r", flush=True)
        best = [results[0], *best_results(results, "depth"), *best_results(results, "prominence")]
        tops = [[row] for row, _ in best]
        measured = pool.map(score_rows, itertools.repeat(images), tops, itertools.repeat(True))
        with_distances = dict(itertools.chain.from_iterable(measured))
    print_table(with_distances, "pooled")
    if len(folds) > 1:
        for fold in folds:
            print_table(with_distances, fold)
        for rule in ("depth", "prominence"):
            print_choice_without_fold(results, folds, rule)
    write_csv(arguments.out / "separation.csv", {**dict(results), **with_distances})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help="model folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", help="a part of the data, such as testA; only to report")
    parser.add_argument("--flips", action="store_true", help="maps are means over four flips")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    values: dict[str, list[float]] = {
        "thresholds": [0.3, 0.4, 0.5, 0.6, 0.7],
        "depths": [0, 1.5, 3, 6],
        "boundary-levels": [0.25, 0.5, 1.01],
        "prominences": [1, 2, 3, 4, 6, 8],
        "seed-thresholds": [0, 0.9],
        "boundary-weights": [0, 5, 10],
    }
    for name, numbers in values.items():
        parser.add_argument(f"--{name}", type=float, nargs="*", default=numbers)
    return parser.parse_args()


def predicted(folder: Path, arguments: argparse.Namespace) -> list[Image]:
    """The images of a fold, with maps in the cache."""
    card = load_card(folder)
    if card.notes.resolution is None:
        raise SystemExit(f"{folder}: was not trained on a folder of images")
    dataset = open_dataset(arguments.data)
    if arguments.part:
        files = dataset.parts[arguments.part]
    else:
        names = set(card.notes.images.validation if card.notes.images else ())
        files = [file for file in dataset.training_images() if file.name in names]
        if not files:
            raise SystemExit(f"{folder}: held no image of --data out; give --part to report scores")
    weights = sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]
    maps = arguments.out / "maps" / f"{weights}{'-flips' if arguments.flips else ''}"
    maps.mkdir(parents=True, exist_ok=True)
    if missing := [file for file in files if not (maps / f"{file.name}.npy").exists()]:
        from semimoe.prediction.image_predictor import ImagePredictor

        print(f"{folder.name}: {len(missing)} images to predict", flush=True)
        predictor = ImagePredictor(
            folder, device=arguments.device, threads=arguments.jobs, flips=arguments.flips
        )
        for file in missing:
            quantised = quantise_maps(predictor.maps(read_image(file.image))[:4])
            np.save(maps / f"{file.name}.npy", quantised)
    resolution = Resolution(**card.notes.resolution.model_dump())
    return [
        Image(folder.name, maps / f"{file.name}.npy", file.mask, resolution, card.sdf_um)
        for file in files
        if file.mask is not None
    ]


def card_row(folder: Path) -> Row:
    """Threshold and split of the first model's card, as they are."""
    card = load_card(folder)
    split = card.split.parameters(
        threshold=card.threshold,
        min_area_um2=_LEAST_AREA_UM2,
        min_hole_um2=_LEAST_HOLE_UM2,
        sdf_um=card.sdf_um,
        use_sdf=card.splits_by_distance,
    )
    return Row("predicted", split)


def compared_rows(arguments: argparse.Namespace) -> list[Row]:
    """Both rules with all their parameters."""
    depth = itertools.product(arguments.thresholds, arguments.depths, arguments.boundary_levels)
    rows = [
        Row("predicted", _plain(threshold, seed_depth_um=depth_um, boundary_level=level))
        for threshold, depth_um, level in depth
    ]
    distances = [("predicted", weight) for weight in arguments.boundary_weights]
    for distance, weight in [*distances, ("mask", 0.0)]:
        for threshold in arguments.thresholds:
            seeds = [seed for seed in arguments.seed_thresholds if not seed or seed > threshold]
            for height, seed in itertools.product(arguments.prominences, seeds):
                values = {"prominence_um": height, "seed_threshold": seed}
                split = _plain(threshold, rule="prominence", boundary_weight_um=weight, **values)
                rows.append(Row(distance, split))
    return rows


def score_rows(images: list[Image], rows: list[Row], distances: bool = False) -> list[Result]:
    """Scores of some rows, pooled and by fold."""
    labels: list[list[NDArray[np.uint16]]] = [[] for _ in rows]
    truth = [read_truth(image.truth) for image in images]
    for image, true in zip(images, truth, strict=True):
        for one, glands in zip(labels, split_image(image, rows), strict=True):
            large = enlarge_labels(glands, image.resolution.reduction(true.shape), true.shape)
            one.append(large.astype(np.uint16))  # all rows of all images are in memory
    folds = {image.fold for image in images}
    scopes = {"pooled": images}
    if len(folds) > 1:
        scopes |= {fold: [image for image in images if image.fold == fold] for fold in folds}
    results = []
    for row, glands in zip(rows, labels, strict=True):
        of_image = dict(zip(images, zip(truth, glands, strict=True), strict=True))
        scores = {}
        for name, members in scopes.items():
            pairs = zip(*(of_image[image] for image in members), strict=True)
            scores[name] = object_scores(*pairs, distances=distances)
        results.append((row, scores))
    return results


def split_image(image: Image, rows: list[Row]) -> list[NDArray[np.int32]]:
    """Glands of an image by each of the rows, which share their basins."""
    gland, sdf, boundary, _ = np.load(image.maps)
    mpp_um = image.resolution.mpp_um
    splits = [replace(row.split, sdf_um=image.sdf_um) for row in rows]
    if rows[0].distance == "mask":
        inside_um = distance_transform_edt(gland_mask(gland, splits[0])) * mpp_um
        sdf = quantise_sdf(inside_um / image.sdf_um)
    if splits[0].rule == "prominence":
        basins = basins_of_maps(gland, sdf, boundary, mpp_um=mpp_um, parameters=splits[0])
        return [split_basins(basins, um2_per_px=mpp_um**2, parameters=split) for split in splits]
    sizes = {"mpp_um": mpp_um, "um2_per_px": mpp_um**2}
    return [split_glands(gland, sdf, boundary, parameters=split, **sizes) for split in splits]


@cache
def read_truth(path: Path) -> NDArray[np.int32]:
    return read_labels(path)


def best_results(results: list[Result], rule: str, count: int = 8) -> list[Result]:
    """The best rows of a rule, and for the rule prominence the best one of each distance."""
    of_rule = [one for one in results if one[0].split.rule == rule]
    ranked = sorted(of_rule, key=lambda one: -_sum(one[1]["pooled"]))
    first = {_distance_of(one[0]): one for one in reversed(ranked)}
    return ranked[:count] + [one for one in first.values() if one not in ranked[:count]]


def print_table(results: dict[Row, dict[str, ObjectScores]], scope: str) -> None:
    """One line for each row."""
    print(f"\n{scope}\n{'rule':46s}   F1  obj.Dice  Hausdorff   tp  false missed splits merges")
    for row, scores in results.items():
        one = scores[scope]
        hausdorff = one.object_hausdorff_px
        print(
            f"{_description(row):46s} {one.object_f1:.3f} {one.object_dice:8.3f} "
            f"{'-' if hausdorff is None else f'{hausdorff:.1f}':>9s} {one.tp:6d} {one.fp:5d} "
            f"{one.fn:6d} {one.splits:6d} {one.merges:6d}"
        )


def print_choice_without_fold(results: list[Result], folds: list[str], rule: str) -> None:
    """What each fold scores with the row that is best on the mean of the other folds."""
    of_rule = [one for one in results if one[0].split.rule == rule]
    print(f"\n{rule}, chosen on the other folds")
    chosen = []
    for fold in folds:
        others = [other for other in folds if other != fold]
        row, scores = max(of_rule, key=lambda one: sum(_sum(one[1][name]) for name in others))
        chosen.append((scores[fold].object_f1, scores[fold].object_dice))
        print(f"  {fold}: {_description(row)}: F1 {chosen[-1][0]:.3f}, Dice {chosen[-1][1]:.3f}")
    f1, dice = np.mean(chosen, axis=0)
    print(f"  mean: F1 {f1:.4f}, object Dice {dice:.4f}")


def write_csv(path: Path, results: dict[Row, dict[str, ObjectScores]]) -> None:
    """All rows, pooled and by fold."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        parameters = list(vars(next(iter(results)).split))
        writer.writerow(["distance", *parameters, "scope", *_SHOWN])
        for row, by_scope in results.items():
            head = [row.distance, *vars(row.split).values()]
            for scope, scores in by_scope.items():
                writer.writerow([*head, scope, *(getattr(scores, name) for name in _SHOWN)])
    print(f"\n{path}")


def _plain(threshold: float, **changes: Any) -> SplitParameters:  # noqa: ANN401
    values = {"seed_depth_um": 3.0, "boundary_level": 0.5, "growth_um": 10.0, **changes}
    floors = {"min_area_um2": _LEAST_AREA_UM2, "min_hole_um2": _LEAST_HOLE_UM2}
    return SplitParameters(threshold=threshold, sdf_um=20.0, **floors, **values)


def _basins_of(row: Row) -> tuple[str | float, ...]:
    return row.split.rule, *_distance_of(row), row.split.threshold


def _distance_of(row: Row) -> tuple[str, float]:
    return row.distance, row.split.boundary_weight_um


def _sum(scores: ObjectScores) -> float:
    return scores.object_f1 + scores.object_dice


def _description(row: Row) -> str:
    one, start = row.split, f"t {row.split.threshold:g}"
    if one.rule == "depth":
        return f"{start} depth {one.seed_depth_um:g} boundary {one.boundary_level:g}"
    end = f"{row.distance} boundary {one.boundary_weight_um:g}"
    return f"{start} h {one.prominence_um:g} seed {one.seed_threshold:g} {end}"


if __name__ == "__main__":
    main()
