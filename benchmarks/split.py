"""Object scores of a predicted slide before and after its mask is split into glands.

python benchmarks/split.py RESULTS SLIDE

Before the split the objects are the 8-connected components of the same mask at the same threshold.
The scores are those of evaluate_slide, pooled over the regions.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from semimoe.evaluation.metrics import object_scores
from tiling.raster.quantise import quantised_threshold
from tiling.stores.arrays import open_array, open_store
from tiling.stores.layout import GlandStore, LabelStore


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("slide")
    arguments = parser.parse_args()
    glands, maps, labels = (
        arguments.results / kind / f"{arguments.slide}.zarr"
        for kind in ("glands", "maps", "labels")
    )
    attributes = GlandStore.read(glands)
    split, geometry = attributes.split, attributes.geometry
    truth: list[np.ndarray] = []
    predicted: dict[str, list[np.ndarray]] = {"components": [], "glands": []}
    for number, region in enumerate(LabelStore.read(labels).regions, start=1):
        window = region.window.slices
        inside = np.asarray(open_array(open_store(labels), "region")[window]) == number
        inside &= np.asarray(open_array(open_store(labels), "weight")[window]) > 0
        truth.append(np.where(inside, open_array(open_store(labels), "labels")[window], 0))
        predicted["glands"].append(
            np.where(inside, open_array(open_store(glands), "labels")[window], 0)
        )
        mask = np.asarray(open_array(open_store(maps), "gland")[window]) >= quantised_threshold(
            split.threshold
        )
        predicted["components"].append(ndimage.label(mask & inside, np.ones((3, 3), int))[0])
    print(
        f"{arguments.slide}, {len(truth)} regions, threshold {split.threshold:.2f}, "
        f"objects of at least {split.min_area_um2:g} um2"
    )
    print("            object F1  object Dice  Hausdorff um    tp    fp    fn  splits  merges")
    for name, objects in predicted.items():
        scores = object_scores(
            truth, objects, mpp_um=geometry.mpp, min_object_um2=split.min_area_um2
        )
        distance = (
            "-" if scores.object_hausdorff_um is None else f"{scores.object_hausdorff_um:.1f}"
        )
        print(
            f"{name:11s} {scores.object_f1:9.3f} {scores.object_dice:12.3f} {distance:>13s}"
            f" {scores.tp:5d} {scores.fp:5d} {scores.fn:5d}"
            f" {scores.splits:7d} {scores.merges:7d}"
        )


if __name__ == "__main__":
    main()
