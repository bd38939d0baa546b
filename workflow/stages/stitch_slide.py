"""From the maps of a slide to its glands."""

from pathlib import Path

from semimoe.model_card import parse_card
from semimoe.split_choice import SplitChoice
from tiling.objects.stitch import stitch
from tiling.parallel import JobSettings
from tiling.raster.split_parameters import SplitParameters
from tiling.stores.layout import MapStore
from workflow.config.option_groups import GlandOptions
from workflow.result_paths import ResultPaths


def stitch_slide(
    maps: Path,
    glands: Path,
    *,
    slide: str,
    options: GlandOptions,
    workers: int,
    code_version: int,
) -> None:
    """Split the maps of a slide into glands (`tiling.objects.stitch.stitch`).

    A label mask of earlier glands is deleted: nothing would show that it is outdated.
    """
    _label_mask_beside(glands, slide).unlink(missing_ok=True)
    stitch(
        maps,
        glands,
        parameters=split_parameters(maps, options),
        slide=slide,
        code_version=code_version,
        job=JobSettings(workers, progress=True),
    )


def split_parameters(maps: Path, options: GlandOptions) -> SplitParameters:
    """Parameters of the split: those of the configuration, and where it says null, the model's."""
    card = parse_card(MapStore.read(maps).model, source=str(maps))
    configured = {name: getattr(options, name) for name in SplitChoice.model_fields}
    given = {name: value for name, value in configured.items() if value is not None}
    return card.split.model_copy(update=given).parameters(
        threshold=card.threshold if options.threshold is None else options.threshold,
        min_area_um2=options.min_area_um2,
        min_hole_um2=options.min_hole_um2,
        sdf_um=card.sdf_um,
        use_sdf=card.splits_by_distance,
    )


def _label_mask_beside(glands: Path, slide: str) -> Path:
    """The label mask of the same results; `glands` may belong to a compared method."""
    return ResultPaths(glands.parents[1]).label_mask(slide)
