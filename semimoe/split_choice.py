"""Split parameters that belong to a model."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from semimoe.setting_types import Number
from semimoe.setting_values import LARGEST_DISTANCE_UM
from tiling.raster.split_parameters import SplitParameters, SplitRule

DEFAULT_PROMINENCE_UM = 6.0


class SplitChoice(BaseModel):
    """Parameters of both split rules, and the rule that is used; see `tiling.raster.split_rule`.

    No other entries: each one replaces a parameter of the split rule. Older cards have only the
    parameters of the rule `depth`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed_depth_um: Number = Field(ge=-LARGEST_DISTANCE_UM, le=LARGEST_DISTANCE_UM)
    boundary_level: Number = Field(gt=0, le=1.01)
    growth_um: Number = Field(ge=0, le=LARGEST_DISTANCE_UM)
    rule: SplitRule = "depth"
    prominence_um: Number = Field(DEFAULT_PROMINENCE_UM, gt=0, le=LARGEST_DISTANCE_UM)
    seed_threshold: Number = Field(0.0, ge=0, le=1)
    boundary_weight_um: Number = Field(0.0, ge=0, le=LARGEST_DISTANCE_UM)

    def parameters(
        self,
        *,
        threshold: float,
        min_area_um2: float,
        sdf_um: float,
        use_sdf: bool,
        min_hole_um2: float = 0.0,
    ) -> SplitParameters:
        """All parameters of the split; see there."""
        return SplitParameters(
            threshold=threshold,
            min_area_um2=min_area_um2,
            sdf_um=sdf_um,
            use_sdf=use_sdf,
            min_hole_um2=min_hole_um2,
            **self.values(),
        )

    def values(self) -> dict[str, Any]:
        """All values, by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}


DEFAULT_SPLIT = SplitChoice(seed_depth_um=3.0, boundary_level=0.5, growth_um=10.0)


def default_split(rule: SplitRule, *, sdf_um: float) -> SplitChoice:
    """Parameters that are used where none can be chosen.

    Predicted distances are clipped at `sdf_um`, so that no seed can be deeper.

    >>> default_split("depth", sdf_um=4.0).seed_depth_um
    2.0
    """
    half_um = sdf_um / 2
    values = {
        "rule": rule,
        "seed_depth_um": min(DEFAULT_SPLIT.seed_depth_um, half_um),
        "prominence_um": DEFAULT_PROMINENCE_UM if sdf_um > DEFAULT_PROMINENCE_UM else half_um,
    }
    return DEFAULT_SPLIT.model_copy(update=values)
