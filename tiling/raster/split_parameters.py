"""Parameters of the split rule (docs/architecture.md, "The split rule")."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tiling.raster.quantise import quantised_threshold
from tiling.raster.reduced_depth import depth_steps

SplitRule = Literal["depth", "prominence"]
# Parameters that have an effect with one of the rules only.
PARAMETERS_OF_RULES: dict[SplitRule, tuple[str, ...]] = {
    "depth": ("seed_depth_um", "boundary_level", "growth_um"),
    "prominence": ("prominence_um", "seed_threshold", "boundary_weight_um"),
}


@dataclass(frozen=True)
class SplitParameters:
    """How a gland mask is split into glands.

    Attributes
    ----------
    threshold : gland probability from which a pixel belongs to the mask
    seed_depth_um : rule depth: signed distance above which a pixel may belong to a seed, um
    boundary_level : rule depth: boundary probability from which a pixel cannot belong to a seed;
        above 1: the boundary map is not used
    growth_um : rule depth: how far seeds grow, um
    min_area_um2 : smaller objects are dropped, um2
    sdf_um : distance at which the signed distance saturates, um
    use_sdf : False if the signed distance has no scale (`sdf_scale: tile`): it is not used then
    min_hole_um2 : smaller holes of glands are filled, um2 (see `tiling.raster.holes`); 0: none is
    rule : which parts of the mask are glands: those around seeds deeper than `seed_depth_um`, or
        those around maxima of the distance with at least `prominence_um`
    prominence_um : rule prominence: least height of a seed above its highest saddle, um
    seed_threshold : rule prominence: gland probability that a seed reaches; what has no seed is
        dropped. Not above `threshold`: every maximum reaches it
    boundary_weight_um : rule prominence: how much a boundary probability of 1 lowers the distance,
        um; 0: the boundary map is not used
    """

    threshold: float
    seed_depth_um: float
    boundary_level: float
    growth_um: float
    min_area_um2: float
    sdf_um: float
    use_sdf: bool = True
    min_hole_um2: float = 0.0
    rule: SplitRule = "depth"
    prominence_um: float = 6.0
    seed_threshold: float = 0.0
    boundary_weight_um: float = 0.0

    @property
    def use_boundary(self) -> bool:
        """Whether the boundary map is used at all."""
        if self.rule == "prominence":
            return self.boundary_weight_um > 0 and self.use_sdf
        return quantised_threshold(self.boundary_level) <= np.iinfo(np.uint8).max

    def growth_steps(self, mpp_um: float) -> int:
        """Number of steps of growth with pixels of `mpp_um`."""
        return round(self.growth_um / mpp_um)

    def min_prominence(self) -> int:
        """Least prominence of a seed, in steps of the reduced depth."""
        return depth_steps(self.prominence_um, self.sdf_um)

    def is_too_small(self, area_px: NDArray[np.int64], um2_per_px: float) -> NDArray[np.bool_]:
        """Which objects are dropped, bool (n,), by their areas int64 (n,) in pixels."""
        too_small: NDArray[np.bool_] = area_px * um2_per_px < self.min_area_um2
        return too_small
