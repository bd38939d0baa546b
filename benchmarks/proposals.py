"""Fix, don't draw: does outlining the proposed regions teach more than outlining random ones?

python benchmarks/proposals.py --out benchmarks/out/proposals [--glas FOLDER --mosaic glas_mosaic.py] [--seeds 0 1 2]

One slide is the pool, with a few random regions outlined to begin with; each round adds as many regions, chosen by the rule of
`propose_regions` or at random under the same conditions (tissue, no overlap), outlined without a fault, and trains the same small network
afresh with the same steps. Scores are of another slide, never used otherwise. Every round is kept in rounds.csv: a run that was stopped
goes on where it was.
With --glas the slides are mosaics of GlaS images (research data, non-commercial; nothing made of it may be redistributed).
"""

import argparse
import csv
import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from semimoe.evaluation.metrics import object_scores
from tiling.objects.stitch import stitch
from tiling.parallel import JobSettings
from tiling.qupath.class_names import EMPTY_REGION, GLAND, REGION
from tiling.qupath.label_slide import label_slide
from tiling.qupath.proposals import ProposalSettings, choose_squares
from tiling.raster.geometry import Geometry
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of
from tiling.tiles.slide_source import SlideSource
from tiling.tiles.tile_slide import TileParameters, tile_slide
from workflow.stages.job_resources import JobResources
from workflow.stages.predict_slide import predict_slide
from workflow.stages.slide_training import train
from workflow.stages.stitch_slide import split_parameters
from workflow.stages.training_slides import TrainingSlide, TrainingSlides

_COLUMNS = (
    "seed",
    "arm",
    "regions",
    "outlined_glands",
    "outlined_mm2",
    "object_f1",
    "object_dice",
    "seconds",
)
_LEAST_TISSUE = 0.25
Window = tuple[int, int, int, int]


class Slide(NamedTuple):
    """A slide that was tiled, and everything that is true about it.

    Attributes
    ----------
    name : of its files
    tiles : store
    truth : label store, annotated as a whole
    glands : GeoJSON features of all glands
    """

    name: str
    tiles: Path
    truth: Path
    glands: list[dict[str, Any]]


def made_slides(given: argparse.Namespace, config: dict[str, Any]) -> dict[str, Slide]:
    """Pool, validation and test slide, made and tiled once."""
    folder = given.out / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        "pool": ("train", "1:60"),
        "validation": ("train", "61:85"),
        "test": ("testA", "1:1000"),
    }
    slides = {}
    for number, (name, (part, images)) in enumerate(parts.items()):
        file, drawn = folder / f"{name}.tiff", folder / f"{name}.geojson"
        if not (file.exists() and drawn.exists()):
            if given.glas:
                command = [
                    sys.executable,
                    given.mosaic,
                    given.glas / part,
                    part,
                    file,
                    "--images",
                    images,
                    "--annotate",
                    drawn,
                ]
                subprocess.run(command, check=True)
            else:
                from tiling.synthetic import SlideRecipe, make_slide

                width, height = (
                    (given.side_px, given.side_px * 3 // 4) if name == "pool" else (4400, 3400)
                )
                recipe = SlideRecipe(
                    slide=name, seed=900 + number, width_px=width, height_px=height
                )
                make_slide(recipe, file, annotation=drawn)
        tiles, truth = folder / f"{name}.zarr", folder / f"{name}.labels.zarr"
        if not tiles.exists():
            tile_slide(
                SlideSource(name, file),
                tiles,
                parameters=TileParameters(**config["tiles"]),
                code_version=1,
                job=JobSettings(workers=given.threads),
            )
        if not truth.exists():
            label_slide(
                drawn, tiles, truth, slide=name, annotated="whole", origin="bounds", code_version=1
            )
        features = json.loads(drawn.read_text())["features"]
        glands = [
            feature
            for feature in features
            if feature["properties"]["classification"]["name"] == GLAND
        ]
        slides[name] = Slide(name, tiles, truth, glands)
    return slides


def outline(pool: Slide, windows: Sequence[Window], folder: Path) -> tuple[Path, int]:
    """Label store of the pool with these regions outlined; and how many glands somebody had to look at."""
    geometry = geometry_of(pool.tiles)
    scale = np.array([geometry.downsample_x, geometry.downsample_y])
    squares = [
        shapely.transform(shapely.box(x, y, x + w, y + h), lambda points: points * scale)
        for y, x, h, w in windows
    ]
    area = shapely.union_all(squares)
    shapely.prepare(area)
    glands = [
        gland for gland in pool.glands if area.intersects(shapely.geometry.shape(gland["geometry"]))
    ]
    regions = []
    for square in squares:
        empty = not any(
            square.intersection(shapely.geometry.shape(gland["geometry"])).area for gland in glands
        )
        properties = {
            "objectType": "annotation",
            "classification": {"name": EMPTY_REGION if empty else REGION},
        }
        regions.append(
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(square),
                "properties": properties,
            }
        )
    drawn = folder / "pool.geojson"
    drawn.write_text(json.dumps({"type": "FeatureCollection", "features": [*regions, *glands]}))
    store = folder / "labels" / "pool.zarr"
    label_slide(
        drawn, pool.tiles, store, slide="pool", annotated="regions", origin="bounds", code_version=1
    )
    return store, len(glands)


def random_windows(
    pool: Slide, taken: Sequence[Window], count: int, size_um: float, rng: np.random.Generator
) -> list[Window]:
    """Squares of the size of proposals anywhere on tissue, that overlap neither each other nor what is taken."""
    geometry = geometry_of(pool.tiles)
    tissue = np.asarray(open_array(open_store(pool.tiles), "tissue")[...]) > 0
    h, w = (
        min(round(size_um / geometry.mpp), side) for side in (geometry.height_px, geometry.width_px)
    )
    chosen: list[Window] = []
    for _ in range(100_000):
        if len(chosen) == count:
            break
        y, x = (
            int(rng.integers(0, geometry.height_px - h + 1)),
            int(rng.integers(0, geometry.width_px - w + 1)),
        )
        if _tissue_share(tissue, geometry, (y, x, h, w)) < _LEAST_TISSUE:
            continue
        if not any(
            y < b + d and b < y + h and x < a + e and a < x + w for b, a, d, e in (*taken, *chosen)
        ):
            chosen.append((y, x, h, w))
    return chosen


def _tissue_share(tissue: NDArray[np.bool_], geometry: Geometry, window: Window) -> float:
    y, x, h, w = window
    rows = slice(
        y * tissue.shape[0] // geometry.height_px,
        -(-(y + h) * tissue.shape[0] // geometry.height_px),
    )
    columns = slice(
        x * tissue.shape[1] // geometry.width_px, -(-(x + w) * tissue.shape[1] // geometry.width_px)
    )
    return float(tissue[rows, columns].mean())


def one_round(
    slides: dict[str, Slide],
    windows: Sequence[Window],
    folder: Path,
    config: dict[str, Any],
    threads: int,
) -> tuple[dict[str, float], Path]:
    """Train on these regions; scores on the test slide, and the maps of the pool."""
    labels, glands = outline(slides["pool"], windows, folder)
    shutil.rmtree(folder / "model", ignore_errors=True)
    validation = slides["validation"]
    training = TrainingSlides(
        labelled=[TrainingSlide("pool", slides["pool"].tiles, labels)],
        validation=[TrainingSlide("validation", validation.tiles, validation.truth)],
    )
    job = JobResources(gpu=0, threads=threads, code_version=1)
    train("supervised", training, config=config, model=folder / "model", job=job)
    for name in ("pool", "test"):
        predict_slide(
            slides[name].tiles, folder / "model", folder / f"{name}.maps.zarr", slide=name, job=job,
            prediction={"batch": 4, "precision": "fp32", "flips": False, "margin_um": None},
        )  # fmt: skip
    maps, found = folder / "test.maps.zarr", folder / "test.glands.zarr"
    stitch(
        maps,
        found,
        slide="test",
        parameters=split_parameters(maps, config["glands"]),
        code_version=1,
        workers=threads,
    )
    truth, weight = (
        np.asarray(open_array(open_store(slides["test"].truth), name)[...])
        for name in ("labels", "weight")
    )
    predicted = np.where(weight > 0, np.asarray(open_array(open_store(found), "labels")[...]), 0)
    scores = object_scores([truth], [predicted], distances=False)
    um2 = geometry_of(slides["pool"].tiles).um2_per_px
    outlined_mm2 = sum(h * w for _, _, h, w in windows) * um2 / 1e6
    values = {
        "outlined_glands": glands,
        "outlined_mm2": outlined_mm2,
        "object_f1": scores.object_f1,
        "object_dice": scores.object_dice,
    }
    return values, folder / "pool.maps.zarr"


def run(given: argparse.Namespace, config: dict[str, Any]) -> list[dict[str, str]]:
    """All rounds that are not done yet; returns the table of all."""
    slides = made_slides(given, config)
    table = given.out / "rounds.csv"
    geometry = geometry_of(slides["pool"].tiles)
    for seed in given.seeds:
        for arm in ("random", "proposed"):
            windows: list[Window] = []
            for number in range(given.rounds + 1):
                folder = given.out / f"seed{seed}-{'start' if number == 0 else f'{arm}-{number}'}"
                folder.mkdir(exist_ok=True)
                state = folder / "windows.json"
                if state.exists():
                    windows = [tuple(window) for window in json.loads(state.read_text())]
                elif number == 0 or arm == "random":
                    windows = windows + random_windows(
                        slides["pool"],
                        windows,
                        given.per_round,
                        given.size_um,
                        np.random.default_rng([seed, number]),
                    )
                else:
                    before = (
                        given.out
                        / f"seed{seed}-{'start' if number == 1 else f'{arm}-{number - 1}'}"
                    )
                    asked = choose_squares(
                        before / "pool.maps.zarr",
                        slides["pool"].tiles,
                        before / "labels" / "pool.zarr",
                        geometry,
                        ProposalSettings(given.per_round, given.size_um),
                    )
                    windows = windows + [proposal.window_px for proposal in asked]
                state.write_text(json.dumps(windows))
                key = {
                    "seed": str(seed),
                    "arm": "both" if number == 0 else arm,
                    "regions": str(len(windows)),
                }
                if any(key.items() <= row.items() for row in rows_of(table)):
                    continue
                start = time.perf_counter()
                values, _ = one_round(
                    slides, windows, folder, {**config, "seed": seed}, given.threads
                )
                _append(table, {**key, **values, "seconds": round(time.perf_counter() - start)})
                print(
                    f"seed {seed} {key['arm']}: {len(windows)} regions, object F1 {values['object_f1']:.3f}",
                    flush=True,
                )
    return rows_of(table)


def rows_of(table: Path) -> list[dict[str, str]]:
    """Rounds done so far."""
    if not table.exists():
        return []
    with table.open(newline="") as handle:
        return list(csv.DictReader(handle))


def _append(table: Path, row: dict[str, Any]) -> None:
    new = not table.exists()
    with table.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, _COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(
            {
                key: f"{value:.4f}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )


def report(rows: list[dict[str, str]], out: Path) -> None:
    """The curve as a table on stdout and as a picture; in how many seeds which arm was better."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
    print(
        f"{'regions':>8} {'arm':>9} {'object F1, mean (sd)':>22} {'outlined glands':>16} {'seeds':>6}"
    )
    counts = sorted({int(row["regions"]) for row in rows})
    for arm, marker in (("random", "o"), ("proposed", "s")):
        chosen = [
            [row for row in rows if int(row["regions"]) == count and row["arm"] in (arm, "both")]
            for count in counts
        ]
        f1 = [np.array([float(row["object_f1"]) for row in group]) for group in chosen]
        for count, group, values in zip(counts, chosen, f1, strict=True):
            glands = np.mean([float(row["outlined_glands"]) for row in group])
            print(
                f"{count:>8} {arm:>9} {values.mean():>14.3f} ({values.std():.3f}) {glands:>16.1f} {len(values):>6}"
            )
        means, spread = [values.mean() for values in f1], [values.std() for values in f1]
        axes.errorbar(counts, means, spread, marker=marker, capsize=3, label=f"{arm} regions")
    axes.set(xlabel="outlined regions", ylabel="object F1 on another slide")
    axes.legend()
    figure.savefig(out / "proposals.svg")
    last = str(counts[-1])
    pairs = {arm: {row["seed"]: float(row["object_f1"]) for row in rows if row["regions"] == last and row["arm"] == arm} for arm in
             ("random", "proposed")}  # fmt: skip
    gains = [
        pairs["proposed"][seed] - pairs["random"][seed]
        for seed in pairs["proposed"]
        if seed in pairs["random"]
    ]
    if gains:
        better = sum(gain > 0 for gain in gains)
        print(
            f"at {last} regions proposed - random: {np.mean(gains):+.3f} object F1, proposed better in {better} of {len(gains)} seeds"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--glas", type=Path, help="folder with train/ and testA/ as PNG")
    parser.add_argument("--mosaic", type=Path, help="script that makes a slide of GlaS images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--per-round",
        type=int,
        default=2,
        help="regions to begin with, and per round (default %(default)s)",
    )
    parser.add_argument("--size-um", type=float, default=400.0)
    parser.add_argument(
        "--side-px",
        type=int,
        default=12000,
        help="width of the synthetic pool (default %(default)s)",
    )
    parser.add_argument("--mpp-um", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50, help="per epoch (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.glas and not given.mosaic:
        parser.error("--glas needs --mosaic")
    logging.basicConfig(level=logging.WARNING)
    config = read_configuration({
        "tiles": {"mpp_um": given.mpp_um, "tile_px": 128, "overlap_px": 32, "tissue_mpp_um": 16},
        "network": {"width": given.width},
        "training": {"epochs": given.epochs, "warm_start_epochs": 1, "steps_per_epoch": given.steps, "batch": 8},
    }).to_dict()  # fmt: skip
    given.out.mkdir(parents=True, exist_ok=True)
    settings = {
        key: str(value)
        for key, value in vars(given).items()
        if key not in ("seeds", "rounds", "threads", "out")
    }
    record = given.out / "settings.json"
    if record.exists() and json.loads(record.read_text()) != settings:
        parser.error(f"{given.out} holds a run with other settings; name another folder")
    record.write_text(json.dumps(settings))
    report(run(given, config), given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
