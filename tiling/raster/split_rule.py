"""The split rule: how predicted maps become glands (docs/architecture.md, "The split rule").

`split_glands` applies it to arrays that fit in memory. `tiling.objects.stitch` applies the same
functions block by block to maps of any size, with the same result.
"""

import numpy as np
from numpy.typing import NDArray

from tiling.raster.growth import FREE, assign_components, count_contacts, grow
from tiling.raster.holes import fill_small_holes
from tiling.raster.label_numbers import label_components, renumber
from tiling.raster.prominence import BasinsOfMask
from tiling.raster.quantise import quantised_sdf_threshold, quantised_threshold
from tiling.raster.reduced_depth import lowered_levels, reduced_px_side
from tiling.raster.split_parameters import SplitParameters


def gland_mask(gland: NDArray[np.uint8], parameters: SplitParameters) -> NDArray[np.bool_]:
    """Pixels of the mask, bool (H, W), of the quantised gland probability."""
    return gland >= quantised_threshold(parameters.threshold)


def seed_mask(
    mask: NDArray[np.bool_],
    sdf: NDArray[np.uint8] | None,
    boundary: NDArray[np.uint8] | None,
    parameters: SplitParameters,
) -> NDArray[np.bool_]:
    """Pixels from which glands grow (seeds).

    Parameters
    ----------
    mask : bool (H, W), see `gland_mask`
    sdf, boundary : uint8 (H, W), quantised; None where `use_sdf` or `use_boundary` is False

    Returns
    -------
    ndarray
        bool (H, W).
    """
    seed = mask
    if boundary is not None and parameters.use_boundary:
        seed = seed & (boundary < quantised_threshold(parameters.boundary_level))
    if sdf is not None and parameters.use_sdf:
        depth = parameters.seed_depth_um / parameters.sdf_um
        seed = seed & (sdf > quantised_sdf_threshold(depth))
    return seed


def split_glands(
    gland: NDArray[np.uint8],
    sdf: NDArray[np.uint8],
    boundary: NDArray[np.uint8],
    *,
    mpp_um: float,
    um2_per_px: float,
    parameters: SplitParameters,
) -> NDArray[np.int32]:
    """Split a predicted mask into glands.

    Parameters
    ----------
    gland, sdf, boundary : uint8 (H, W), quantised maps
    mpp_um : size of a pixel, um
    um2_per_px : area of a pixel, um2

    Returns
    -------
    ndarray
        int32 (H, W), 0 background, 1..N numbered by first pixel in raster order.
    """
    if parameters.rule == "prominence":
        basins = basins_of_maps(gland, sdf, boundary, mpp_um=mpp_um, parameters=parameters)
        return split_basins(basins, um2_per_px=um2_per_px, parameters=parameters)
    mask = gland_mask(gland, parameters)
    seeds = label_components(seed_mask(mask, sdf, boundary, parameters))
    # One pixel more on each side: growth needs outermost pixels that are not free.
    field = np.pad(np.where(mask & (seeds == 0), np.int32(FREE), seeds), 1)
    grow(field, steps=parameters.growth_steps(mpp_um))
    rest = label_components(field[1:-1, 1:-1] == FREE)
    y, x = np.nonzero(rest)
    contacts = count_contacts(rest[y, x].astype(np.int64), y, x, field)
    label_of_rest = assign_components(contacts, int(rest.max(initial=0)), int(seeds.max(initial=0)))
    labels = np.where(rest > 0, label_of_rest[rest], field[1:-1, 1:-1])
    return _finished(labels, um2_per_px, parameters)


def distance_levels(
    sdf: NDArray[np.uint8] | None, boundary: NDArray[np.uint8] | None, parameters: SplitParameters
) -> NDArray[np.uint8] | None:
    """What the rule prominence takes for the distance, uint8 (H, W); None: all are equal.

    Parameters
    ----------
    sdf, boundary : as in `seed_mask`
    """
    if sdf is None or not parameters.use_sdf:
        return None
    if boundary is None or not parameters.use_boundary:
        return sdf
    return lowered_levels(sdf, boundary, parameters.boundary_weight_um / parameters.sdf_um)


def basins_of_maps(
    gland: NDArray[np.uint8],
    sdf: NDArray[np.uint8],
    boundary: NDArray[np.uint8],
    *,
    mpp_um: float,
    parameters: SplitParameters,
) -> BasinsOfMask:
    """What the rule prominence needs of the maps: for one threshold and weight of the boundary."""
    level = distance_levels(sdf, boundary, parameters)
    mask = gland_mask(gland, parameters)
    return BasinsOfMask(mask, gland, level, reduced_px_side(mpp_um))


def split_basins(
    basins: BasinsOfMask, *, um2_per_px: float, parameters: SplitParameters
) -> NDArray[np.int32]:
    """`split_glands` by the rule prominence, from the basins of the maps."""
    labels = basins.split(
        min_prominence=parameters.min_prominence(),
        seed_level=quantised_threshold(parameters.seed_threshold),
    )
    return _finished(labels, um2_per_px, parameters)


def _finished(
    labels: NDArray[np.int32], um2_per_px: float, parameters: SplitParameters
) -> NDArray[np.int32]:
    """Drop small objects, number the others by first pixel, fill their small holes."""
    dropped = parameters.is_too_small(np.bincount(labels.ravel()), um2_per_px)
    labels[dropped[labels]] = 0
    return fill_small_holes(renumber(labels), parameters.min_hole_um2 / um2_per_px)
