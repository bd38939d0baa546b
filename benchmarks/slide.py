"""One slide from its file to GeoJSON: time of each rule, peak memory; beside it a plain script.

python benchmarks/slide.py --image CMU-1-Small-Region.svs --model models/glas
python benchmarks/slide.py --image CMU-1-Small-Region.svs --model models/glas --mm2 10 --script

The slide is a pyramid of JPEG tiles at 0.25 um per pixel that repeats and mirrors the image; it is
made before the measurement. `--script` also runs what a user would otherwise write: OpenSlide, the
same network on overlapping tiles, one probability array of the whole slide, connected components
of scipy, contours of scikit-image, polygons of shapely.
"""

import argparse
import base64
import itertools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from peak_memory import run_and_measure

from tiling.raster.area_average import area_average

REPO = Path(__file__).parents[1]
_TILE_PX = 256
_MPP_UM = 0.25
_LEVEL_FACTORS = (1, 4, 16)
# The network, and what comes before it; the other rules come after it.
_BEFORE_AND_NETWORK = ("tile_slide", "predict_slide")


def write_slide(path: Path, image: NDArray[np.uint8], area_mm2: float) -> tuple[int, int]:
    """Write the slide; returns its height and width in px.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    """
    multiple = _TILE_PX * _LEVEL_FACTORS[-1] // 2
    height, width = (side // multiple * multiple for side in image.shape[:2])
    half = np.concatenate([image[:height, :width], image[height - 1 :: -1, :width]])
    period = np.concatenate([half, half[:, ::-1]], axis=1)
    side_px = (area_mm2 * 1e6) ** 0.5 / _MPP_UM
    rows, columns = (max(1, round(side_px / side)) for side in period.shape[:2])
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in _LEVEL_FACTORS:
            level = area_average(period, (factor, factor)) if factor > 1 else period
            file.write(
                repeated_tiles(level, rows, columns),
                shape=(rows * level.shape[0], columns * level.shape[1], 3),
                dtype=np.uint8,
                tile=(_TILE_PX, _TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(factor > 1),
                resolution=(1e4 / (_MPP_UM * factor), 1e4 / (_MPP_UM * factor)),
                resolutionunit="centimeter",
            )
    return rows * period.shape[0], columns * period.shape[1]


def repeated_tiles(level: NDArray[np.uint8], rows: int, columns: int) -> Iterator[bytes]:
    """Encoded tiles of a level that repeats; each different tile is encoded once."""
    height, width = (side // _TILE_PX for side in level.shape[:2])
    encoded = {
        (y, x): imagecodecs.jpeg8_encode(
            np.ascontiguousarray(
                level[y * _TILE_PX : (y + 1) * _TILE_PX, x * _TILE_PX : (x + 1) * _TILE_PX]
            ),
            level=85,
            subsampling="420",
        )
        for y, x in itertools.product(range(height), range(width))
    }
    for y, x in itertools.product(range(rows * height), range(columns * width)):
        yield encoded[y % height, x % width]


def run_project(slide: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Run the workflow on the slide, and print its time by rule."""
    (folder / "slides.tsv").write_text(f"slide\tpath\tsplit\nlarge\t{slide}\tpredict\n")
    command = [
        str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(REPO / "Snakefile"),
        "--directory", str(folder), "--cores", str(arguments.cores),
        "--resources", f"gpu={arguments.gpu}",
        "--workflow-profile", str(REPO / "profiles" / "default"), "--quiet", "all",
        "--config", "slides=slides.tsv", f"model={arguments.model.resolve()}", "results=results",
    ]  # fmt: skip
    status, seconds, peak = run_and_measure(command)
    if status:
        sys.exit(f"the workflow ended with status {status}")
    by_rule = rule_seconds(folder / ".snakemake" / "metadata")
    for rule, rule_s in sorted(by_rule.items(), key=lambda item: -item[1]):
        print(f"    {rule}: {rule_s:.1f} s, {rule_s / seconds:.0%}")
    after_s = sum(value for rule, value in by_rule.items() if rule not in _BEFORE_AND_NETWORK)
    print_speed("project", seconds, peak, arguments)
    print(
        f"    after the network: {after_s:.1f} s, {after_s / seconds:.0%} of the time (goal 25 %)"
    )
    count = sum(1 for _ in (folder / "results" / "glands" / "large.csv").open()) - 1
    print(f"    {count} glands")


def rule_seconds(metadata: Path) -> dict[str, float]:
    """Time of the jobs of each rule, from Snakemake's records of the outputs."""
    jobs: dict[tuple[str, float, float], str] = {}
    for path in metadata.rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text())
            start_s, end_s = record["starttime"], record["endtime"]
            jobs[record["rule"], start_s, end_s] = base64.b64decode(path.name).decode()
    seconds: dict[str, float] = {}
    for rule, rule_jobs in itertools.groupby(sorted(jobs), key=lambda job: job[0]):
        # Outputs of one job have nearly the same times.
        starts_and_ends = list(rule_jobs)
        seconds[rule] = max(end for _, _, end in starts_and_ends) - min(
            start for _, start, _ in starts_and_ends
        )
    return seconds


def run_script(slide: Path, out: Path, arguments: argparse.Namespace) -> None:
    """Run the plain script in a process of its own."""
    start_s = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(
        target=plain_script, args=(slide, out, arguments.model, arguments.cores)
    )
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"the script ended with status {process.exitcode}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print_speed("script", time.perf_counter() - start_s, peak, arguments)


def plain_script(slide: Path, out: Path, model: Path, threads: int) -> None:
    """Slide -> tiles -> network -> one array -> components -> contours -> polygons -> GeoJSON."""
    import openslide
    import shapely
    from scipy import ndimage
    from skimage import measure

    from semimoe.prediction.predictor import Predictor

    predictor = Predictor.load(model, device="cpu", threads=threads, precision="auto")
    card, overlap_px = predictor.card, 64
    file = openslide.OpenSlide(str(slide))
    factor = card.mpp_um / _MPP_UM
    level = file.get_best_level_for_downsample(factor)
    downsample = file.level_downsamples[level]
    width, height = (round(side / factor) for side in file.dimensions)
    side, stride = card.tile_px, card.tile_px - overlap_px
    probability = np.zeros((height + side, width + side), np.float32)
    weight = np.zeros_like(probability)
    for y, x in itertools.product(range(0, height, stride), range(0, width, stride)):
        read_px = round(side * factor / downsample)
        region = file.read_region((round(x * factor), round(y * factor)), level, (read_px, read_px))
        tile = np.asarray(region.convert("RGB").resize((side, side))).transpose(2, 0, 1)
        probability[y : y + side, x : x + side] += predictor(tile[None])[0, 0]
        weight[y : y + side, x : x + side] += 1
    mask = probability[:height, :width] / np.maximum(weight[:height, :width], 1) > card.threshold
    labels, count = ndimage.label(mask)
    features = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        part = np.pad(labels[box] == number, 1)
        contour = max(measure.find_contours(part, 0.5), key=len)[:, ::-1]
        origin = np.array([box[1].start, box[0].start])
        polygon = shapely.Polygon((contour + origin) * factor)
        features.append({"type": "Feature", "geometry": shapely.geometry.mapping(polygon)})
    out.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    print(f"    {count} objects")


def print_speed(name: str, seconds: float, peak: int, arguments: argparse.Namespace) -> None:
    megapixels = arguments.mm2 / _MPP_UM**2
    print(
        f"{name}: {seconds:.1f} s, {seconds / arguments.mm2:.2f} s per mm2,"
        f" {megapixels / seconds:.1f} Mpx/s at {_MPP_UM} um per pixel,"
        f" peak {peak / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True, help="slide whose pixels are repeated")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--mm2", type=float, default=200, help="area of the slide, about")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--script", action="store_true", help="run the plain script, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = folder / "large.tiff"
        image = tifffile.imread(arguments.image, series=0, level=0)
        height, width = write_slide(slide, image, arguments.mm2)
        arguments.mm2 = height * width * _MPP_UM**2 / 1e6
        print(
            f"{width} x {height} px, {arguments.mm2:.1f} mm2, {slide.stat().st_size / 1e6:.0f} MB"
        )
        run_project(slide, folder, arguments)
        if arguments.script:
            run_script(slide, folder / "script.geojson", arguments)


if __name__ == "__main__":
    main()
