"""Score the glands of a slide against its outlines."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from tiling.raster.atomic_files import write_atomic
from tiling.raster.geometry import Geometry, Window
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.layout import LabelStore
from workflow.stages.csv_cells import plain_cell

# Region of the row that counts all regions of a slide together.
POOLED = "pooled"
_QUARTILES = (0.25, 0.5, 0.75)
_CSV_DIGITS = 6

CsvValue = str | float | None


class AreaQuartiles(NamedTuple):
    """Quartiles of the areas of glands, um2; None without glands."""

    gland_area_um2_q25: float | None
    gland_area_um2_q50: float | None
    gland_area_um2_q75: float | None


class RegionImage(NamedTuple):
    """The part of a slide that one annotated region covers.

    Attributes
    ----------
    name : of the region
    truth, prediction : int32 (H, W), one number per object; 0 outside `scored`
    scored : bool (H, W), pixels of the region that are annotated and not ignored
    """

    name: str
    truth: NDArray[np.int32]
    prediction: NDArray[np.int32]
    scored: NDArray[np.bool_]


class ScoredGlands(NamedTuple):
    """Predicted glands in the scored pixels; glands are cropped at the edge of a region."""

    annotated_mm2: float
    glands: int
    gland_area_mm2: float
    quartiles: AreaQuartiles


def evaluate_slide(
    glands: Path,
    labels: Path,
    metrics: Path,
    *,
    slide: str,
    split: str,
    method: str,
    min_area_um2: float,
) -> None:
    """Score one slide: each annotated region is one image, then follows a pooled row.

    Only annotated pixels (weight 1) of a region count.

    Parameters
    ----------
    glands, labels : stores of the predicted and of the true label image
    metrics : csv file to write
    min_area_um2 : smaller objects are removed from truth and prediction

    Raises
    ------
    AnnotationError
        The annotation could not be read; the message is the recorded error.
    """
    error = recorded_error(labels)
    if error:
        raise AnnotationError(error)
    geometry = geometry_of(glands)
    images = _region_images(glands, labels, min_px=min_area_um2 / geometry.um2_per_px)
    rows = []
    for name, part in [*((image.name, [image]) for image in images), (POOLED, images)]:
        row = {"slide": slide, "split": split, "method": method, "region": plain_cell(name)}
        rows.append(row | _scores(part, geometry) | {"min_area_um2": min_area_um2})
    write_atomic(metrics, _csv_text(rows))


def area_quartiles(areas_um2: pd.Series) -> AreaQuartiles:
    """Quartiles of areas in um2."""
    if not len(areas_um2):
        return AreaQuartiles(None, None, None)
    return AreaQuartiles(*areas_um2.quantile(list(_QUARTILES)).tolist())


def _region_images(glands: Path, labels: Path, *, min_px: float) -> list[RegionImage]:
    """An image for each region; objects of fewer than `min_px` pixels are removed."""
    truth, prediction = open_store(labels), open_store(glands)
    images = []
    for number, region in enumerate(LabelStore.read(labels).regions, start=1):
        window = region.window
        in_region = _pixels(truth, "region", window) == number
        scored = in_region & (_pixels(truth, "weight", window) > 0)
        true, predicted = (
            _without_small(np.where(scored, _pixels(store, "labels", window), 0), min_px)
            for store in (truth, prediction)
        )
        name = region.name if region.name != POOLED else f"{POOLED} (region)"
        images.append(RegionImage(name, true, predicted, scored))
    return images


def _pixels(store: zarr.Group, array: str, window: Window) -> NDArray[np.int32]:
    return np.asarray(open_array(store, array)[window.slices])


def _without_small(labels: NDArray[np.int32], min_px: float) -> NDArray[np.int32]:
    """Labels without the objects of fewer than `min_px` pixels."""
    keep = np.bincount(labels.ravel()) >= min_px
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def _scores(images: Sequence[RegionImage], geometry: Geometry) -> dict[str, CsvValue]:
    """Columns of the scores of some regions, pooled."""
    from semimoe.evaluation.metrics import object_scores, pixel_scores

    pixels = pixel_scores(
        [image.truth > 0 for image in images],
        [image.prediction > 0 for image in images],
        [image.scored for image in images],
    )
    objects = object_scores(
        [image.truth for image in images],
        [image.prediction for image in images],
        mpp_um=geometry.mpp,
    )
    glands = _scored_glands(images, geometry.um2_per_px)
    return {
        "annotated_mm2": glands.annotated_mm2,
        "glands": glands.glands,
        "gland_area_mm2": glands.gland_area_mm2,
        **glands.quartiles._asdict(),
        **_fields(pixels),
        **_fields(objects),
    }


def _scored_glands(images: Sequence[RegionImage], um2_per_px: float) -> ScoredGlands:
    areas_px = [np.bincount(image.prediction.ravel())[1:] for image in images]
    areas_um2 = np.concatenate(areas_px) * um2_per_px
    areas_um2 = areas_um2[areas_um2 > 0]
    scored_px = float(sum(image.scored.sum() for image in images))
    return ScoredGlands(
        annotated_mm2=scored_px * um2_per_px / 1e6,
        glands=len(areas_um2),
        gland_area_mm2=float(areas_um2.sum()) / 1e6,
        quartiles=area_quartiles(pd.Series(areas_um2)),
    )


def _fields(scores: Any) -> dict[str, CsvValue]:  # noqa: ANN401  # NamedTuples of numbers
    values: dict[str, CsvValue] = scores._asdict()
    return values


def _csv_text(rows: list[dict[str, CsvValue]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _rounded(value) for column, value in row.items()})
    return text.getvalue()


def _rounded(value: CsvValue) -> CsvValue:
    return round(value, _CSV_DIGITS) if isinstance(value, float) else value
