"""One slide from its file to GeoJSON: time of each rule, peak memory; beside it a plain script.

python benchmarks/slide.py --image CMU-1-Small-Region.svs --model models/glas
python benchmarks/slide.py --image CMU-1-Small-Region.svs --model models/glas --mm2 10 --script

The slide is a pyramid of JPEG tiles at 0.25 um per pixel that repeats and mirrors the image, or
synthetic tissue; it is made before the measurement. `--script` also runs what a user would
otherwise write: OpenSlide, the same network on overlapping tiles, one probability array of the
whole slide, connected components of scipy, contours of scikit-image, polygons of shapely.
"""

import argparse
import itertools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from peak_memory import run_and_measure
from repeated_slide import MPP_UM, image_of_slide, synthetic_image, write_slide

REPO = Path(__file__).parents[1]


class RuleTimes(NamedTuple):
    """The jobs of a rule.

    Attributes
    ----------
    start_s, end_s : of the first and of the last job, since 1970
    jobs_s : seconds of each job
    """

    start_s: float
    end_s: float
    jobs_s: list[float]


class SlideTimes(NamedTuple):
    """One run of the workflow.

    Attributes
    ----------
    status : exit status of the workflow; None: it was stopped after its time limit
    peak : bytes, PSS of the process tree
    after_network_s : seconds from the end of the last prediction to the end of the run
    glands : of all slides
    """

    status: int | None
    seconds: float
    peak: int
    rules: dict[str, RuleTimes]
    after_network_s: float
    glands: int


def run_workflow(
    sheet: Path,
    model: Path,
    *,
    cores: int,
    gpu: int,
    options: tuple[str, ...] = (),
    log: Path | None = None,
    limit_s: float | None = None,
) -> SlideTimes:
    """Run the one command on the slides of a sheet, with results in its folder.

    Parameters
    ----------
    gpu : GPU jobs at a time; 0: on the CPU
    log : file for the output of the command; None: it is printed
    limit_s : the command is stopped after this time
    """
    folder = sheet.parent
    command = [
        *(sys.executable, "-m", "workflow.command_line", "--snakefile", str(REPO / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores), "--resources", f"gpu={gpu}"),
        *("--workflow-profile", str(REPO / "profiles" / "default"), *options, "--quiet", "all"),
        *("--config", f"slides={sheet.name}", f"model={model.resolve()}", "results=results"),
    ]
    status, seconds, peak = run_and_measure(command, folder=REPO, log=log, limit_s=limit_s)
    end_s = time.time()
    rules = rule_times(folder / ".snakemake" / "metadata")
    predicted = rules.get("predict_slide")
    tables = (folder / "results" / "glands").glob("*.csv")
    return SlideTimes(
        status,
        seconds,
        peak,
        rules,
        end_s - predicted.end_s if predicted else 0.0,
        sum(max(len(path.read_text().splitlines()) - 1, 0) for path in tables),
    )


def write_sheet(folder: Path, slides: list[Path]) -> Path:
    """A sheet of slides that are only predicted."""
    rows = [f"{path.stem}\t{path.resolve()}\tpredict" for path in slides]
    sheet = folder / "slides.tsv"
    sheet.write_text("\n".join(["slide\tpath\tsplit", *rows]) + "\n")
    return sheet


def run_project(slide: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Run the workflow on the slide, and print its time by rule."""
    sheet = write_sheet(folder, [slide])
    times = run_workflow(sheet, arguments.model, cores=arguments.cores, gpu=arguments.gpu)
    if times.status:
        sys.exit(f"the workflow ended with status {times.status}")
    for rule, jobs in sorted(times.rules.items(), key=lambda item: -sum(item[1].jobs_s)):
        rule_s = sum(jobs.jobs_s)
        print(f"    {rule}: {rule_s:.1f} s, {rule_s / times.seconds:.0%}")
    print_speed("project", times.seconds, times.peak, arguments)
    share = times.after_network_s / times.seconds
    print(f"    after the network: {times.after_network_s:.1f} s, {share:.0%} (goal 25 %)")
    print(f"    {times.glands} glands")


def rule_times(metadata: Path) -> dict[str, RuleTimes]:
    """Times of the jobs of each rule, from Snakemake's records of the outputs."""
    jobs: dict[str, set[tuple[float, float]]] = {}
    for path in metadata.rglob("*"):
        if path.is_file() and (record := json.loads(path.read_text())).get("endtime"):
            # Outputs of one job have the same times except for milliseconds.
            span = round(record["starttime"], 1), round(record["endtime"], 1)
            jobs.setdefault(record["rule"], set()).add(span)
    return {
        rule: RuleTimes(
            min(start for start, _ in spans),
            max(end for _, end in spans),
            [end - start for start, end in spans],
        )
        for rule, spans in jobs.items()
    }


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
    factor = card.mpp_um / MPP_UM
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
    megapixels = arguments.mm2 / MPP_UM**2
    print(
        f"{name}: {seconds:.1f} s, {seconds / arguments.mm2:.2f} s per mm2,"
        f" {megapixels / seconds:.1f} Mpx/s at {MPP_UM} um per pixel,"
        f" peak {peak / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--image", type=Path, help="small slide whose pixels are repeated; default: synthetic"
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--mm2", type=float, default=200, help="area of the slide, about")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--gpu", type=int, default=0, help="GPU jobs at a time; 0: on the CPU")
    parser.add_argument("--script", action="store_true", help="run the plain script, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = folder / "large.tiff"
        image = image_of_slide(arguments.image) if arguments.image else synthetic_image()
        height, width = write_slide(slide, image, arguments.mm2)
        arguments.mm2 = height * width * MPP_UM**2 / 1e6
        print(
            f"{width} x {height} px, {arguments.mm2:.1f} mm2, {slide.stat().st_size / 1e6:.0f} MB"
        )
        run_project(slide, folder, arguments)
        if arguments.script:
            run_script(slide, folder / "script.geojson", arguments)


if __name__ == "__main__":
    main()
