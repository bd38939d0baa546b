"""From the maps of a slide to its glands."""

from pathlib import Path
from typing import Any

from tiling.objects.stitch import stitch
from tiling.raster.split_rule import SplitParameters
from tiling.stores.layout import MapStore
from workflow.results import ResultPaths


def stitch_slide(
    maps: Path,
    glands: Path,
    *,
    slide: str,
    settings: dict[str, Any],
    workers: int,
    code_version: int,
) -> None:
    """Split the maps of a slide into glands (`tiling.objects.stitch.stitch`).

    A label mask made of earlier glands is deleted: nothing would tell that it is outdated.
    """
    _label_mask_beside(glands, slide).unlink(missing_ok=True)
    stitch(
        maps,
        glands,
        parameters=split_parameters(maps, settings),
        slide=slide,
        workers=workers,
        code_version=code_version,
        progress=True,
    )


def split_parameters(maps: Path, settings: dict[str, Any]) -> SplitParameters:
    """Parameters of the split: those of the configuration, and where it says null, the model's."""
    card = MapStore.read(maps).model
    of_model = {"threshold": card["threshold"], **card["split"]}
    chosen = {
        key: of_model[key] if settings[key] is None else settings[key]
        for key in ("threshold", "seed_depth_um", "boundary_level", "growth_um")
    }
    return SplitParameters(
        **chosen,
        min_area_um2=settings["min_area_um2"],
        sdf_um=card["sdf_um"],
        use_sdf=card["sdf_scale"] == "um",
    )


def _label_mask_beside(glands: Path, slide: str) -> Path:
    """The label mask of the same results; `glands` may belong to a compared method."""
    return ResultPaths(glands.parents[1]).label_mask(slide)
