"""The split by prominence in memory, compared with scikit-image on the same maps.

python benchmarks/prominence_peer.py --side 2048

The maps are those of `blend.py`. scikit-image works on all pixels: h-maxima by reconstruction, then
a watershed; ours works on reduced pixels. Both have the same seeds, but not the same borders.
"""

import argparse
import time

import numpy as np
from blend import MPP_UM, network_outputs
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from tiling.raster.quantise import quantise_probability, quantise_sdf
from tiling.raster.split_parameters import SplitParameters
from tiling.raster.split_rule import gland_mask, split_glands

_SDF_UM, _PROMINENCE_UM = 20.0, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    side = parser.parse_args().side
    outputs = network_outputs()[0, 0]
    repeats = -(-side // outputs.shape[-1])
    gland, sdf = (np.tile(outputs[index], (repeats, repeats))[:side, :side] for index in (0, 1))
    maps = quantise_probability(gland), quantise_sdf(sdf)
    parameters = SplitParameters(
        threshold=0.5,
        seed_depth_um=0,
        boundary_level=1.01,
        growth_um=0,
        min_area_um2=0,
        sdf_um=_SDF_UM,
        rule="prominence",
        prominence_um=_PROMINENCE_UM,
    )
    print(f"{side} x {side} px, {gland_mask(maps[0], parameters).mean():.0%} mask")
    for name, split in (("ours", ours), ("scikit-image", with_scikit_image)):
        seconds = []
        for _ in range(3):
            start = time.process_time()
            labels = split(*maps, parameters)
            seconds.append(time.process_time() - start)
        print(f"{name:13s} {min(seconds):.3f} s (processor time, best of 3), {labels.max()} glands")


def ours(
    gland: NDArray[np.uint8], sdf: NDArray[np.uint8], parameters: SplitParameters
) -> NDArray[np.int32]:
    """`split_glands`."""
    return split_glands(
        gland, sdf, gland, mpp_um=MPP_UM, um2_per_px=MPP_UM**2, parameters=parameters
    )


def with_scikit_image(
    gland: NDArray[np.uint8], sdf: NDArray[np.uint8], parameters: SplitParameters
) -> NDArray[np.int32]:
    """Seeds by reconstruction, and watershed."""
    mask = gland_mask(gland, parameters)
    level = np.where(mask, sdf.astype(np.int32) + 1, 0)
    height = round(127.5 * parameters.prominence_um / parameters.sdf_um)
    reconstructed = reconstruction(np.maximum(level - height, 0), level, footprint=np.ones((3, 3)))
    seeds, _ = ndimage.label(local_maxima(reconstructed, connectivity=2) & mask, np.ones((3, 3)))
    labels: NDArray[np.int32] = watershed(-level, seeds, connectivity=2, mask=mask)
    return labels


if __name__ == "__main__":
    main()
