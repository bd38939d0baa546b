"""Time and memory of a table of methods on a folder of the layout and size of CRAG.

python benchmarks/crag_size.py --folder FOLDER [--only data-check table]

CRAG itself is not at hand. FOLDER/crag gets 173 training and 40 validation images of 1512 x 1516 px
with masks, random dark blobs as glands (about 1 GB). A training of one step per row shows what
reading, validation and scores need; the scores say nothing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from peak_memory import run_and_measure
from PIL import Image
from scipy import ndimage

_PARTS = {"train": 173, "valid": 40}
_HEIGHT_PX, _WIDTH_PX = 1512, 1516
_COARSE = 4  # the blobs are drawn at a quarter of the resolution
_MPP_UM = "0.5"


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in _PARTS.items():
        for name in ("Images", "Annotation"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            shape = -(-_HEIGHT_PX // _COARSE), -(-_WIDTH_PX // _COARSE)
            coarse = ndimage.label(ndimage.gaussian_filter(rng.normal(size=shape), 10) > 0.012)[0]
            labels = np.kron(coarse, np.ones((_COARSE, _COARSE), np.uint8))
            labels = labels[:_HEIGHT_PX, :_WIDTH_PX].astype(np.uint8)
            grey = np.where(labels > 0, 110, 215)[..., None] + rng.integers(
                -4, 5, (*labels.shape, 3)
            )
            image = Image.fromarray(grey.astype(np.uint8))
            image.save(folder / part / "Images" / f"{part}_{number}.png", compress_level=1)
            mask = Image.fromarray(labels)
            mask.save(folder / part / "Annotation" / f"{part}_{number}.png", compress_level=1)


def commands(data: Path, out: Path) -> dict[str, list[str]]:
    start = [sys.executable, "-m", "semimoe"]
    table = [*start, "table", "--data", str(data), "--out", str(out), "--mpp", _MPP_UM]
    table += ["--recipe", "quick", "--labelled", "0.2", "--seeds", "0", "--jobs", "1"]
    table += ["--methods", "supervised", "semimoe", "--set=training.epochs=1"]
    table += ["--set=training.steps_per_epoch=1", "--set=training.validate_every=1"]
    return {"data-check": [*start, "data-check", str(data)], "table": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=("data-check", "table"))
    arguments = parser.parse_args()
    data, out = arguments.folder / "crag", arguments.folder / "table"
    if not data.exists():
        write_images(data)
    for name, command in commands(data, out).items():
        if arguments.only and name not in arguments.only:
            continue
        log = arguments.folder / f"{name}.log"
        status, seconds, peak_bytes = run_and_measure(command, log=log)
        print(f"{name}: status {status}, {seconds:.0f} s, peak {peak_bytes >> 20} MiB; {log}")


if __name__ == "__main__":
    main()
