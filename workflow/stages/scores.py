"""Glands against outlines, and the tables of a run: what evaluate_slide and summarise do."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from tiling.raster.atomic_files import write_atomic
from tiling.slide_errors import AnnotationError
from tiling.stores.arrays import open_array, open_store
from tiling.stores.attributes import geometry_of, recorded_error
from tiling.stores.layout import LabelStore

POOLED = "pooled"
_COMPARED = ("supervised", "unet")
_TEXTS = ("slide", "split", "method", "region")
_QUARTILES = (0.25, 0.5, 0.75)


def evaluate_slide(
    glands: Path,
    labels: Path,
    out: Path,
    *,
    slide: str,
    split: str,
    method: str,
    min_area_um2: float,
) -> None:
    """Score one slide: each annotated region is one image, then a pooled row.

    Truth and prediction are cut to the region and to what is annotated (weight 1); objects under `min_area_um2` go from both.

    Raises
    ------
    AnnotationError
        The annotation could not be read (the recorded error is raised again).
    """
    from semimoe.evaluation.metrics import object_scores, pixel_scores

    error = recorded_error(labels)
    if error:
        raise AnnotationError(error)
    geometry = geometry_of(glands)
    images: list[tuple[str, Any, Any, Any]] = []
    truth_store, predicted_store = open_store(labels), open_store(glands)
    for number, region in enumerate(LabelStore.read(labels).regions, start=1):
        window = region.window.slices
        inside = (np.asarray(open_array(truth_store, "region")[window]) == number) & (
            np.asarray(open_array(truth_store, "weight")[window]) > 0
        )
        pair = [
            np.asarray(open_array(store, "labels")[window])
            for store in (truth_store, predicted_store)
        ]
        truth, predicted = (
            _large(np.where(inside, labels, 0), min_area_um2 / geometry.um2_per_px)
            for labels in pair
        )
        name = region.name if region.name != POOLED else f"{POOLED} (region)"
        images.append((name, truth, predicted, inside))

    rows = []
    for name, chosen in [*((image[0], [image]) for image in images), (POOLED, images)]:
        pixels = pixel_scores(
            [image[1] > 0 for image in chosen],
            [image[2] > 0 for image in chosen],
            [image[3] for image in chosen],
        )
        objects = object_scores(
            [image[1] for image in chosen], [image[2] for image in chosen], mpp_um=geometry.mpp
        )
        head = {
            "slide": slide,
            "split": split,
            "method": method,
            "region": name,
            **_counts(chosen, geometry.um2_per_px),
        }
        rows.append({**head, **_shown(pixels), **_shown(objects), "min_area_um2": min_area_um2})
    write_atomic(out, _csv(rows))


def summarise(
    metrics: Sequence[str],
    glands: Sequence[str],
    cards: Sequence[str],
    passed_through: dict[str, dict[str, str]],
    out: Path,
    cohort: Path,
    *,
    method: str = "",
    lost: Mapping[str, str] = MappingProxyType({}),
    unscored: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """`metrics.csv` (all scores of a run) and `cohort.csv` (counts, areas and densities per slide and annotated region).

    Parameters
    ----------
    metrics : `metrics/{slide}.csv` files
    glands : `glands/{slide}.csv` files, one per predicted slide
    cards : `previews/{slide}.json` of the same slides, in the same order: their area of tissue
    passed_through : per slide, its split and further columns of the sheet
    method : name of the main method, for the rows of `unscored`
    lost, unscored : slides without glands, or without scores -> the reason, which stands in column `error` of their rows
    """
    frames = [_scores(Path(path)).assign(error="") for path in metrics]
    failed = [
        {
            "slide": slide,
            "split": passed_through[slide]["split"],
            "method": method,
            "region": POOLED,
            "error": reason,
        }
        for slide, reason in unscored.items()
    ]
    frames += [pd.DataFrame(failed)] if failed else []
    table = (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*_TEXTS, "error"])
    )
    write_atomic(out, table.to_csv(index=False))
    rows = [
        _cohort_row(Path(table_), Path(card), passed_through)
        for table_, card in zip(glands, cards, strict=True)
    ]
    regions = table[~table["method"].isin(_COMPARED) & (table["region"] != POOLED)]
    rows += [
        _region_row(region, passed_through)
        for region in json.loads(regions.to_json(orient="records"))
    ]
    rows = [{**row, "error": ""} for row in rows]
    rows += [
        {"slide": slide, "region": "", **passed_through[slide], "error": reason}
        for slide, reason in lost.items()
    ]
    write_atomic(cohort, pd.DataFrame(rows).to_csv(index=False))


def headline(metrics: Path, *, split: str = "test") -> list[dict[str, Any]]:
    """The pooled rows of one split, first Semi-MoE, then what stands beside it."""
    if not metrics.is_file():
        return []
    table = _scores(metrics)
    pooled = table[(table["region"] == POOLED) & (table["split"] == split)]
    last = {name: place for place, name in enumerate(_COMPARED, start=1)}
    return sorted(
        json.loads(pooled.to_json(orient="records")),
        key=lambda row: (row["slide"], last.get(row["method"], 0)),
    )


def _scores(path: Path) -> pd.DataFrame:
    """A table of scores; a slide may be called NA."""
    return pd.read_csv(
        path, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False, na_values=[""]
    )


def _large(labels: Any, least_px: float) -> Any:  # noqa: ANN401  # int arrays
    """Labels without the objects smaller than `least_px` pixels."""
    area = np.bincount(labels.ravel())
    keep = area >= least_px
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def _counts(images: list[tuple[str, Any, Any, Any]], um2_per_px: float) -> dict[str, float | None]:
    """What was predicted in the annotated area: gland counts and areas, cut at the region's edge."""
    area = (
        np.concatenate([np.bincount(predicted.ravel())[1:] for _, _, predicted, _ in images])
        * um2_per_px
    )
    area = area[area > 0]
    annotated_mm2 = float(sum(inside.sum() for *_, inside in images)) * um2_per_px / 1e6
    return {
        "annotated_mm2": annotated_mm2,
        "glands": len(area),
        "gland_area_mm2": float(area.sum()) / 1e6,
        **_quartiles(pd.Series(area)),
    }


def _shown(scores: Any) -> dict[str, Any]:  # noqa: ANN401  # a NamedTuple or dataclass of numbers
    values = scores._asdict() if hasattr(scores, "_asdict") else dict(vars(scores))
    return {name: "" if value is None else value for name, value in values.items()}


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _cohort_row(
    table: Path, card: Path, passed_through: dict[str, dict[str, str]]
) -> dict[str, Any]:
    areas = pd.read_csv(table)["area_um2"]
    tissue_mm2 = json.loads(card.read_text(encoding="utf-8"))["tissue_mm2"]
    head = {"slide": card.stem, "region": "", **passed_through[card.stem]}
    return {**head, **_densities(len(areas), areas.sum() / 1e6, tissue_mm2), **_quartiles(areas)}


def _region_row(row: dict[str, Any], passed_through: dict[str, dict[str, str]]) -> dict[str, Any]:
    head = {"slide": row["slide"], "region": row["region"], **passed_through[row["slide"]]}
    return {
        **head,
        **_densities(row["glands"], row["gland_area_mm2"], row["annotated_mm2"]),
        **{key: row[key] for key in _quartiles(pd.Series([0.0]))},
    }


def _densities(glands: int, gland_mm2: float, area_mm2: float) -> dict[str, Any]:
    """Counts and shares of an area: a slide's tissue, or what is annotated of a region."""
    share = (
        {"gland_share": gland_mm2 / area_mm2, "glands_per_mm2": glands / area_mm2}
        if area_mm2
        else {"gland_share": None, "glands_per_mm2": None}
    )
    return {"glands": glands, "gland_area_mm2": gland_mm2, "area_mm2": area_mm2, **share}


def _quartiles(areas_um2: pd.Series) -> dict[str, float | None]:
    values = (
        areas_um2.quantile(list(_QUARTILES)).tolist()
        if len(areas_um2)
        else [None] * len(_QUARTILES)
    )
    return {
        f"gland_area_um2_q{round(100 * q)}": value
        for q, value in zip(_QUARTILES, values, strict=True)
    }
