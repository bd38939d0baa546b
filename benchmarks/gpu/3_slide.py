"""A large slide from its file to GeoJSON on a GPU, then many small slides with several jobs.

python benchmarks/gpu/3_slide.py --out OUT
python benchmarks/gpu/3_slide.py --out OUT --slide CMU-1-Small-Region.svs --many 40 --jobs 1 3

It makes its slides itself: tissue of the project's generator, repeated at 0.25 um per pixel. A
slide that is given is repeated instead, and is the small slide. Then it measures what the network
alone needs: the start of a process, and batches of several sizes. The workflow writes its output
to OUT/*.log. Install the wheels of `collect_wheels.py` before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_report import GpuReport
from gpu_samples import GpuSamples, figures_of

sys.path.append(str(Path(__file__).parents[1]))

from repeated_slide import MPP_UM, image_of_slide, synthetic_image, write_slide
from slide import REPO, SlideTimes, run_workflow, write_sheet

_SMALL_PX = (2967, 2220)  # of CMU-1-Small-Region
_TILE_PX = 256
_NO_RUN = SlideTimes(status=0, seconds=1, peak=0, rules={}, after_network_s=0, glands=0)
_LEAST_S = 15.0  # a measurement begins only if so much time is left


def slide_row(
    case: str, times: SlideTimes, mm2: float, slides: int, jobs: int
) -> dict[str, object]:
    """Columns of a run of the workflow; `parts`: seconds of each rule, for a slide."""
    totals = {rule: sum(jobs.jobs_s) for rule, jobs in times.rules.items()}
    predicted = times.rules.get("predict_slide")
    outcome = {0: "finished", None: "stopped by the deadline"}.get(times.status)
    return {
        "case": case,
        "GPU jobs": jobs,
        "outcome": outcome or f"failed, see {log_name(case, jobs)}",
        "seconds": round(times.seconds, 1),
        "s per slide": round(times.seconds / slides, 2),
        "s per mm2": round(times.seconds / mm2, 3),
        "Mpx/s": round(mm2 / MPP_UM**2 / times.seconds, 1),
        "um per px": MPP_UM,
        "after the network": f"{times.after_network_s / times.seconds:.0%}" if slides == 1 else "",
        "s per prediction": (
            round((predicted.end_s - predicted.start_s) / slides, 2) if predicted else ""
        ),
        "host MiB": times.peak >> 20,
        "glands": times.glands,
        "parts": ", ".join(f"{rule} {totals[rule] / slides:.2f}" for rule in sorted(totals)),
    }


def network_row(
    case: str, seconds: float, parts: str, batch: dict[str, float] | None = None
) -> dict[str, object]:
    """Columns of the network alone; those of the workflow are empty."""
    row: dict[str, object] = dict.fromkeys(slide_row("", _NO_RUN, 1, 1, 0), "")
    row |= {"case": case, "outcome": "finished", "seconds": round(seconds, 4), "parts": parts}
    gpu = dict.fromkeys(figures_of([], 1), "")
    if batch:
        megapixels = batch["batch"] * _TILE_PX**2 / 1e6
        row |= {"Mpx/s": round(megapixels / seconds, 1), "um per px": batch["mpp_um"]}
        row["parts"] = f"{batch['batch'] / seconds:.0f} tiles of {_TILE_PX} px per s"
        gpu["GPU MiB"] = batch["MiB"]
    return row | gpu


def log_name(case: str, jobs: int) -> str:
    return f"{case.replace(' ', '-')}-{jobs}.log"


def measure_large(folder: Path, arguments: argparse.Namespace, report: GpuReport) -> None:
    """One large slide."""
    start_s = time.monotonic()
    image = image_of_slide(arguments.slide) if arguments.slide else synthetic_image()
    path = folder / "large.tiff"
    height, width = write_slide(path, image, arguments.mm2)
    print(f"{width} x {height} px, made in {time.monotonic() - start_s:.1f} s", flush=True)
    mm2 = height * width * MPP_UM**2 / 1e6
    measure_workflow("large slide", [path], mm2, 1, arguments, report)


def measure_many(folder: Path, arguments: argparse.Namespace, report: GpuReport) -> None:
    """Many small slides, with different numbers of GPU jobs at a time."""
    first = arguments.slide
    if first is None:
        first = folder / "small.tiff"
        write_slide(first, synthetic_image(*_SMALL_PX), 0)
    slides = [folder / "small" / f"s{number:03}{first.suffix}" for number in range(arguments.many)]
    slides[0].parent.mkdir()
    for slide in slides:
        slide.symlink_to(first.absolute())
    height, width = image_of_slide(first).shape[:2]
    mm2 = len(slides) * height * width * MPP_UM**2 / 1e6
    for jobs in arguments.jobs:
        if report.left_s() < _LEAST_S:
            print(f"deadline: {len(slides)} slides with {jobs} GPU jobs were not begun")
            return
        measure_workflow(f"{len(slides)} slides", slides, mm2, jobs, arguments, report)


def measure_workflow(
    case: str,
    slides: list[Path],
    mm2: float,
    jobs: int,
    arguments: argparse.Namespace,
    report: GpuReport,
) -> None:
    """Run the workflow on slides in a new folder, with so many GPU jobs at a time."""
    # Half of the cores predict, the others tile and write outlines.
    threads = max(1, min(8, arguments.cores // (2 * jobs)))
    with tempfile.TemporaryDirectory() as name, GpuSamples() as samples:
        times = run_workflow(
            write_sheet(Path(name), slides),
            arguments.model,
            cores=arguments.cores,
            gpu=jobs if arguments.device == "gpu" else 0,
            options=(f"--set-threads=predict_slide={threads}",),
            log=arguments.out / log_name(case, jobs),
            limit_s=max(report.left_s(), 1),
        )
    row = slide_row(case, times, mm2, len(slides), jobs)
    report.add(row | samples.figures(len(slides)))


def measure_network(arguments: argparse.Namespace, report: GpuReport) -> None:
    """The network alone, in a process of its own that leaves no memory in use."""
    script = Path(__file__).with_name("network_speed.py")
    command = [
        *(sys.executable, str(script), "--model", str(arguments.model)),
        *("--device", arguments.device, "--seconds", str(arguments.network_seconds)),
        *("--batches", *map(str, arguments.batches)),
    ]
    try:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=max(report.left_s(), 1), check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"the network alone was not measured: {error}")
        return
    for line in map(json.loads, result.stdout.splitlines()):
        if "start" in line:
            parts = ", ".join(f"{name} {seconds}" for name, seconds in line["start"].items())
            report.add(network_row("start of a process", sum(line["start"].values()), parts))
        else:
            report.add(network_row(f"network, batch {line['batch']}", line["call s"], "", line))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--slide", type=Path, help="small slide; default: synthetic tissue")
    parser.add_argument("--model", type=Path, default=REPO / "models" / "glas")
    parser.add_argument("--mm2", type=float, default=200, help="0: no large slide")
    parser.add_argument("--many", type=int, default=40, help="small slides; 0: none")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 3], help="GPU jobs at a time")
    parser.add_argument("--batches", type=int, nargs="*", default=[8, 16, 32, 64])
    parser.add_argument("--network-seconds", type=float, default=2, help="for each batch size")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=5, help="deadline")
    arguments = parser.parse_args()
    report = GpuReport(arguments.out, minutes=arguments.minutes)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if arguments.mm2:
                measure_large(folder, arguments, report)
            if arguments.batches:
                measure_network(arguments, report)
            if arguments.many:
                measure_many(folder, arguments, report)
    finally:
        report.finish()


if __name__ == "__main__":
    sys.exit(main())
