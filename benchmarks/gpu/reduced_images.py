"""GlaS at half resolution as PNG, to be taken to a GPU machine: 31 MB instead of 109.

python benchmarks/gpu/reduced_images.py --data GLAS --out GLAS-HALF

Parts train and testA; --parts takes others. Give the scripts the pixel size --mpp 1.2401.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from semimoe.datasets.image_dataset import GLAS_MPP_UM, GRADES_FILE
from semimoe.datasets.image_files import read_image, read_labels
from semimoe.datasets.image_folder import find_images
from semimoe.datasets.image_resolution import isotropic_resolution


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["train", "testA"])
    arguments = parser.parse_args()
    resolution = isotropic_resolution(GLAS_MPP_UM, 2 * GLAS_MPP_UM)
    for part in arguments.parts:
        folder = arguments.out / part
        folder.mkdir(parents=True, exist_ok=True)
        for file in find_images(arguments.data / part):
            image = resolution.image(read_image(file.image))
            Image.fromarray(np.moveaxis(image, 0, -1)).save(folder / f"{file.name}.png")
            if file.mask is not None:
                labels = resolution.labels(read_labels(file.mask)).astype(np.uint16)
                Image.fromarray(labels).save(folder / f"{file.name}_anno.png")
    if (arguments.data / GRADES_FILE).exists():
        shutil.copyfile(arguments.data / GRADES_FILE, arguments.out / GRADES_FILE)


if __name__ == "__main__":
    sys.exit(main())
