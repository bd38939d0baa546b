"""The split rule: how predicted maps become glands (docs/architecture.md, "The split rule").

`split_glands` applies it to arrays that fit in memory. `tiling.objects.stitch` applies the same
functions block by block to maps of any size, with the same result.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiling.raster.growth import FREE, assign_components, count_contacts, grow
from tiling.raster.holes import fill_small_holes
from tiling.raster.label_numbers import label_components, renumber
from tiling.raster.quantise import quantised_sdf_threshold, quantised_threshold


@dataclass(frozen=True)
class SplitParameters:
    """How a gland mask is split into glands.

    Attributes
    ----------
    threshold : gland probability from which a pixel belongs to the mask
    seed_depth_um : signed distance above which a pixel may belong to a seed, um
    boundary_level : boundary probability from which a pixel cannot belong to a seed; above 1: the
        boundary map is not used
    growth_um : how far seeds grow, um
    min_area_um2 : smaller objects are dropped, um2
    sdf_um : distance at which the signed distance saturates, um
    use_sdf : False if the signed distance has no scale (`sdf_scale: tile`): it is not used then
    min_hole_um2 : smaller holes of glands are filled, um2 (see `tiling.raster.holes`); 0: none is
    """

    threshold: float
    seed_depth_um: float
    boundary_level: float
    growth_um: float
    min_area_um2: float
    sdf_um: float
    use_sdf: bool = True
    min_hole_um2: float = 0.0

    @property
    def use_boundary(self) -> bool:
        """Whether the boundary map is used at all."""
        return quantised_threshold(self.boundary_level) <= np.iinfo(np.uint8).max

    def growth_steps(self, mpp_um: float) -> int:
        """Number of steps of growth with pixels of `mpp_um`."""
        return round(self.growth_um / mpp_um)

    def is_too_small(self, area_px: NDArray[np.int64], um2_per_px: float) -> NDArray[np.bool_]:
        """Which objects are dropped, bool (n,), by their areas int64 (n,) in pixels."""
        too_small: NDArray[np.bool_] = area_px * um2_per_px < self.min_area_um2
        return too_small


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
    dropped = parameters.is_too_small(np.bincount(labels.ravel()), um2_per_px)
    labels[dropped[labels]] = 0
    return fill_small_holes(renumber(labels), parameters.min_hole_um2 / um2_per_px)
