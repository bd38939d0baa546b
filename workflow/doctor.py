"""`make doctor`: is this machine ready, and how fast is it?"""

import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

_GIB = 2**30
_LEAST_DISK_GIB = 5


def main() -> int:
    """Print one line per check; status 1 when something would stop a run."""
    checks = [_python(), _disk(), *_torch(), _openslide(), _timed_tile()]
    for sound, text in checks:
        print(f"{'ok  ' if sound else 'FAIL'}  {text}")
    return 0 if all(sound for sound, _ in checks) else 1


def _python() -> tuple[bool, str]:
    return sys.version_info >= (
        3,
        11,
    ), f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(".").free / _GIB
    return (
        free > _LEAST_DISK_GIB,
        f"{free:.0f} GiB free here (a 100k x 100k slide at 1 um per pixel takes about 1 GiB of tiles)",
    )


def _torch() -> list[tuple[bool, str]]:
    import torch

    from semimoe.devices import native_precision

    built = torch.version.cuda
    lines = [
        (
            True,
            f"torch {torch.__version__}, built for {'CUDA ' + built if built else 'CPU only'}, {torch.get_num_threads()} threads",
        )
    ]
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported()
        lines.append(
            (
                True,
                f"GPU {torch.cuda.get_device_name()}, bf16 {'yes' if bf16 else 'no'}: use --resources gpu=1",
            )
        )
    elif built:
        lines.append(
            (
                False,
                "torch is built for CUDA but sees no GPU: check the driver, or use --resources gpu=0",
            )
        )
    else:
        lines.append((True, "no GPU: use --resources gpu=0"))
    if not torch.cuda.is_available():
        lines.append((True, f"precision on this CPU: {native_precision('cpu')} (precision: auto)"))
    return lines


def _openslide() -> tuple[bool, str]:
    import openslide

    return (
        True,
        f"openslide-python {openslide.__version__}, OpenSlide {openslide.__library_version__}",
    )


def _timed_tile() -> tuple[bool, str]:
    import numpy as np
    import tifffile

    from tiling.slides.slide_reader import open_slide

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.tiff"
        image = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), np.uint8)
        tifffile.imwrite(
            path,
            image,
            tile=(256, 256),
            compression="jpeg",
            photometric="rgb",
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
        start = time.perf_counter()
        with open_slide(path) as slide:
            read = slide.read(0, 0, 0, 2048, 2048)
        seconds = time.perf_counter() - start
    return (
        read.shape == image.shape,
        f"one 2048 x 2048 block of a tiled JPEG slide read in {seconds:.2f} s",
    )


if __name__ == "__main__":
    sys.exit(main())
