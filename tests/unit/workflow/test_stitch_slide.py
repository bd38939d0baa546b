"""Which split parameters a slide is stitched with: the model's, or those of the configuration."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example_stores import map_attributes

from tiling.raster.geometry import Geometry
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.arrays import create_group
from tiling.stores.manifest import seal_store
from workflow.config.option_groups import GlandOptions
from workflow.stages.stitch_slide import split_parameters

SHIPPED = Path(__file__).parents[3] / "models" / "glas" / "model.json"
OF_CARD = SplitParameters(
    threshold=0.7,
    seed_depth_um=6.0,
    boundary_level=0.25,
    growth_um=10.0,
    min_area_um2=500,
    sdf_um=20.0,
    min_hole_um2=50,
)


@pytest.mark.parametrize(
    ("of_card", "configured", "changes"),
    [
        ({}, {}, {}),
        ({}, {"threshold": 0.4, "growth_um": 0}, {"threshold": 0.4, "growth_um": 0}),
        ({}, {"rule": "prominence"}, {"rule": "prominence"}),
        (
            {"rule": "prominence", "prominence_um": 4, "seed_threshold": 0.9},
            {"boundary_weight_um": 5, "min_hole_um2": 0},
            {
                "rule": "prominence",
                "prominence_um": 4,
                "seed_threshold": 0.9,
                "boundary_weight_um": 5,
                "min_hole_um2": 0,
            },
        ),
        ({"rule": "prominence", "seed_threshold": 0.9}, {"rule": "depth"}, {"seed_threshold": 0.9}),
    ],
)
def test_values_of_the_configuration_replace_those_of_the_card(
    tmp_path: Path,
    of_card: dict[str, Any],
    configured: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    card = json.loads(SHIPPED.read_text())
    card |= {"threshold": OF_CARD.threshold, "sdf_um": OF_CARD.sdf_um}
    card["split"] = {"seed_depth_um": 6.0, "boundary_level": 0.25, "growth_um": 10.0} | of_card
    maps = tmp_path / "maps.zarr"
    map_attributes(Geometry.uniform(8, 8), model=card).write(create_group(maps))
    seal_store(maps)
    assert split_parameters(maps, GlandOptions(**configured)) == replace(OF_CARD, **changes)
