"""`make doctor`: check whether this machine can run the pipeline, and how fast it reads a slide."""

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tiling.raster.option_help import OneLineParser
from workflow.user_paths import (
    SNAKEMAKE_FOLDER,
    problem_of_interpreter,
    problem_of_output_folder,
)

_GIB = 2**30
_MIN_DISK_GIB = 5
_MIN_PYTHON = (3, 11)
_SIDE_PX = 2048


class MachineCheck(NamedTuple):
    """One check: whether it passed, and what it measured."""

    passed: bool
    text: str


def main(words: Sequence[str] | None = None) -> int:
    """Print a line for each check; status 1 if a check failed, which would stop a run.

    Parameters
    ----------
    words : the command line without the name of the program; None: that of this process
    """
    OneLineParser(
        prog="python -m workflow.doctor",
        description="Check whether this machine can run the pipeline: Python, disk space of this "
        "folder, torch and driver, precision, OpenSlide, time to read a slide.",
        epilog="The exit status is 1 if a check failed, which would stop a run.",
    ).parse_args(words)
    checks = [_python(), _disk(), *_torch(), _openslide(), _timed_read()]
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.text}")
    return 0 if all(check.passed for check in checks) else 1


def _python() -> MachineCheck:
    version, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    if problem := problem_of_interpreter(sys.executable):
        return MachineCheck(False, f"Python {version}: {problem}")
    return MachineCheck(sys.version_info >= _MIN_PYTHON, f"Python {version} on {system}")


def _disk() -> MachineCheck:
    if problem := problem_of_output_folder(SNAKEMAKE_FOLDER):
        return MachineCheck(False, f"{SNAKEMAKE_FOLDER} {problem}: `--directory DIR`")
    free_gib = shutil.disk_usage(".").free / _GIB
    return MachineCheck(
        free_gib > _MIN_DISK_GIB,
        f"{free_gib:.0f} GiB free in this folder "
        "(the tiles of a 100k x 100k slide at 1 um per pixel take about 1 GiB)",
    )


def _torch() -> list[MachineCheck]:
    import torch

    from semimoe.devices import native_precision

    cuda = torch.version.cuda
    build = f"CUDA {cuda}" if cuda else "CPU only"
    text = f"torch {torch.__version__}, built for {build}, threads: {torch.get_num_threads()}"
    version = MachineCheck(True, text)
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        bf16 = "yes" if torch.cuda.is_bf16_supported() else "no"
        return [version, MachineCheck(True, f"GPU {name}, bf16 {bf16}: use --resources gpu=1")]
    if cuda:
        text = "torch is built for CUDA but finds no GPU: check the driver, or use "
        gpu = MachineCheck(False, text + "--resources gpu=0")
    else:
        gpu = MachineCheck(True, "no GPU: use --resources gpu=0")
    precision = native_precision("cpu")
    text = f"precision on this CPU: {precision} (precision: auto)"
    return [version, gpu, MachineCheck(True, text)]


def _openslide() -> MachineCheck:
    import openslide

    versions = f"{openslide.__version__}, OpenSlide {openslide.__library_version__}"
    return MachineCheck(True, f"openslide-python {versions}")


def _timed_read() -> MachineCheck:
    import numpy as np
    import tifffile

    from tiling.raster.geometry import Window
    from tiling.slides.slide_reader import open_slide

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.tiff"
        image = np.random.default_rng(0).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), np.uint8)
        tifffile.imwrite(
            path,
            image,
            tile=(256, 256),
            compression="jpeg",
            photometric="rgb",
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
        start_s = time.perf_counter()
        with open_slide(path) as slide:
            pixels = slide.read(0, Window(0, 0, _SIDE_PX, _SIDE_PX))
        seconds = time.perf_counter() - start_s
    text = f"one {_SIDE_PX} x {_SIDE_PX} block of a tiled JPEG slide read in {seconds:.2f} s"
    return MachineCheck(pixels.shape == image.shape, text)


if __name__ == "__main__":
    sys.exit(main())
