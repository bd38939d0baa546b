"""Training never uses pixels that are held out for validation."""

from pathlib import Path

import numpy as np
import pytest
from example_stores import label_attributes, tile_attributes

from tiling.raster.geometry import Geometry, Window
from tiling.slide_errors import AnnotationError, SlideError
from tiling.stores.arrays import create_array, create_group
from tiling.stores.attributes import record_failure
from tiling.stores.layout import StoredRegion
from tiling.stores.manifest import seal_store
from workflow.stages.training_slides import TrainingSlide, TrainingSlides, without_failures
from workflow.stages.training_sources import sources_with_held_out_regions

SIDE = 900
TILE_PX = 64


def slide(folder: Path, regions: list[Window]) -> TrainingSlide:
    geometry = Geometry.uniform(SIDE, SIDE)
    annotated = np.zeros((SIDE, SIDE), np.uint8)
    for region in regions:
        annotated[region.slices] = 1
    tiles, labels = create_group(folder / "t.zarr"), create_group(folder / "l.zarr")
    create_array(labels, "weight", annotated.shape, np.uint8)[...] = annotated
    tile_attributes(geometry).write(tiles)
    stored = [StoredRegion(str(number), window) for number, window in enumerate(regions)]
    label_attributes(geometry, stored).write(labels)
    for path in (folder / "t.zarr", folder / "l.zarr"):
        seal_store(path)
    return TrainingSlide("s", folder / "t.zarr", folder / "l.zarr")


def covered_pixels(source, *, margin_px: int = 0) -> np.ndarray:
    """Pixels of the windows of a source, without a margin."""
    covered = np.zeros((SIDE, SIDE), bool)
    for part in source.sources:
        for y, x, height, width in part.windows_px:
            rows = slice(max(y + margin_px, 0), y + height - margin_px)
            covered[rows, max(x + margin_px, 0) : x + width - margin_px] = True
    return covered


@pytest.mark.parametrize("seed", range(6))
def test_no_training_window_overlaps_a_held_out_region(tmp_path: Path, seed: int) -> None:
    # The first two are close to each other; the last two are far from all others.
    regions = [
        Window(20, 20, 120, 120),
        Window(150, 60, 60, 60),
        Window(600, 20, 100, 100),
        Window(600, 600, 150, 150),
    ]
    sources = sources_with_held_out_regions(
        [slide(tmp_path, regions)], TILE_PX, share=0.3, seed=seed
    )
    assert sources.validation is not None
    assert len(sources.training) > 0
    assert "optimistic" in sources.validation_note
    scored = covered_pixels(sources.validation, margin_px=TILE_PX // 4)
    assert not (covered_pixels(sources.training) & scored).any()
    assert scored.any()


def test_without_a_labelled_slide_the_errors_and_the_remedy_are_named(tmp_path: Path) -> None:
    record_failure(tmp_path / "t.zarr", SlideError("s.svs: truncated"), {})
    failed = TrainingSlides([TrainingSlide("s", tmp_path / "t.zarr")])
    with pytest.raises(AnnotationError, match=r"s\.svs: truncated; repair one of them, or label"):
        without_failures(failed)


def test_a_single_region_is_not_split(tmp_path: Path) -> None:
    stores = slide(tmp_path, [Window(20, 20, 120, 120)])
    sources = sources_with_held_out_regions([stores], TILE_PX, share=0.2, seed=0)
    assert sources.validation is None
    assert len(sources.training) > 0
    assert sources.validation_note.startswith("none")
