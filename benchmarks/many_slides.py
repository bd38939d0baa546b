"""What a slide costs in a run that only predicts: processor time of each rule, and of Snakemake.

python benchmarks/many_slides.py --slide CMU-1-Small-Region.svs --slides 6

The sheet names hard links of one slide. With `--plan N` a dry run for N slides is measured too.
Processor times contain all child processes; the work of tiling and network is measured alone, in
a process that has imported everything, so that the rest is the cost of jobs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).parents[1]
_MODEL = REPO / "models" / "glas"
# Each script of a rule appends its processor time to a file when it ends.
_AT_END_OF_SCRIPT = """
import atexit, json, os, resource, sys
from pathlib import Path

@atexit.register
def _append_times():
    script = Path(sys.argv[0])
    is_server = script.name == "job_server.py"
    if not is_server and script.parent.parts[-2:] != (".snakemake", "scripts"):
        return
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = own.ru_utime + own.ru_stime
    if not is_server:
        seconds += children.ru_utime + children.ru_stime
    name = "job server" if is_server else script.name.split(".")[-2]
    of_server = "workflow.job_server" in sys.orig_argv
    with open(os.environ["TIMES_OF_SCRIPTS"], "a") as file:
        file.write(json.dumps([name, of_server, seconds]) + "\\n")
"""
_SERVER = "job server"


class RunTimes(NamedTuple):
    """Times of one run.

    Attributes
    ----------
    wall_s, processor_s : of the whole run
    rules : for each rule the processor time of its jobs, s
    """

    wall_s: float
    processor_s: float
    rules: dict[str, list[float]]


def write_sheet(folder: Path, slide: Path, count: int) -> Path:
    """A sheet of hard links of one slide, all with split `predict`."""
    first = folder / f"slide{slide.suffix}"
    if not first.exists():
        shutil.copyfile(slide, first)
    links = folder / f"slides{count}"
    links.mkdir(exist_ok=True)
    rows = ["slide\tpath\tsplit"]
    for number in range(count):
        link = links / f"s{number:04}{slide.suffix}"
        if not link.exists():
            os.link(first, link)
        rows.append(f"s{number:04}\t{link}\tpredict")
    sheet = folder / f"slides{count}.tsv"
    sheet.write_text("\n".join(rows) + "\n")
    return sheet


def run(folder: Path, sheet: Path, cores: int, *options: str) -> RunTimes:
    """Run the workflow with the model of the project, in the folder."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(_AT_END_OF_SCRIPT)
    times = folder / "times_of_scripts.jsonl"
    times.unlink(missing_ok=True)
    paths = [str(folder / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [
        *(sys.executable, "-m", "workflow.command_line", "--snakefile", str(REPO / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores), "--resources", "gpu=0"),
        *("--workflow-profile", str(REPO / "profiles" / "default"), *options),
        *("--config", f"slides={sheet}", f"model={_MODEL}", "results=results"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CI": "1"}
    environment["TIMES_OF_SCRIPTS"] = str(times)
    start_s, before = time.perf_counter(), os.times()
    process = subprocess.run(
        command, cwd=REPO, env=environment, check=False, capture_output=True, text=True
    )
    if process.returncode:
        raise SystemExit(process.stdout + process.stderr)
    after = os.times()
    processor_s = sum(after[2:4]) - sum(before[2:4])
    rules: defaultdict[str, list[float]] = defaultdict(list)
    if "-n" not in options:
        # The server is no child of this process, and ends after Snakemake.
        while _SERVER not in times.read_text():
            time.sleep(0.1)
        for line in times.read_text().splitlines():
            name, of_server, seconds = json.loads(line)
            rules[name].append(seconds)
            processor_s += seconds if of_server else 0
    return RunTimes(time.perf_counter() - start_s, processor_s, dict(rules))


def work_of_slide(folder: Path, sheet: Path) -> dict[str, float]:
    """Processor time of tiling and network alone for one slide, when all is imported."""
    script = REPO / "benchmarks" / "many_slides.py"
    slide = sheet.read_text().splitlines()[1].split("\t")[1]
    command = [sys.executable, str(script), "--slide", slide, "--work", str(folder / "work")]
    # Threads that wait use no processor, as in jobs.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    text = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout
    values: dict[str, float] = json.loads(text)
    return values


def measured_work(slide: Path, folder: Path) -> dict[str, float]:
    """See `work_of_slide`; each is done twice in this process, and the second time counts."""
    from semimoe.model_card import load_card
    from tiling.parallel import JobSettings
    from tiling.tiles.slide_source import SlideSource
    from tiling.tiles.tile_slide import TileParameters, tile_slide
    from workflow.config.option_groups import PredictionOptions, TileOptions
    from workflow.stages.job_resources import JobResources
    from workflow.stages.predict_slide import predict_slide

    card = load_card(_MODEL)
    tiles = TileOptions(mpp_um=card.mpp_um, tile_px=256, overlap_px=64)
    times = {}
    for attempt in ("first", "second"):
        stores = {name: folder / attempt / f"{name}.zarr" for name in ("tiles", "maps")}
        start_s = time.process_time()
        tile_slide(
            SlideSource("slide", slide, None),
            stores["tiles"],
            parameters=TileParameters(**tiles.to_dict()),
            code_version=1,
            job=JobSettings(2),
        )
        tiled_s = time.process_time()
        predict_slide(
            stores["tiles"],
            _MODEL,
            stores["maps"],
            slide="slide",
            prediction=PredictionOptions(),
            job=JobResources(gpu=0, threads=2, code_version=1),
        )
        times = {"tiling": tiled_s - start_s, "network": time.process_time() - tiled_s}
    return times


def print_times(times: RunTimes, work_s: dict[str, float], slides: int) -> None:
    """A line for each rule, for Snakemake, and for what is neither tiling nor network."""
    totals = Counter({name: sum(values) for name, values in times.rules.items()})
    for name, seconds in totals.most_common():
        jobs = len(times.rules[name])
        print(f"{name:23} {jobs:4} jobs  {seconds / slides:7.2f} s per slide")
    others_s = times.processor_s - sum(totals.values())
    print(f"{'Snakemake, clients of the server':34} {others_s / slides:7.2f} s per slide")
    print(f"{'all':34} {times.processor_s / slides:7.2f} s per slide")
    for name, seconds in work_s.items():
        print(f"{name + ' alone':34} {seconds:7.2f} s per slide")
    rest_s = times.processor_s / slides - sum(work_s.values())
    print(f"{'neither tiling nor network':34} {rest_s:7.2f} s per slide")
    print(f"{'wall time':34} {times.wall_s / slides:7.2f} s per slide")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--slides", type=int, default=6, help="0: only the dry run")
    parser.add_argument("--plan", type=int, default=0, help="slides of a dry run")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keep the results here")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(measured_work(arguments.slide, arguments.work)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out.absolute() if arguments.out else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.slides:
            sheet = write_sheet(folder, arguments.slide, arguments.slides)
            times = run(folder, sheet, arguments.cores)
            print_times(times, work_of_slide(folder, sheet), arguments.slides)
        if arguments.plan:
            sheet = write_sheet(folder, arguments.slide, arguments.plan)
            for attempt in ("first (slides are opened)", "later"):
                times = run(folder, sheet, arguments.cores, "-n")
                print(
                    f"{attempt} dry run of {arguments.plan} slides: {times.processor_s:.1f} s of "
                    f"processor time, {times.wall_s:.1f} s"
                )


if __name__ == "__main__":
    main()
